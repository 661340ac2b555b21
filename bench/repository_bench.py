#!/usr/bin/python3
"""Capture and restore against restic and tar+zstd: 40,000 small files (0.6 GB), a 1 GiB database.

All in one run, interleaved, on the same disk. restic's times are less what `restic cat config` costs
(opening the repository); Cairn's are less what opening costs it, since the daemon keeps it open.
Every capture is a first one, into a new repository. Prints medians, ratios and the machine's load.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(os.environ.get("CAIRN_BIN", ROOT / "build" / "release" / "bin"))
PASSWORD = "a password of benchmarks"
ENV = {**os.environ, "CAIRN_REPO_PASSWORD": PASSWORD, "RESTIC_PASSWORD": PASSWORD}


def words(source: random.Random, size: int) -> bytes:
    """Text that compresses about as well as code and logs do."""
    vocabulary = [f"{source.getrandbits(source.choice((16, 24, 40))):x}".encode() for _ in range(4000)]
    parts, length = [], 0
    while length < size:
        parts.append(source.choice(vocabulary))
        length += len(parts[-1]) + 1
    return b" ".join(parts)[:size]


def make_small(root: Path, source: random.Random) -> None:
    texts = [words(source, 200_000) for _ in range(20)]
    for number in range(40_000):
        directory = root / f"{number % 20}" / f"{number // 100}"
        directory.mkdir(parents=True, exist_ok=True)
        size = min(180_000, int(source.lognormvariate(8.95, 1.1)))
        start = source.randrange(200_000 - size)
        data = source.choice(texts)[start : start + size]
        if number % 3 == 0:
            data = data[: size // 2] + source.randbytes(size - size // 2)
        (directory / f"{number}").write_bytes(b"%d " % number + data)


def make_database(root: Path, source: random.Random) -> None:
    """1 GiB of 8 KiB pages: a header, random row data, text, and free space."""
    texts = [words(source, 100_000) for _ in range(20)]
    root.mkdir(parents=True)
    with open(root / "base.db", "wb") as file:
        for number in range(131_072):
            start = source.randrange(90_000)
            page = number.to_bytes(8, "little") + source.randbytes(1500) + source.choice(texts)[start : start + 4000]
            file.write(page.ljust(8192, b"\0"))


def timed(*argv: object, output: Path | None = None) -> float:
    began = time.perf_counter()
    with open(output or os.devnull, "wb") as out:
        subprocess.run([str(one) for one in argv], env=ENV, stdout=out, stderr=subprocess.PIPE, check=True)
    return time.perf_counter() - began


def size_mb(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file()) / 1e6


class Round:
    """Each method captures or restores once, with the page cache as it is and nothing left to write."""

    def __init__(self, base: Path, source: Path):
        self.base, self.source = base, source
        self.stored: dict[str, float] = {}

    def fresh(self, name: str) -> Path:
        path = self.base / name
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        os.sync()
        return path

    def cairn(self) -> tuple[float, float]:
        tool, repo = BIN / "cairn_repo_tool", self.fresh("cairn")
        timed(tool, "init", repo)
        opening = timed(tool, "snapshots", repo)
        capture = timed(tool, "archive", repo, self.source, output=self.base / "id") - opening
        self.stored["cairn"] = size_mb(repo)
        target = self.fresh("out")
        target.mkdir()
        ident = (self.base / "id").read_text().strip()
        return capture, timed(tool, "restore", repo, ident, "/volumes/0", target) - opening

    def restic(self) -> tuple[float, float]:
        repo = self.fresh("restic")
        restic = ("restic", "--no-cache", "-q", "-r", repo)
        timed(*restic, "init")
        opening = timed(*restic, "cat", "config")
        capture = timed(*restic, "backup", self.source) - opening
        self.stored["restic"] = size_mb(repo)
        return capture, timed(*restic, "restore", "latest", "--target", self.fresh("out")) - opening

    def tar(self) -> tuple[float, float]:
        archive = self.fresh("tar.zst")
        capture = timed("sh", "-c", f"tar -C {self.source} -cf - . | zstd -q -3 -T0 -o {archive} && sync {archive}")
        self.stored["tar+zstd"] = size_mb(archive)
        target = self.fresh("out")
        target.mkdir()
        return capture, timed("sh", "-c", f"zstd -dc {archive} | tar -C {target} -xf -")


def load() -> str:
    return "load " + Path("/proc/loadavg").read_text().split()[0] + f" on {os.cpu_count()} cores"


def compare(name: str, base: Path, source: Path, rounds: int) -> None:
    one = Round(base, source)
    runs = {"cairn": one.cairn, "restic": one.restic, "tar+zstd": one.tar}
    times: dict[str, list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(run())
    print(f"{name}: {size_mb(source):.0f} MB, {rounds} rounds, {load()}")
    ours = [statistics.median(column) for column in zip(*times["cairn"])]
    for key, pairs in times.items():
        capture, restore = (statistics.median(column) for column in zip(*pairs))
        print(
            f"  {key:9} capture {capture:6.2f} s (cairn takes {ours[0] / capture:4.2f} of it)"
            f"   restore {restore:6.2f} s ({ours[1] / restore:4.2f})   stored {one.stored[key]:5.0f} MB"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary directory)")
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="cairn-bench-", dir=options.dir) as scratch:
        base = Path(scratch)
        source = random.Random(7)
        make_small(base / "small", source)
        make_database(base / "database", source)
        print(f"before: {load()}")
        compare("40,000 small files", base, base / "small", options.rounds)
        compare("1 GiB database file", base, base / "database", options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
