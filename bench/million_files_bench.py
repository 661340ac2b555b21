#!/usr/bin/python3
"""A million files in a thousand directories: captured, captured again, listed, restored.

Prints the time and the peak of resident memory of each; fails where one takes 300 MiB or more. Needs about
9 GiB and two million inodes of disk; some minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL = Path(os.environ.get("CAIRN_BIN", ROOT / "build" / "release" / "bin")) / "cairn_repo_tool"
MEMORY_BYTES_MAX = 300 << 20


def fill(root: Path, files: int) -> None:
    for directory in range(1000):
        below = root / f"{directory:03}"
        below.mkdir(parents=True)
        for number in range(files // 1000):
            with open(below / f"{number:04}", "wb", buffering=0) as file:
                file.write(b"%d in %d\n" % (number, directory))


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
    peak = used.ru_maxrss * 1024
    print(f"{what:10} {time.perf_counter() - began:7.1f} s wall, {used.ru_utime + used.ru_stime:6.1f} s CPU, "
          f"peak {peak / (1 << 20):5.0f} MiB", flush=True)
    if status != 0:
        raise SystemExit(f"{what} failed with {os.waitstatus_to_exitcode(status)}")
    return output, peak < MEMORY_BYTES_MAX


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary directory)")
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="cairn-million-", dir=options.dir) as scratch:
        source, repo, copy, facts = (Path(scratch) / name for name in ("source", "repo", "copy", "facts"))
        fill(source, options.files)
        copy.mkdir()
        facts.mkdir()
        measured("init", TOOL, "init", repo)
        _, first = measured("capture", TOOL, "capture", repo, facts, source)
        ident, again = measured("unchanged", TOOL, "capture", repo, facts, source)
        sizes, listed = measured("list", TOOL, "measure", repo, ident.strip(), "/volumes/0")
        _, restored = measured("restore", TOOL, "restore", repo, ident.strip(), "/volumes/0", copy)
        wanted = f"{options.files // 1000 * 1000 + 1001} entries"
        found = sum(len(files) for _, _, files in os.walk(copy))
        if wanted not in sizes or found != options.files // 1000 * 1000:
            print(f"listed {sizes.strip()}, wanted {wanted}; {found} files are there")
            return 1
        print("load " + " ".join(Path("/proc/loadavg").read_text().split()[:3]))
        return 0 if first and again and listed and restored else 1


if __name__ == "__main__":
    sys.exit(main())
