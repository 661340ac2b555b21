"""The daemon under test and its command line.

CAIRN_BIN names the directory of the programs (default: build/release/bin of this tree).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from . import process
from .dockerapi import Response, unix_request, wait_for
from .process import Daemon

ROOT = Path(__file__).resolve().parents[3]


def bin_dir() -> Path:
    return Path(os.environ.get("CAIRN_BIN", ROOT / "build" / "release" / "bin"))


class CliError(AssertionError):
    def __init__(self, result: subprocess.CompletedProcess):
        super().__init__(f"{result.args} ended with {result.returncode}\nout: {result.stdout}\nerr: {result.stderr}")
        self.result = result


class Cairnd:
    """cairnd on a data directory of its own, beside an engine; a context manager.

    engine: something with `.socket` and `.enter(argv)`; without one the daemon gets a socket nobody serves.
    check: run `cairn system fsck` at the end and demand `clean` (on a clean way out of the block only).
    wrap: argv put before cairnd's own, e.g. a tracer.
    """

    def __init__(
        self,
        engine=None,
        base=None,
        data=None,
        config: str | Path | None = None,
        check: bool = True,
        wrap=(),
        extra_args=(),
        env=None,
    ):
        self._own_base = base is None
        self.base = Path(base) if base else process.scratch_dir("cairnd")
        self.data = Path(data) if data else self.base / "data"
        self.socket = self.base / "cairn.sock"
        self.log = self.base / "cairnd.log"
        self.engine = engine
        self.check = check
        self.wrap = list(wrap)
        self.extra_args = list(extra_args)
        self.env = {**os.environ, **(env or {})}
        self.config: Path | None = None
        if isinstance(config, Path):
            self.config = config
        elif config is not None:
            self.config = self.base / "cairn.toml"
            self.config.write_text(config)
        self.daemon: Daemon | None = None

    # -- life ----------------------------------------------------------------------

    def argv(self) -> list:
        docker = self.engine.socket if self.engine else self.base / "no-docker.sock"
        argv = [*self.wrap, bin_dir() / "cairnd", "--data", self.data, "--socket", self.socket]
        argv += ["--docker", f"unix://{docker}"]
        if self.config:
            argv += ["--config", self.config]
        argv += self.extra_args
        return self.engine.enter(argv) if self.engine else argv

    def start(self, wait: bool = True, timeout: float = 60) -> "Cairnd":
        assert self.daemon is None or not self.daemon.alive(), "already running"
        self.daemon = Daemon(self.argv(), self.log, self.env)
        if wait:
            self.wait_ready(timeout)
        return self

    def ready(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:  # asked often; most often nobody listens yet
                probe.connect(str(self.socket))
            return self.http("GET", "/readyz", timeout=5).status == 200
        except OSError:
            return False

    def wait_ready(self, timeout: float = 60) -> None:
        self.daemon.wait_until(self.ready, timeout, "cairnd")

    @property
    def pid(self) -> int:
        assert self.daemon is not None
        return self.daemon.pid

    def alive(self) -> bool:
        return self.daemon is not None and self.daemon.alive()

    def kill(self, sig: int = signal.SIGKILL) -> int:
        return self.daemon.kill(sig)

    def stop(self, timeout: float = 30) -> int:
        return self.daemon.stop(timeout)

    def restart(self, wait: bool = True) -> None:
        if self.alive():
            self.stop()
        self.start(wait)

    def tail(self, lines: int = 60) -> str:
        return process.log_tail(self.log, lines)

    # -- talking to it ---------------------------------------------------------------

    def http(self, method: str, path: str, headers=None, body=None, timeout: float | None = 120) -> Response:
        """One HTTP call over the Unix socket; a body that is not bytes is sent as JSON."""
        return unix_request(self.socket, method, path, headers, body, timeout)

    def popen(self, *args, **options) -> subprocess.Popen:
        """The command line as a child that goes on; without --json."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        return subprocess.Popen([bin_dir() / "cairn", "--socket", self.socket, *map(str, args)], **options)

    def cli(self, *args, input: str | None = None, timeout: float = 180, json_output: bool = True):
        """`cairn --socket PATH ARGS --json`: the CompletedProcess, whatever the exit code."""
        argv = [str(bin_dir() / "cairn"), "--socket", str(self.socket), *map(str, args)]
        if json_output:
            argv.append("--json")
        return subprocess.run(argv, input=input or "", capture_output=True, text=True, timeout=timeout)

    def ok(self, *args, **options) -> dict:
        """As cli(), which must succeed; the JSON it printed (None when it printed nothing)."""
        result = self.cli(*args, **options)
        if result.returncode != 0:
            raise CliError(result)
        return json.loads(result.stdout) if result.stdout.strip() else None

    def fails(self, *args, code: int = 1, **options) -> dict:
        """As cli(), which must end with exit code `code`; the problem it printed."""
        result = self.cli(*args, **options)
        if result.returncode != code:
            raise CliError(result)
        return json.loads(result.stdout) if result.stdout.strip() else None

    def apply(self, workload: dict) -> dict:
        """`cairn workload apply` of a document."""
        file = self.base / f"{workload['name']}.json"
        file.write_text(json.dumps(workload))
        return self.ok("workload", "apply", "-f", file)

    def fsck(self) -> dict:
        """What `cairn system fsck --json` printed: {"status": "clean"} or {"findings": [...]}."""
        result = self.cli("system", "fsck")
        try:
            return json.loads(result.stdout)
        except ValueError:
            raise CliError(result) from None

    def assert_clean(self) -> None:
        found = self.fsck()
        assert found.get("status") == "clean", f"fsck: {json.dumps(found, indent=1)}"

    def wait_operation(self, ident: str, timeout: float = 120) -> dict:
        """The operation once it is over."""

        def over():
            answer = self.http("GET", f"/api/operations/{ident}")
            assert answer.status == 200, str(answer)
            found = answer.json()
            return found if found.get("state") in ("done", "failed", "cancelled", "interrupted") else None

        return wait_for(over, timeout, f"operation {ident}")

    # -- context ---------------------------------------------------------------------

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace) -> None:
        try:
            if kind is None and self.check:
                if not self.alive():
                    self.start()
                self.assert_clean()
        except BaseException:
            sys.stderr.write(f"--- cairnd, last lines\n{self.tail()}\n")
            raise
        finally:
            if kind is not None:
                sys.stderr.write(f"--- cairnd, last lines\n{self.tail()}\n")
            self.close()

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()
        # The pause's watcher outlives the daemon on purpose; nothing may outlive the test.
        left = process.pids_naming(self.data)
        if left:
            process.signal_pids(left)
            process.wait_gone(left)
        if self._own_base:
            process.remove_tree(self.base)
