"""What a crash scenario needs: run under the tracer, inject at call N, loop over all calls.

    run_traced(argv, only=[data_dir], at=7, do="kill")      one run
    count_calls(argv, only=[data_dir])                      how many calls there are
    TracedDaemon(argv, only=[...])                          a daemon armed through a control socket
    for_each_call(scenario, modes=("kill", "ENOSPC"))       every call, then recovery, then a check

A scenario is any object with these methods (Scenario below is a base to derive from):

    prepare() -> state            a fresh start, thrown away after one injection
    run(state, injection)         the operation under the tracer; returns a Run
    recover(state, injection)     what a restart does; under the tracer when injection is not None
    check(state, run)             raises AssertionError when an invariant is broken
    cleanup(state)

Nothing here runs in parallel: call numbers are only comparable between like runs.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from built import built  # noqa: E402

KILLED = 137
SHORTENED_KINDS = ("data", "net")


def tracer_path():
    return built("cairn_tracer", "CAIRN_TRACER")


@dataclass(frozen=True)
class Injection:
    """One fault: `mode` is kill, kill-after, short, full (the disk, from here on) or an errno's
    name; `at` is the number of the call. at=0 counts only."""

    mode: str = "none"
    at: int = 0
    hook: str = ""

    def options(self):
        if self.at == 0:
            return []
        if self.mode == "full":
            return ["--errors-from", str(self.at)]
        options = ["--at", str(self.at)]
        if self.mode.startswith("kill"):
            options += ["--do", "kill"] + (["--after"] if self.mode == "kill-after" else [])
            return options + (["--hook", self.hook] if self.hook else [])
        return options + ["--do", self._action()]

    def control(self):
        """The same as a line for the control socket."""
        if self.at == 0:
            return "clear"
        if self.mode == "full":
            return f"set at=0 errors-from={self.at}"
        if self.mode.startswith("kill"):
            return f"set at={self.at} do=kill after={int(self.mode == 'kill-after')} errors-from=0"
        return f"set at={self.at} do={self._action()} errors-from=0"

    def _action(self):
        return self.mode if self.mode in ("short", "none") else f"error={self.mode}"

    def __str__(self):
        return f"{self.mode} at call {self.at}"


COUNT_ONLY = Injection()


@dataclass
class Run:
    """How a traced run ended. `count` is the number of counted calls, `calls` the log's lines."""

    code: int = 0
    count: int = 0
    calls: list = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""

    @property
    def fired(self):
        """Whether the fault was put in: a later number than the run had is not."""
        return any(call.get("injected", "none") != "none" for call in self.calls)

    @property
    def killed(self):
        return any(call.get("injected", "").startswith("kill") for call in self.calls)


def read_log(path):
    """(calls sorted by number, count) of a tracer log; a torn log counts what it has."""
    calls, count = [], None
    for line in Path(path).read_text().splitlines():
        if line.startswith("calls="):
            count = int(line[6:])
        elif line.endswith("}"):
            call = json.loads(line)
            call["paths"] = [os.fsdecode(os.fsencode(p)) for p in call["paths"]]
            calls.append(call)
    calls.sort(key=lambda call: call["n"])
    return calls, len(calls) if count is None else count


def tracer_options(log, only=(), comms=(), spare=(), control=None, record=None):
    # One processor for tracer and program: three times as fast, and fewer orders of threads.
    options = ["--log", str(log), "--cpu", str(max(os.sched_getaffinity(0)))]
    for name, values in (("--only-path", only), ("--only-tid-comm", comms),
                         ("--spare-comm", spare)):
        for value in values:
            options += [name, str(value)]
    if control:
        options += ["--control", str(control)]
    if record:
        options += ["--record", str(record)]
    return options


def run_traced(argv, injection=None, *, at=None, do=None, after=False, hook="", env=None, cwd=None,
               only=(), comms=(), spare=(), record=None, timeout=60, stdin=None):
    """Runs argv under the tracer to its end. Give an Injection, or at= and do=
    ("kill", "short", "full", "ENOSPC", "EIO", "EROFS", "EINTR"). env is added to the environment.
    Raises subprocess.TimeoutExpired (the whole tree is dead then)."""
    if injection is None:
        mode = (do or "none") + ("-after" if after else "")
        injection = Injection(mode, at or 0, hook)
    with tempfile.TemporaryDirectory(prefix="crash-log.") as scratch:
        log = Path(scratch) / "log"
        command = [tracer_path(), *tracer_options(log, only, comms, spare, record=record),
                   *injection.options(), "--", *map(str, argv)]
        done = subprocess.run(command, env={**os.environ, **(env or {})}, cwd=cwd, input=stdin,
                              capture_output=True, text=True, errors="replace", timeout=timeout,
                              check=False)
        if not log.exists():
            raise RuntimeError(f"the tracer did not start: {done.stderr}")
        calls, count = read_log(log)
    return Run(done.returncode, count, calls, done.stdout, done.stderr)


def count_calls(argv, **options):
    return run_traced(argv, **options).count


class TracedDaemon:
    """A daemon under the tracer that counts only while armed.

        daemon = TracedDaemon([cairnd, ...], only=[data, engine_socket], stderr=log_file)
        ... wait until it serves ...
        daemon.arm(Injection("kill", 12)); run one CLI operation; daemon.wait()

    `only` may hold the path of a socket: calls on connections to it are counted then. `hook` is a
    shell command for the moment before a kill (LoopDisk.hook()). With armed=True counting starts
    at once: for crashes inside a recovery.
    """

    def __init__(self, argv, injection=COUNT_ONLY, *, only=(), comms=(), spare=(), env=None,
                 cwd=None, stdout=None, stderr=None, record=None, hook="", armed=False):
        self._scratch = tempfile.mkdtemp(prefix="crash-daemon.")
        self.log = Path(self._scratch) / "log"
        control = Path(self._scratch) / "control"
        command = [tracer_path(), *tracer_options(self.log, only, comms, spare, control, record),
                   *injection.options(), *(["--hook", hook] if hook else []),
                   *(["--armed"] if armed else []), "--", *map(str, argv)]
        self.process = subprocess.Popen(command, env={**os.environ, **(env or {})}, cwd=cwd,
                                        stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL)
        self._socket = socket.socket(socket.AF_UNIX)
        self._lines = None
        self._armed = injection
        wait_until(lambda: self._connect(control) or not self.alive, "the tracer's control socket")

    def _connect(self, path):
        """False until the tracer listens; a program that is over at once never gets that far."""
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        self._lines = self._socket.makefile("r")
        return True

    def command(self, line):
        """Sends one control line; the answer as a dictionary of numbers, None when the tracer is
        gone."""
        try:
            self._socket.sendall(line.encode() + b"\n")
            answer = self._lines.readline() if self._lines else ""
        except OSError:
            return None
        if not answer:
            return None
        if not answer.startswith("ok "):
            raise ValueError(f"{line}: {answer.strip()}")
        return {key: int(value) for key, value in
                (word.split("=") for word in answer.split()[1:])}

    def arm(self, injection=COUNT_ONLY):
        """Starts counting from 0 with this fault."""
        self._armed = injection
        self.command(injection.control())
        self.command("arm")

    def disarm(self):
        """Stops counting and clears the fault: what follows runs undisturbed."""
        answer = self.command("disarm")
        self.command("clear")
        return answer

    def count(self):
        answer = self.command("count")
        return read_log(self.log)[1] if answer is None else answer["count"]

    @property
    def alive(self):
        return self.process.poll() is None

    def wait(self, timeout=60):
        return self.process.wait(timeout)

    def stop(self, timeout=60):
        """SIGTERM, forwarded to the daemon; its exit code, or 137 when it was killed."""
        if self.alive:
            self.process.terminate()
        return self.wait(timeout)

    def run(self):
        """What the log says, as a Run."""
        calls, count = read_log(self.log) if self.log.exists() else ([], 0)
        return Run(self.process.poll() or 0, count, calls)

    def end(self):
        """After the operation: what follows runs undisturbed. Waits for a kill that is under
        way, else stops the daemon; a Run."""
        answer = self.disarm()
        if answer is None or (answer["fired"] and self._armed.mode.startswith("kill")):
            self.wait()
        else:
            self.stop()
        return self.run()

    def close(self):
        if self.alive:
            self.process.kill()  # the tracer's death kills what it traces
            self.process.wait()
        self._socket.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_until(condition, what, timeout=30, alive=None):
    """Polls until condition() is true. Raises TimeoutError, or RuntimeError when alive() is not."""
    end = time.monotonic() + timeout
    while not condition():
        if alive is not None and not alive():
            raise RuntimeError(f"it ended while waiting for {what}")
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(0.005)


class Scenario:
    """A base for scenarios of one command in a fresh directory."""

    only = ()

    def prepare(self):
        return Path(tempfile.mkdtemp(prefix="crash-case."))

    def argv(self, state):
        raise NotImplementedError

    def recover_argv(self, state):
        raise NotImplementedError

    def watched(self, state):
        """The places whose calls count."""
        return [state]

    def run(self, state, injection):
        return run_traced(self.argv(state), injection, only=self.watched(state))

    def recover(self, state, injection=None):
        if injection is None:
            done = subprocess.run([*map(str, self.recover_argv(state))], capture_output=True,
                                  text=True, timeout=60, check=False)
            assert done.returncode == 0, f"recovery failed: {done.stdout}{done.stderr}"
            return Run(done.returncode)
        return run_traced(self.recover_argv(state), injection, only=self.watched(state))

    def check(self, state, run):
        raise NotImplementedError

    def cleanup(self, state):
        shutil.rmtree(state, ignore_errors=True)


@dataclass
class Failure:
    injection: Injection
    inside: Injection  # the crash inside the recovery, COUNT_ONLY for none
    error: str

    def __str__(self):
        nested = f", then {self.inside} of the recovery" if self.inside.at else ""
        return f"{self.injection}{nested}: {' '.join(self.error.split())}"


@dataclass
class Report:
    seed: int
    counts: dict = field(default_factory=dict)  # mode -> cases run
    inside: int = 0                             # crashes inside a recovery
    calls: int = 0                              # of the undisturbed run
    failures: list = field(default_factory=list)
    out_of_time: bool = False

    @property
    def ok(self):
        return not self.failures

    def __str__(self):
        cases = " ".join(f"{mode}={count}" for mode, count in self.counts.items())
        text = f"{self.calls} calls; cases {cases} inside={self.inside}; seed {self.seed}"
        if self.out_of_time:
            text += "; stopped at the time budget"
        return "\n".join([text, *(f"  {failure}" for failure in self.failures[:20])])

    def require_ok(self):
        if not self.ok:
            raise AssertionError(str(self))


def for_each_call(scenario, modes=("kill", "ENOSPC", "EIO", "short"), recover=None, check=None,
                  sample=None, seed=None, recovery_crashes=0, recovery_modes=("kill",),
                  budget_s=None, stop_at_first=False):
    """Injects each mode at each call of the scenario's run, recovers, checks; returns a Report.

    sample            at most so many calls a mode (the first and the last are always among them)
    recovery_crashes  so many faults inside a recovery after a kill, sampled; "all": every one
    recovery_modes    what these faults are; "full": the disk is full for the whole recovery
    budget_s          stops early and says so in the report
    recover, check    replace the scenario's methods

    A run may make more calls than the counted one (threads, retries); without a sample, calls go
    on until a run ends undisturbed.
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    loop = _Loop(scenario, recover or scenario.recover, check or scenario.check, Report(seed),
                 random.Random(seed), time.monotonic() + budget_s if budget_s else None,
                 stop_at_first)
    base = loop.count()
    for mode in modes:
        loop.all_calls(mode, base, sample)
    if recovery_crashes:
        for mode in recovery_modes:
            loop.inside_recovery(base, mode, recovery_crashes)
    print(loop.report, flush=True)
    return loop.report


def sample_kills(scenario, budget_s, seed=None, at_least=3):
    """Kills at random calls until the time is over, at_least so many in any case; a Report."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    rng = random.Random(f"{seed}/{type(scenario).__name__}")
    loop = _Loop(scenario, scenario.recover, scenario.check, Report(seed), rng, None, False)
    end = time.monotonic() + budget_s
    base = loop.count()
    while time.monotonic() < end or sum(loop.report.counts.values()) < at_least:
        loop.case(Injection("kill", rng.choice(base.calls)["n"]))
    print(loop.report, flush=True)
    return loop.report


class _Loop:
    def __init__(self, scenario, recover, check, report, rng, deadline, stop_at_first):
        self.scenario, self.recover, self.check = scenario, recover, check
        self.report, self.rng, self.deadline = report, rng, deadline
        self.stop_at_first = stop_at_first

    def stopping(self):
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.report.out_of_time = True
        return self.report.out_of_time or (self.stop_at_first and bool(self.report.failures))

    def count(self):
        """The undisturbed run: it must pass, or nothing that follows means anything."""
        state = self.scenario.prepare()
        try:
            run = self.scenario.run(state, COUNT_ONLY)
            self.recover(state)
            self.check(state, run)
        finally:
            self.scenario.cleanup(state)
        self.report.calls = run.count
        assert run.count > 0, "the scenario makes no counted call"
        return run

    def all_calls(self, mode, base, sample):
        numbers = [call["n"] for call in base.calls
                   if mode != "short" or call["kind"] in SHORTENED_KINDS]
        whole = sample is None or sample >= len(numbers)
        if not whole:
            middle = self.rng.sample(numbers[1:-1], max(0, sample - 2))
            numbers = sorted({numbers[0], numbers[-1], *middle})
        for at in numbers:
            if self.stopping():
                return
            self.case(Injection(mode, at))
        at = base.count
        while whole and mode not in ("short", "full") and not self.stopping():
            at += 1
            if not self.case(Injection(mode, at)):
                return

    def case(self, injection, inside=COUNT_ONLY):
        """One injection, recovery and check. False when the run had no such call."""
        state = self.scenario.prepare()
        try:
            run = self.scenario.run(state, injection)
            if inside.at:
                self.report.inside += 1
                self.recover(state, inside)
            else:
                self.report.counts[injection.mode] = self.report.counts.get(injection.mode, 0) + 1
            self.recover(state)
            self.check(state, run)
            return run.fired
        except Exception as error:  # whatever breaks is the finding
            self.report.failures.append(
                Failure(injection, inside, f"{type(error).__name__}: {error}"))
            return True
        finally:
            self.scenario.cleanup(state)

    def inside_recovery(self, base, mode, wanted):
        """Faults in the recovery itself: its calls are counted once for each outer kill."""
        outer = [call["n"] for call in base.calls]
        self.rng.shuffle(outer)
        left = None if wanted == "all" else int(wanted)
        each = None if left is None else max(1, -(-left // max(1, len(outer))))
        for at in outer:
            if self.stopping() or left == 0:
                return
            count = 1 if mode == "full" else self.count_recovery(Injection("kill", at))
            inner = list(range(1, count + 1))
            if each is not None:
                inner = self.rng.sample(inner, min(len(inner), each, left))
                left -= len(inner)
            for number in inner:
                if self.stopping():
                    return
                self.case(Injection("kill", at), Injection(mode, number))

    def count_recovery(self, injection):
        state = self.scenario.prepare()
        try:
            self.scenario.run(state, injection)
            return self.recover(state, COUNT_ONLY).count
        finally:
            self.scenario.cleanup(state)
