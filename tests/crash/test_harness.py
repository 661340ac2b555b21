"""The crash harness proves itself: the correct toy passes every cut, each seeded bug is found.

    pytest-3 tests/crash/test_harness.py        (needs cairn_tracer and cairn_crash_toy built)
"""

import os
import random
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from crashlib import (KILLED, Injection, TracedDaemon, count_calls,  # noqa: E402
                      for_each_call, run_traced, wait_until)
from daemonlib import DaemonScenario  # noqa: E402
from powerloss import Generator, for_each_state, record  # noqa: E402
from toylib import IN_MEMORY, ToyScenario, check_toy, toy, toy_path  # noqa: E402

SEED = int(os.environ.get("CAIRN_CRASH_SEED", "1"))


def shell(script, directory, **options):
    return run_traced(["sh", "-c", script], cwd=directory, only=[directory], **options)


# The tracer.

def test_counts_over_children_and_resolves_paths(tmp_path):
    run = shell("mkdir d; echo hi > d/x; (mv d/x d/y); ln -s t d/s", tmp_path)
    assert [call["call"] for call in run.calls][0] == "mkdir"
    assert [call["n"] for call in run.calls] == list(range(1, run.count + 1))
    moved = next(call for call in run.calls if call["call"].startswith("rename"))
    assert moved["paths"] == [str(tmp_path / "d/x"), str(tmp_path / "d/y")]


def test_kill_comes_before_the_call_and_after_comes_after(tmp_path):
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    script = "mkdir one; mkdir two"
    assert shell(script, tmp_path / "before", at=2, do="kill").code == KILLED
    assert shell(script, tmp_path / "after", at=2, do="kill", after=True).code == KILLED
    assert sorted(os.listdir(tmp_path / "before")) == ["one"]
    assert sorted(os.listdir(tmp_path / "after")) == ["one", "two"]


@pytest.mark.parametrize("errno_name, text", [("ENOSPC", "No space left"), ("EROFS", "Read-only"),
                                              ("EIO", "Input/output")])
def test_error_replaces_the_call(tmp_path, errno_name, text):
    run = shell("mkdir d || ls", tmp_path, at=1, do=errno_name)
    assert text in run.stderr and run.fired and run.stdout == ""


def test_short_write_moves_half(tmp_path):
    script = "import os; fd = os.open('f', os.O_CREAT | os.O_WRONLY)\n" \
             "print(os.write(fd, b'abcdef'), os.writev(fd, [b'gh', b'ij']), " \
             "os.pwritev(fd, [b'wxyz'], 8))"
    base = run_traced([sys.executable, "-c", script], cwd=tmp_path, only=[tmp_path])
    numbers = {call["call"].rstrip("2"): call["n"] for call in base.calls}
    for call, answer in (("write", "3 4 4"), ("writev", "6 2 4"), ("pwritev", "6 4 2")):
        run = run_traced([sys.executable, "-c", script], cwd=tmp_path, only=[tmp_path],
                         at=numbers[call], do="short")
        assert run.stdout.strip() == answer, call


def test_full_disk_refuses_growth_and_lets_the_way_back_pass(tmp_path):
    (tmp_path / "old").write_text("0123456789")
    run = shell("echo x >> old; mkdir d; mv old new; dd if=/dev/zero of=new bs=4 count=1 "
                "conv=notrunc; rm new", tmp_path, at=1, do="full")
    errors = [call["call"] for call in run.calls if call.get("injected")]
    assert errors == ["write", "mkdir"] and not os.listdir(tmp_path)


THREADS = """
import os, threading
def work(n):
    for i in range(40):
        fd = os.open(f'{n}.{i}', os.O_CREAT | os.O_WRONLY); os.write(fd, b'x'); os.close(fd)
        if i % 10 == 0: os.posix_spawn('/bin/true', ['true'], {})
ts = [threading.Thread(target=work, args=(n,)) for n in range(6)]
[t.start() for t in ts]; [t.join() for t in ts]
while True:
    try: os.wait()
    except ChildProcessError: break
"""


def test_openat2_counts_where_it_may_change_something(tmp_path):
    (tmp_path / "there").write_text("x")
    script = "import ctypes, struct; c = ctypes.CDLL(None)\n" \
             "for name, flags, mode in ((b'there', 0, 0), (b'.', 0o200000, 0), (b'new', 0o101, 0o600), " \
             "(b'there', 0o1001, 0), (b'.', 0o20200002, 0o600)):\n" \
             "    assert c.syscall(437, -100, name, struct.pack('QQQ', flags, mode, 0), 24) >= 0"
    calls = run_traced([sys.executable, "-c", script], cwd=tmp_path, only=[tmp_path]).calls
    assert [(call["call"], call["flags"], call.get("grows", 0)) for call in calls] == \
        [("openat2", 0o101, 1), ("openat2", 0o1001, 0), ("openat2", 0o20200002, 1)]


def test_a_get_is_told_from_what_changes_something(tmp_path):
    script = "import socket\nserver = socket.socket(socket.AF_UNIX); server.bind('s'); server.listen()\n" \
             "for request in (b'GET / HTTP/1.1', b'POST / HTTP/1.1', b'GE'):\n" \
             "    client = socket.socket(socket.AF_UNIX); client.connect('s'); client.send(request)"
    calls = run_traced([sys.executable, "-c", script], cwd=tmp_path, only=[tmp_path / "s"]).calls
    assert [call.get("asks", 0) for call in calls if call["call"] == "sendto"] == [1, 0, 0]


def test_one_counter_over_threads_and_spawned_children(tmp_path):
    argv = [sys.executable, "-c", THREADS]
    assert count_calls(argv, cwd=tmp_path, only=[tmp_path]) == 480
    run = run_traced(argv, cwd=tmp_path, only=[tmp_path], at=77, do="kill")
    assert run.code == KILLED and run.count == 77


def test_only_named_threads_count(tmp_path):
    script = "echo 1 > a; python3 -c 'open(\"b\",\"w\").write(\"x\")'"
    whole = shell(script, tmp_path).count
    named = shell(script, tmp_path, comms=["sh"])
    assert 0 < named.count < whole and {call["comm"] for call in named.calls} == {"sh"}


def test_io_uring_is_refused(tmp_path):
    script = "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.syscall(425, 1, 0); " \
             "print(ctypes.get_errno())"
    assert run_traced([sys.executable, "-c", script], cwd=tmp_path).stdout.strip() == "38"


def test_exit_codes_and_signals_pass_through(tmp_path):
    assert shell("exit 7", tmp_path).code == 7
    with TracedDaemon(["sh", "-c", "trap 'exit 3' TERM; : > ready; while :; do sleep 0.02; done"],
                      cwd=tmp_path) as daemon:
        wait_until((tmp_path / "ready").exists, "the trap")
        assert daemon.stop() == 3


def test_stop_and_continue_pass_through(tmp_path):
    script = "echo $$ > pid; kill -STOP $$; mkdir b"
    with TracedDaemon(["sh", "-c", script], cwd=tmp_path, only=[tmp_path]) as daemon:
        pid = tmp_path / "pid"
        wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the pid")
        child = int(pid.read_text())
        # Under ptrace a stopped group shows as traced; what counts is that it stays and comes back.
        wait_until(lambda: process_state(child) in "tT", "the stop")
        assert not (tmp_path / "b").exists()
        os.kill(child, signal.SIGCONT)
        assert daemon.wait() == 0 and (tmp_path / "b").exists()


def process_state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


RESTART = """
import os, signal, socket, sys
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
s.sendall(b'x' * 2000000)
"""


def test_a_restarted_call_counts_once_and_sockets_count_by_path(tmp_path):
    path = str(tmp_path / "engine.sock")
    (tmp_path / "alias").symlink_to(tmp_path)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def drain():
        connection, _ = server.accept()
        time.sleep(0.3)
        while connection.recv(1 << 16):
            pass
    reader = threading.Thread(target=drain)
    reader.start()
    run = run_traced([sys.executable, "-c", RESTART, str(tmp_path / "alias" / "engine.sock")],
                     only=[path])
    reader.join()
    assert run.calls[0]["call"] == "connect" and run.calls[0]["paths"] == [path]
    sent = [call["result"] for call in run.calls[1:]]
    assert all(call["call"] == "sendto" for call in run.calls[1:])
    assert sum(sent) == 2000000 and all(result > 0 for result in sent)


def test_a_spared_child_in_its_own_session_outlives_the_kill(tmp_path):
    watcher = tmp_path / "watcher"
    watcher.write_text("#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.3; done; echo alive > seen\n")
    watcher.chmod(0o755)
    script = "setsid ./watcher </dev/null >/dev/null 2>&1 & " \
             "while ! grep -q watcher /proc/$!/comm; do sleep 0.01; done; mkdir a; mkdir b"
    run = shell(script, tmp_path, at=2, do="kill", spare=["watcher"])
    assert run.code == KILLED and not (tmp_path / "b").exists()
    (tmp_path / "go").touch()
    wait_until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text() != "",
               "the watcher's file")


def test_the_hook_sees_the_stopped_tree(tmp_path):
    hook = f"ls {tmp_path} > {tmp_path}.seen; kill -0 $CAIRN_TRACER_PID"
    run = shell("mkdir one; mkdir two", tmp_path, at=2, do="kill", hook=hook)
    assert run.killed and "hook failed" not in run.stderr
    assert open(f"{tmp_path}.seen").read().split() == ["one"]


DAEMON = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen()
os.mkdir('before')
while True:
    c, _ = s.accept()
    word = c.recv(10).decode()
    try: os.mkdir(word); os.mkdir(word + '2')
    except OSError as e: c.sendall(str(e.errno).encode())
    else: c.sendall(b'ok')
    c.close()
"""


def ask(path, word):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(word.encode())
        return client.recv(10).decode()


def test_a_daemon_is_armed_for_one_operation(tmp_path):
    only = [tmp_path / name for name in ("a", "a2", "b", "b2", "c", "c2")]
    with TracedDaemon([sys.executable, "-c", DAEMON], cwd=tmp_path, only=only) as daemon:
        wait_until((tmp_path / "before").exists, "the daemon")
        assert ask(tmp_path / "sock", "x") == "ok" and daemon.count() == 0
        daemon.arm()
        assert ask(tmp_path / "sock", "a") == "ok"
        assert daemon.count() == 2
        daemon.arm(Injection("ENOSPC", 2))
        assert ask(tmp_path / "sock", "b") == "28"
        assert daemon.disarm()["fired"] == 1
        daemon.arm(Injection("kill", 2))
        assert ask(tmp_path / "sock", "c") == ""
        assert daemon.wait() == KILLED
        assert (tmp_path / "c").exists() and not (tmp_path / "c2").exists()


# The loops over every call.

@pytest.fixture(name="scenario")
def scenario_factory():
    made = []

    def make(verb, bug="none"):
        made.append(ToyScenario(verb, bug))
        return made[-1]
    yield make
    for scenario in made:
        scenario.close()


@pytest.mark.parametrize("verb", ["publish", "restore"])
def test_correct_toy_passes_every_call(scenario, verb):
    report = for_each_call(scenario(verb), ("kill", "ENOSPC", "EIO", "short", "full"), seed=SEED,
                           recovery_crashes=20, recovery_modes=("kill", "full", "EIO"))
    report.require_ok()
    assert report.inside == 60 or verb == "publish"


KILL_BUGS = [
    ("restore", "blind-exchange", "kill"),
    ("restore", "commit-early", "kill"),
    ("restore", "ack-early", "kill"),
    ("restore", "delete-early", "kill"),
    ("restore", "forget-resume", "kill"),
    ("restore", "ignore-write-error", "ENOSPC"),
    ("restore", "ignore-short-write", "short"),
    ("restore", "ignore-sync-error", "EIO"),
    ("publish", "row-early", "kill"),
    ("publish", "ignore-short-write", "short"),
]


@pytest.mark.parametrize("verb, bug, mode", KILL_BUGS)
def test_bug_is_caught_by_the_loop(scenario, verb, bug, mode):
    report = for_each_call(scenario(verb, bug), (mode,), seed=SEED, stop_at_first=True)
    assert report.failures, f"{bug} was not caught"


# Power loss by the model.

def power_loss(tmp_path, verb, bug="none", **options):
    scratch = Path(tempfile.mkdtemp(prefix="crash-power.", dir=IN_MEMORY))
    root, target = scratch / "root", scratch / "state"
    try:
        toy("init", root)
        recording, run = record([toy_path(), verb, root, bug], [root], tmp_path / "recording")
        assert run.code == 0 and not recording.unsupported

        def recover(base):
            toy("recover", base + str(root), bug)

        def check(base, state):
            check_toy(Path(base + str(root)), state.acknowledged("done"), verb)
        target.mkdir()
        return for_each_state(recording, target, recover, check, seed=SEED, **options)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.mark.parametrize("verb", ["publish", "restore"])
def test_correct_toy_survives_every_power_loss(tmp_path, verb):
    report = power_loss(tmp_path, verb, random_states=2)
    report.require_ok()
    assert report.counts["power loss"] > (5 if verb == "publish" else 60)


@pytest.mark.parametrize("verb, bug", [
    ("restore", "no-file-sync"), ("restore", "no-dir-sync"), ("restore", "no-journal-dir-sync"),
    ("restore", "no-parent-sync"), ("restore", "no-state-sync"), ("restore", "commit-early"),
    ("publish", "no-row-sync"), ("publish", "no-publish-file-sync"),
    ("publish", "no-publish-dir-sync"), ("publish", "row-early")])
def test_bug_is_caught_by_the_model(tmp_path, verb, bug):
    report = power_loss(tmp_path, verb, bug, stop_at_first=True)
    assert report.failures, f"{bug} was not caught"


EVERYTHING = """
import ctypes, os, sqlite3, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def exchange(a, b): assert libc.renameat2(-100, a.encode(), -100, b.encode(), 2) == 0
os.makedirs('d/e'); os.mkdir('gone')
fd = os.open('d', os.O_TMPFILE | os.O_WRONLY, 0o640); os.write(fd, b'unnamed' * 999)
assert libc.linkat(-100, b'/proc/self/fd/%d' % fd, -100, b'd/named', 0x400) == 0; os.close(fd)
with open('d/appended', 'w') as f: f.write('one')
with open('d/appended', 'a') as f: f.write('two'); f.flush(); f.write('three')
fd = os.open('d/holes', os.O_CREAT | os.O_RDWR); os.pwrite(fd, b'far', 100000); os.ftruncate(fd, 150000)
os.posix_fallocate(fd, 0, 200000); os.writev(fd, [b'ab', b'cd']); os.pwritev(fd, [b'x', b'yz'], 50)
out = os.open('d/copied', os.O_CREAT | os.O_RDWR)
os.copy_file_range(fd, out, 150, 0, 0); os.sendfile(out, fd, 0, 100); os.close(fd); os.close(out)
os.symlink('../d/e', 'd/link'); os.link('d/appended', 'hard'); os.rename('start', 'd/moved')
os.setxattr('d/named', 'user.k', b'v\\xff'); os.chmod('d/named', 0o4711); os.chown('d', 12, 34)
os.utime('hard', ns=(5, 1234567890123456789)); os.rmdir('gone')
with open('d/over', 'w') as f: f.write('over')
os.replace('d/over', 'replaced'); os.truncate('cut', 3); open('emptied', 'w').close()
exchange('d', 'other'); exchange('other/e', 'other/link')
os.unlink('removed'); os.chdir('d'); open('na\\u00efve name\\n', 'w').close(); os.chdir('..')
db = sqlite3.connect('db'); db.execute('pragma journal_mode=wal'); db.execute('create table t(a)')
for i in range(50): db.execute('insert into t values (?)', ('x' * 300,)); db.commit()
print(db.execute('select count(*) from t').fetchone()); db.close()
"""


def describe(root):
    """Everything about a tree that a restart could see."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = status.st_mode >> 12
            text = ""
            if kind == 8:
                text = Path(path).read_bytes()
            elif kind == 10:
                text = os.readlink(path)
            xattrs = {key: os.getxattr(path, key, follow_symlinks=False)
                      for key in os.listxattr(path, follow_symlinks=False)}
            links = status.st_nlink if kind == 8 else 0
            mtime = status.st_mtime_ns if name == "hard" else 0
            found[os.path.relpath(path, root)] = (status.st_mode, status.st_uid, status.st_gid,
                                                  links, mtime, text, xattrs)
    return found


def test_a_recording_replays_to_the_real_tree(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name in ("start", "replaced", "cut", "emptied", "removed"):
        (root / name).write_text(name * 100)
    (root / "other").mkdir()
    recording, run = record([sys.executable, "-c", EVERYTHING, root], [root], tmp_path / "rec")
    assert run.code == 0 and run.stdout == "(50,)\n", run.stderr
    assert not recording.unsupported
    built = tmp_path / "built" / str(root).lstrip("/")
    whole = next(state for state in Generator(recording, len(recording.events),
                                              random.Random(1)).states(0, ("posix",))
                 if state.label == "everything")
    whole.materialise(tmp_path / "built")
    assert describe(built) == describe(root)


SQLITE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1] + '/db', isolation_level=None)
db.execute('pragma synchronous=' + sys.argv[2]); db.execute('pragma wal_autocheckpoint=4')
for i in range(6):
    db.execute('insert into t values (?)', (str(i) * 3000,)); print(i, flush=True)
"""


def sqlite_power_loss(tmp_path, synchronous):
    """A program whose crash safety others have proven: the model must agree with them."""
    root = tmp_path / "root"
    root.mkdir()
    db = sqlite3.connect(root / "db")
    db.execute("pragma journal_mode=wal")
    db.execute("create table t(a)")
    db.close()
    recording, run = record([sys.executable, "-c", SQLITE, root, synchronous], [root],
                            tmp_path / "recording")
    assert run.code == 0 and not recording.unsupported
    target = Path(tempfile.mkdtemp(prefix="crash-power.", dir=IN_MEMORY))

    def check(base, state):
        database = sqlite3.connect(base + str(root) + "/db")
        try:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            rows = database.execute("select count(*) from t").fetchone()[0]
        finally:
            database.close()
        assert rows >= len(state.output.split()), "a committed row is gone"
    try:
        return for_each_state(recording, target, lambda base: None, check, seed=SEED)
    finally:
        shutil.rmtree(target)


def test_sqlite_keeps_its_promise_and_loses_rows_without_syncs(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "off").mkdir()
    report = sqlite_power_loss(tmp_path / "full", "full")
    report.require_ok()
    assert report.counts["power loss"] > 100
    assert sqlite_power_loss(tmp_path / "off", "off").failures


def test_a_writable_mapping_is_reported(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    script = "import mmap; f = open('f', 'w+b'); f.truncate(4096); m = mmap.mmap(f.fileno(), 4096)"
    recording, run = record([sys.executable, "-c", script], [root], tmp_path / "rec", cwd=root)
    assert run.code == 0
    assert [seen["what"] for seen in recording.unsupported] == ["mmap"]


# Daemons.

PAIR_DAEMON = """
import os, signal, socket, sys
os.chdir(sys.argv[1]); bug = sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def undo():
    for name in ('one', 'two', 'journal'):
        if os.path.exists(name): os.rmdir(name)
if os.path.exists('journal') and bug != 'no-recovery': undo()
if os.path.exists('sock'): os.unlink('sock')
s = socket.socket(socket.AF_UNIX); s.bind('sock'); s.listen()
s.settimeout(0.1)  # a signal that comes just before accept(2) is acted on after it
while True:
    try:
        c, _ = s.accept()
    except TimeoutError:
        continue
    word = c.recv(10)
    try:
        if word == b'pair':
            for name in ('journal', 'one', 'two'): os.mkdir(name)
            os.rmdir('journal')
        c.sendall(b'ok')
    except OSError:
        undo()
        c.sendall(b'failed')
    c.close()
"""


class PairScenario(DaemonScenario):
    """A daemon that makes two directories or none."""

    def __init__(self, bug="none"):
        self.bug = bug

    def argv(self, state):
        return [sys.executable, "-c", PAIR_DAEMON, state, self.bug]

    def watched(self, state):
        return [state / name for name in ("journal", "one", "two")]

    def ready(self, state):
        return self.say(state, "ping") == "ok"

    def operate(self, state):
        return self.say(state, "pair")

    @staticmethod
    def say(state, word):
        try:
            return ask(state / "sock", word)
        except OSError:
            return ""

    def check(self, state, run):
        names = set(os.listdir(state)) - {"sock"}
        assert names in (set(), {"one", "two"}), f"left {sorted(names)}"
        assert names or run.answer != "ok", "said ok, nothing there"


def test_daemon_scenario_passes_and_its_bugs_are_caught():
    modes = ("kill", "ENOSPC")
    report = for_each_call(PairScenario(), modes, seed=SEED, recovery_crashes=5)
    report.require_ok()
    assert report.calls == 4 and report.inside > 0
    assert for_each_call(PairScenario("no-recovery"), ("kill",), seed=SEED).failures
