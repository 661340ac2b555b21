"""What people see of the command line: tables, colours, progress, questions on a terminal, completion."""

import json
import os
import pty
import select
import subprocess
import time

import pytest

from lib.cairnd import bin_dir
from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, running, snapshot, workload


def run(*arguments, env=None, **options):
    return subprocess.run([bin_dir() / "cairn", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, timeout=60, **options)


class Terminal:
    """A command on a pseudo terminal; everything it prints is in `.text`."""

    def __init__(self, cairn, *arguments, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", **(env or {})})
            os.execv(bin_dir() / "cairn", ["cairn", "--socket", str(cairn.socket), *map(str, arguments)])
        self.text = ""

    def read_until(self, wanted: str, timeout: float = 30) -> str:
        end = time.monotonic() + timeout
        while wanted not in self.text:
            left = end - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"no {wanted!r} in {self.text!r}")
        return self.text

    def _read(self, timeout: float) -> bool:
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            block = os.read(self.fd, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.text += block.decode(errors="replace")
        return bool(block)

    def type(self, line: str) -> None:
        os.write(self.fd, line.encode() + b"\n")

    def finish(self, timeout: float = 60) -> int:
        while self._read(timeout):
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_the_socket_from_the_environment(cairn):
    answer = run("workload", "ls", "--json", env={"CAIRN_SOCKET": str(cairn.socket)})
    assert answer.returncode == 0 and json.loads(answer.stdout) == {"workloads": []}
    answer = run("--socket", cairn.socket, "workload", "ls", env={"CAIRN_SOCKET": "/none"})
    assert answer.returncode == 0


def test_settings_have_their_defaults(cairn):
    values = {one["key"]: one["value"] for one in cairn.ok("system", "settings", "ls")["settings"]}
    assert values == {"network": "cairn", "base_volume_path": f"{cairn.data}/volumes", "allowed_volume_paths": "",
                      "stop_grace_s": "10", "health_timeout_s": "120", "max_hold_s": "10", "undo_keep": "24h"}
    for key, wrong in (("stop_grace_s", "-1"), ("stop_grace_s", "soon"), ("undo_keep", "1 fortnight"), ("network", "host"),
                       ("base_volume_path", "relative"), ("allowed_volume_paths", "/a:b"), ("max_hold_s", "0")):
        assert cairn.fails("system", "settings", "set", key, wrong)["status"] == 400


def test_definitions_come_as_toml_and_from_standard_input(cairn):
    file = cairn.base / "web.toml"
    file.write_text('name = "web"\nkind = "image"\n[config]\nimage = "small"\ndefault_tag = "1"\nstop_timeout = "2s"\n'
                    '[[config.volumes]]\ntarget = "/data"\nscope = "project"\nsource = "data"\n')
    shown = cairn.ok("workload", "apply", "-f", file)
    assert shown["config"]["image"] == "small" and shown["volumes"][0]["target"] == "/data"
    again = cairn.ok("workload", "apply", "-f", "-", input=json.dumps(workload("piped")))
    assert again["name"] == "piped"
    # What "show" prints can be applied again.
    definition = {key: again[key] for key in ("name", "kind", "public_faces", "config")}
    assert cairn.ok("workload", "apply", "-f", "-", input=json.dumps(definition))["status"] == "unchanged"


# -- people ----------------------------------------------------------------------------


def test_tables_for_people(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = cairn.ok("snapshot", "create", "web", "--label", "by=hand", "--label", "n=1")["id"]
    for arguments, words in (
        (("workload", "ls"), ["NAME", "web", "running"]), (("workload", "show", "web"), ["web", "/data"]),
        (("volume", "ls", "web"), ["TARGET", "/data", "project"]), (("snapshot", "ls"), ["ID", ident, "stored", "by=hand,n=1"]),
        (("snapshot", "show", ident), [ident, "/data", "by=hand,n=1"]), (("operation", "ls"), ["snapshot.create", "done"]),
        (("system", "settings", "ls"), ["undo_keep", "24h"]), (("system", "info"), ["repository"]),
        (("system", "fsck"), ["clean"]), (("events", "ls"), ["deploy.done"]),
        (("snapshot", "restore", "web", ident, "--dry-run"), ["/data"]),
        (("workload", "deploy", "web"), ["unchanged"]),
    ):
        answer = cairn.cli(*arguments, json_output=False)
        assert answer.returncode == 0, answer
        for word in words:
            assert word in answer.stdout, (arguments, answer.stdout)
        assert "\x1b" not in answer.stdout, "colours belong to terminals"
    table = cairn.cli("workload", "ls", json_output=False).stdout.splitlines()
    assert table[0].index("STATE") == table[1].index("running")


def test_colours_only_on_a_terminal_and_never_with_no_color(cairn):
    deploy(cairn, workload(volumes=[]))
    plain = Terminal(cairn, "workload", "ls", env={"NO_COLOR": "1"})
    assert plain.finish() == 0 and "running" in plain.text and "\x1b[3" not in plain.text
    coloured = Terminal(cairn, "workload", "ls", env={"NO_COLOR": ""})
    assert coloured.finish() == 0 and "\x1b[3" in coloured.text


def test_a_terminal_sees_progress(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    terminal = Terminal(cairn, "snapshot", "create", "web")
    assert terminal.finish() == 0
    assert "snapshot web: " in terminal.text and "stored" in terminal.text
    quiet = cairn.popen("snapshot", "create", "web")
    out, err = quiet.communicate(timeout=60)
    assert quiet.returncode == 0 and err == "" and "\r" not in out


def test_what_destroys_asks_for_the_name(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    (data / "file").write_text("second")

    # A wrong word changes nothing.
    terminal = Terminal(cairn, "snapshot", "restore", "web", ident)
    terminal.read_until("Type web to go on")
    assert "/data" in terminal.text
    terminal.type("yes")
    assert terminal.finish() == 1 and "nothing was changed" in terminal.text
    assert (data / "file").read_text() == "second" and cairn.ok("restore", "ls")["undos"] == []

    # No terminal, no answer: refused as well.
    refused = cairn.cli("snapshot", "restore", "web", ident)
    assert refused.returncode == 1 and json.loads(refused.stdout)["code"] == "cancelled"

    terminal = Terminal(cairn, "snapshot", "restore", "web", ident)
    terminal.read_until("Type web to go on")
    terminal.type("web")
    assert terminal.finish() == 0 and "restored" in terminal.text
    assert (data / "file").read_text() == "first"
    undo = cairn.ok("restore", "ls")["undos"][0]["id"]
    wait_for(lambda: cairn.ok("restore", "show", undo)["pre_restore_snapshot"], 30, "the stored undo")

    for arguments, asked in ((("restore", "undo", undo), "web"), (("restore", "discard", undo), "web"),
                             (("snapshot", "rm", ident), "web"), (("workload", "rm", "web"), "web")):
        terminal = Terminal(cairn, *arguments)
        terminal.read_until(f"Type {asked} to go on")
        terminal.type("no")
        assert terminal.finish() == 1
    assert running(cairn) and cairn.ok("snapshot", "show", ident)
    terminal = Terminal(cairn, "restore", "undo", undo)
    terminal.read_until("Type web to go on")
    terminal.type("web")
    assert terminal.finish() == 0 and (data / "file").read_text() == "second"


def test_control_characters_of_others_do_not_reach_the_terminal(cairn):
    """Names in answers are data; only logs are the workload's own bytes."""
    answer = run("--socket", cairn.socket, "workload", "show", "\x1b[31mred")
    assert answer.returncode == 3 and "\x1b" not in answer.stderr


# -- completion ------------------------------------------------------------------------


def test_completion_scripts(cairn):
    for shell in ("bash", "zsh", "fish"):
        answer = run("completion", shell)
        assert answer.returncode == 0
        for word in ("workload", "snapshot", "restore", "consistency"):
            assert word in answer.stdout
    script = run("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)

    def complete(*words):
        ask = script + "\n" + f"COMP_WORDS=({' '.join(words)} '')\nCOMP_CWORD={len(words)}\n_cairn\n" + \
            'printf "%s\\n" "${COMPREPLY[@]}"'
        return subprocess.run(["bash"], input=ask, capture_output=True, text=True, check=True).stdout.split()

    assert set(complete("cairn")) >= {"workload", "volume", "snapshot", "restore", "repo", "system", "events"}
    assert set(complete("cairn", "snapshot")) == {"create", "ls", "show", "rm", "verify", "restore", "download",
                                                  "import", "adopt"}
    assert set(complete("cairn", "system", "settings")) == {"ls", "get", "set", "unset"}


@pytest.mark.parametrize("words", [
    "workload apply", "workload ls", "workload show", "workload deploy", "workload stop", "workload start", "workload rm",
    "workload logs", "volume ls", "volume set", "volume unset", "snapshot create", "snapshot ls", "snapshot show",
    "snapshot rm", "snapshot verify", "snapshot restore", "snapshot adopt", "restore ls", "restore show", "restore undo",
    "restore discard", "repo key export", "events ls", "operation ls", "system settings ls", "system settings get",
    "system settings set", "system settings unset", "system fsck", "system info", "completion"])
def test_every_verb_has_help(words):
    answer = run(*words.split(), "--help")
    assert answer.returncode == 0 and len(answer.stdout) > 50
