#!/usr/bin/python3
"""A million files in a thousand directories: captured, captured again, listed, restored, undone.

Once by a daemon, with a container that uses them on a real engine, and once by the repository alone. Prints
the time and the peak of resident memory of each step; of the daemon's operations also how long they said nothing new
at most. Fails where a step takes 300 MiB or more, where a progress goes back within its phase or beyond its
total, or where something is missing. Needs root, about 20 GiB and four million inodes of disk; some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "functional"))

from lib.cairnd import Cairnd  # noqa: E402
from lib.dockerapi import UnixHTTPConnection  # noqa: E402
from lib.engines import RealDocker, make_small_image  # noqa: E402
from lib.jobs import deploy, place, workload  # noqa: E402

TOOL = Path(os.environ.get("CAIRN_BIN", ROOT / "build" / "release" / "bin")) / "cairn_repo_tool"
MEMORY_BYTES_MAX = 300 << 20
DIRECTORIES = 1000


def fill(root: Path, files: int) -> None:
    for directory in range(DIRECTORIES):
        below = root / f"{directory:03}"
        below.mkdir(parents=True)
        for number in range(files // DIRECTORIES):
            with open(below / f"{number:04}", "wb", buffering=0) as file:
                file.write(b"%d in %d\n" % (number, directory))


def count(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def told(what: str, seconds: float, peak: int, more: str = "") -> bool:
    """Prints a step; whether it stayed within its memory."""
    print(f"{what:20} {seconds:7.1f} s, peak {peak / (1 << 20):5.0f} MiB{more}", flush=True)
    return peak < MEMORY_BYTES_MAX


class Steps:
    """Operations of a daemon, each followed by its events."""

    def __init__(self, cairn: Cairnd):
        self.cairn, self.fine = cairn, True

    def start(self, path: str, headers: dict, body: dict) -> str:
        answer = self.cairn.http("POST", path, headers={"Prefer": "respond-async", **headers}, body=body)
        if answer.status != 202:
            raise SystemExit(f"{path}: {answer}")
        return answer.json()["id"]

    def follow(self, what: str, ident: str) -> dict:
        began = last = time.perf_counter()
        connection = UnixHTTPConnection(str(self.cairn.socket), None)
        connection.request("GET", f"/api/operations/{ident}/events")
        stream, silence, changes, before, row = connection.getresponse(), (0.0, ""), 0, ("", 0, 0), {}
        for line in stream:
            if not line.startswith(b"data: "):
                continue
            row = json.loads(line[6:])
            now, progress = time.perf_counter(), row["progress"]
            state = (row["phase"], progress["items_done"], progress["bytes_done"])
            beyond = any(0 < progress[f"{kind}_total"] < progress[f"{kind}_done"] for kind in ("items", "bytes"))
            # "read what changed" is done over again, a last time right before the cut.
            again = state[1:] == (0, 0)
            if beyond or not again and state[0] == before[0] and (state[1] < before[1] or state[2] < before[2]):
                print(f"{what}: {before} became {state} of {progress}")
                self.fine = False
            if state != before:
                silence, last, changes = max(silence, (now - last, before[0])), now, changes + 1
            before = state
        connection.close()
        if row.get("state") != "done":
            raise SystemExit(f"{what} failed: {row}")
        status = Path(f"/proc/{self.cairn.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) << 10
        seconds, phase = max(silence, (time.perf_counter() - last, before[0]))
        self.fine &= told(what, time.perf_counter() - began, peak,
                          f"; {changes} changes of its progress, at most {seconds:.1f} s apart, in '{phase}'")
        # The next step has a peak of its own.
        Path(f"/proc/{self.cairn.pid}/clear_refs").write_text("5")
        return row.get("result", {})

    def run(self, what: str, path: str, headers: dict | None = None, body: dict | None = None) -> dict:
        return self.follow(what, self.start(path, headers or {}, body or {}))


def by_a_daemon(files: int) -> bool:
    with RealDocker() as engine:
        make_small_image(engine, "small:1")
        with Cairnd(engine, check=False) as cairn:
            deploy(cairn, workload())
            root, steps = place(cairn), Steps(cairn)
            fill(root, files)
            snapshots = "/api/workloads/web/snapshots"
            ident = steps.run("snapshot", snapshots)["id"]
            steps.run("unchanged snapshot", snapshots)
            (root / "000" / "0000").write_text("another\n")
            steps.run("changed snapshot", snapshots)
            shown = cairn.ok("snapshot", "show", "web", ident)["volumes"][0]
            result = steps.run("restore", f"{snapshots}/{ident}/restore", {"X-Confirm-Restore": ident})
            fine = count(root) == shown["files"] == files and (root / "000" / "0000").read_text() == "0 in 0\n"
            steps.follow("storing the undo", result["storing"])
            undo = result["undo"]
            steps.run("undo", f"/api/undos/{undo}/undo", {"X-Confirm-Restore": undo})
            fine &= count(root) == files and (root / "000" / "0000").read_text() == "another\n"
            if not fine:
                print(f"{count(root)} files are there, {shown} were captured, wanted {files}")
            return fine and steps.fine


def measured(what: str, *argv: object) -> tuple[str, bool]:
    """Runs it; its output, and whether it stayed within its memory."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    words = [str(one) for one in argv]
    child = os.posix_spawn(words[0], words, {**os.environ, "CAIRN_REPO_PASSWORD": "a password of benchmarks"},
                           file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_CLOSE, reading)])
    os.close(writing)
    with open(reading, encoding="utf-8") as out:
        output = out.read()
    _, status, used = os.wait4(child, 0)
    within = told(what, time.perf_counter() - began, used.ru_maxrss * 1024,
                  f"; {used.ru_utime + used.ru_stime:.1f} s CPU")
    if status != 0:
        raise SystemExit(f"{what} failed with {os.waitstatus_to_exitcode(status)}")
    return output, within


def by_the_repository(files: int, scratch: Path) -> bool:
    source, repo, copy, facts = (scratch / name for name in ("source", "repo", "copy", "facts"))
    fill(source, files)
    copy.mkdir()
    facts.mkdir()
    measured("init", TOOL, "init", repo)
    _, first = measured("capture", TOOL, "capture", repo, facts, source)
    ident, again = measured("unchanged", TOOL, "capture", repo, facts, source)
    sizes, listed = measured("list", TOOL, "measure", repo, ident.strip(), "/volumes/0")
    _, restored = measured("restore", TOOL, "restore", repo, ident.strip(), "/volumes/0", copy)
    fine = f"{files + DIRECTORIES + 1} entries" in sizes and count(copy) == files
    if not fine:
        print(f"listed {sizes.strip()}, {count(copy)} files are there, wanted {files}")
    return fine and first and again and listed and restored


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, help="where the repository works (default: a temporary directory)")
    options, _ = parser.parse_known_args()
    files = options.files // DIRECTORIES * DIRECTORIES
    print("by a daemon", flush=True)
    fine = by_a_daemon(files)
    print("by the repository alone", flush=True)
    with tempfile.TemporaryDirectory(prefix="cairn-million-", dir=options.dir) as scratch:
        fine &= by_the_repository(files, Path(scratch))
    print("load " + " ".join(Path("/proc/loadavg").read_text().split()[:3]))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
