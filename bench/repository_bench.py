#!/usr/bin/python3
"""First, unchanged and changed captures and restores against restic, borg, tar+zstd and tar+pigz.

Two sets: (A) 40,000 small files, 0.6 GB, of which 1 % are then rewritten; (B) a database file of 1 GiB, of
which 1 % of the 8 KiB pages are rewritten. All in one run on one disk, tool after tool in each step, round
after round; another tool is the first in each round. Before each measurement memory is touched and given back: on
a virtual machine whose host takes free memory away, the next one to touch it pays seconds a GiB, whichever
tool that is. Restores go onto a fresh ext4 file system in a loop device of direct I/O, and end with its
syncfs. restic's times are less what `restic cat config` costs just before, borg's less `borg info`, Cairn's less
`snapshots`: opening the repository, which Cairn's daemon does once. Prints medians of wall and CPU time, and
how many times Cairn's each other tool takes. Of an unchanged file the subtraction leaves nothing to divide by,
so unchanged captures are printed as users wait for them, too: with opening for tools that open each time, for
Cairn without. Cairn's captures are of one instant, for which it looks at everything twice; what the others store, each
file as it is when it is met, is what `--consistency live` asks of Cairn: unchanged captures are printed of that, too.
Needs root; about 9 minutes a round on 2 cores.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(os.environ.get("CAIRN_BIN", ROOT / "build" / "release" / "bin"))
PASSWORD = "a password of benchmarks"
ENV = {**os.environ, "CAIRN_REPO_PASSWORD": PASSWORD, "RESTIC_PASSWORD": PASSWORD, "BORG_PASSPHRASE": PASSWORD,
       "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
FREE_BYTES = 14 << 30  # two sets, five repositories, one file system to restore onto
PAGES, PAGE_BYTES = 131_072, 8192
WARM_BYTES = 3 << 29  # more than a tool and what it writes take
PAGE, HUGE_ORDER = mmap.PAGESIZE, 9
RESOLUTION_S = 0.01  # two runs of one tool differ by that much and more: no difference counts as less
STEPS = ("first", "unchanged", "changed", "restore")


def words(source: random.Random, size: int) -> bytes:
    """Text that compresses about as well as code and logs do."""
    vocabulary = [f"{source.getrandbits(source.choice((16, 24, 40))):x}".encode() for _ in range(4000)]
    parts, length = [], 0
    while length < size:
        parts.append(source.choice(vocabulary))
        length += len(parts[-1]) + 1
    return b" ".join(parts)[:size]


class SmallFiles:
    name = "A: 40,000 small files"

    def __init__(self, root: Path, source: random.Random):
        self.root, self.source, self.files = root, source, []
        self.texts = [words(source, 200_000) for _ in range(20)]
        for number in range(40_000):
            directory = root / f"{number % 20}" / f"{number // 100}"
            directory.mkdir(parents=True, exist_ok=True)
            self.files.append(directory / f"{number}")
            self.write(number)

    def write(self, number: int) -> None:
        size = min(180_000, int(self.source.lognormvariate(8.95, 1.1)))
        start = self.source.randrange(200_000 - size)
        data = self.source.choice(self.texts)[start : start + size]
        if number % 3 == 0:
            data = data[: size // 2] + self.source.randbytes(size - size // 2)
        self.files[number].write_bytes(b"%d " % number + data)

    def change(self) -> None:
        for number in self.source.sample(range(len(self.files)), len(self.files) // 100):
            self.write(number)


class Database:
    name = "B: a 1 GiB database file"

    def __init__(self, root: Path, source: random.Random):
        self.root, self.source = root, source
        self.texts = [words(source, 100_000) for _ in range(20)]
        root.mkdir(parents=True)
        with open(root / "base.db", "wb") as file:
            for number in range(PAGES):
                file.write(self.page(number))

    def page(self, number: int) -> bytes:
        """A header, random row data, text, and free space."""
        start = self.source.randrange(90_000)
        text = self.source.choice(self.texts)[start : start + 4000]
        return (number.to_bytes(8, "little") + self.source.randbytes(1500) + text).ljust(PAGE_BYTES, b"\0")

    def change(self) -> None:
        with open(self.root / "base.db", "r+b") as file:
            for number in self.source.sample(range(PAGES), PAGES // 100):
                file.seek(number * PAGE_BYTES)
                file.write(self.page(number))


class Cost:
    """Seconds of wall clock and of CPU, user and system, with all children."""

    def __init__(self, wall: float, cpu: float):
        self.wall, self.cpu = wall, cpu

    def less(self, other: Cost) -> Cost:
        return Cost(max(self.wall - other.wall, RESOLUTION_S), max(self.cpu - other.cpu, RESOLUTION_S))


def timed(*argv: object, output: Path | None = None) -> Cost:
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    began, before = time.perf_counter(), cpu()
    with open(output or os.devnull, "wb") as out:
        subprocess.run([str(one) for one in argv], env=ENV, stdout=out, stderr=subprocess.PIPE, check=True)
    return Cost(time.perf_counter() - began, cpu() - before)


def warm_memory() -> None:
    """Pages come from the shortest free blocks that are long enough, so all that are shorter than what a host
    takes away are touched, and then some."""
    blocks = [line.split("zone")[1].split()[1:] for line in Path("/proc/buddyinfo").read_text().splitlines()]
    short = sum(int(count) * PAGE << order for zone in blocks for order, count in enumerate(zone[:HUGE_ORDER]))
    free = int(re.search(r"MemFree: +(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    size = min(short + WARM_BYTES, free * 3 // 4)
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def stored_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file())


class Cairn:
    name = "cairn"

    def __init__(self, base: Path):
        self.store, self.base, self.tool = base / "cairn", base, BIN / "cairn_repo_tool"

    def begin(self) -> None:
        timed(self.tool, "init", self.store)
        self.scratch = self.base / "cairn-scratch"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()

    def open(self) -> Cost:
        return timed(self.tool, "snapshots", self.store)

    def capture(self, source: Path, command: str = "capture") -> Cost:
        output = self.base / "id"
        cost = timed(self.tool, command, self.store, self.scratch, source, output=output)
        self.ident = output.read_text().strip()
        return cost

    def capture_live(self, source: Path) -> Cost:
        return self.capture(source, "capture-live")

    def restore(self, target: Path) -> Cost:
        return timed(self.tool, "restore", self.store, self.ident, "/volumes/0", target)


class Restic:
    name = "restic"

    def __init__(self, base: Path):
        self.store = base / "restic"
        self.command = ("restic", "--cache-dir", base / "restic-cache", "-q", "-r", self.store)

    def begin(self) -> None:
        timed(*self.command, "init")

    def open(self) -> Cost:
        return timed(*self.command, "cat", "config")

    def capture(self, source: Path) -> Cost:
        return timed(*self.command, "backup", source)

    def restore(self, target: Path) -> Cost:
        return timed(*self.command, "restore", "latest", "--target", target)


class Borg:
    name = "borg"

    def __init__(self, base: Path):
        self.store = base / "borg"
        ENV["BORG_BASE_DIR"] = str(base / "borg-base")
        self.count = 0

    def begin(self) -> None:
        timed("borg", "init", "-e", "repokey-blake2", self.store)

    def open(self) -> Cost:
        return timed("borg", "info", self.store)

    def capture(self, source: Path) -> Cost:
        self.count += 1
        return timed("borg", "create", f"{self.store}::{self.count}", source)

    def restore(self, target: Path) -> Cost:
        return timed("sh", "-c", f"cd {target} && borg extract {self.store}::{self.count}")


class Tar:
    """Every capture is a full one, made durable as the others' are."""

    def __init__(self, base: Path, name: str, pack: str, unpack: str):
        self.name, self.pack, self.unpack = name, pack, unpack
        self.store = base / name

    def begin(self) -> None:
        self.store.mkdir()

    def open(self) -> None:
        """There is nothing to open."""

    def capture(self, source: Path) -> Cost:
        archive = self.store / str(len(list(self.store.iterdir())))
        return timed("sh", "-c", f"tar -C {source} -cf - . | {self.pack} > {archive} && sync {archive}")

    def restore(self, target: Path) -> Cost:
        archive = self.store / str(len(list(self.store.iterdir())) - 1)
        return timed("sh", "-c", f"{self.unpack} < {archive} | tar -C {target} -xf -")


class FreshFileSystem:
    """An ext4 of its own for each restore, so that none profits from what another left. Its loop device does
    direct I/O, as a disk does: the page cache below it would take every write twice."""

    def __init__(self, base: Path):
        self.image, self.mount = base / "fresh.img", base / "fresh"

    def __enter__(self) -> Path:
        with open(self.image, "wb") as file:
            file.truncate(3 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", "-N", "200000", str(self.image)], check=True)
        self.mount.mkdir(exist_ok=True)
        self.device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", str(self.image)], check=True,
                                     capture_output=True, text=True).stdout.strip()
        subprocess.run(["mount", self.device, str(self.mount)], check=True)
        target = self.mount / "target"
        target.mkdir()
        os.sync()
        return target

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.mount)], check=True)
        subprocess.run(["losetup", "--detach", self.device], check=True)
        self.image.unlink()


def load() -> str:
    return "load " + " ".join(Path("/proc/loadavg").read_text().split()[:3]) + f" on {os.cpu_count()} cores"


class Opening:
    """What opening the repository cost each tool, unchanged captures as users wait for them, and Cairn's live ones."""

    def __init__(self) -> None:
        self.costs: dict[str, list[Cost]] = {}
        self.waited: dict[str, list[Cost]] = {}
        self.live: list[Cost] = []


def measure(tool: Cairn | Restic | Borg | Tar, step: str, act: Callable[[Path], Cost], place: Path,
            opening: Opening) -> Cost:
    warm_memory()
    tool.open()  # the first one may read the program from the disk
    cost = tool.open()
    whole = act(place)
    net = whole.less(cost) if cost else whole
    if cost:
        opening.costs.setdefault(tool.name, []).append(cost)
    if step == "unchanged":
        opening.waited.setdefault(tool.name, []).append(net if isinstance(tool, Cairn) else whole)
    return net


def run_round(data: SmallFiles | Database, base: Path, first: int, costs: dict, growth: dict, opening: Opening) -> None:
    tools = [Cairn(base), Restic(base), Borg(base),
             Tar(base, "tar+zstd", "zstd -q -3 -T0 -c", "zstd -dc"), Tar(base, "tar+pigz", "pigz -c", "pigz -dc")]
    tools = tools[first % len(tools) :] + tools[: first % len(tools)]
    for tool in tools:
        tool.begin()
    for step in STEPS[:3]:
        if step == "changed":
            data.change()
        for tool in tools:
            before = stored_bytes(tool.store)
            os.sync()
            costs[tool.name][step].append(measure(tool, step, tool.capture, data.root, opening))
            growth[tool.name][step].append(stored_bytes(tool.store) - before)
            if step == "unchanged" and isinstance(tool, Cairn):
                os.sync()
                opening.live.append(measure(tool, "live", tool.capture_live, data.root, opening))
    for tool in tools:
        with FreshFileSystem(base) as target:
            cost = measure(tool, "restore", tool.restore, target, opening)
            synced = timed("sync", "-f", target)
            costs[tool.name]["restore"].append(Cost(cost.wall + synced.wall, cost.cpu + synced.cpu))
    for path in [*(tool.store for tool in tools), base / "cairn-scratch", base / "restic-cache", base / "borg-base"]:
        shutil.rmtree(path, ignore_errors=True)


def median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))


def cell(cost: Cost, ours: Cost) -> str:
    return f"{cost.wall:7.2f}/{cost.cpu:5.2f} ({cost.wall / ours.wall:5.1f}/{cost.cpu / ours.cpu:5.1f})"


def report(data: SmallFiles | Database, rounds: int, costs: dict, growth: dict, opening: Opening) -> None:
    print(f"{data.name}: {stored_bytes(data.root) / 1e6:.0f} MB, median of {rounds}, {load()}")
    print("  seconds wall/CPU, and in brackets how many times Cairn's; MB stored by each capture")
    print(f"  {'':9}" + "".join(f"{step:>27}" for step in STEPS) + f"{'MB':>22}")
    for name in costs:
        cells = "".join(cell(median(costs[name][step]), median(costs["cairn"][step])) for step in STEPS)
        sizes = " + ".join(f"{statistics.median(growth[name][step]) / 1e6:.1f}" for step in STEPS[:3])
        print(f"  {name:9}{cells}{sizes:>22}")
    print("  opening, which is taken off: " +
          ", ".join(f"{name} {median(found).wall:.2f} s" for name, found in opening.costs.items()))
    ours = median(opening.waited["cairn"])
    print("  unchanged as users wait for it: " +
          ", ".join(f"{name}{cell(median(found), ours)}" for name, found in opening.waited.items()))
    live = median(opening.live)
    print("  unchanged, each file as it is when it is met: " +
          ", ".join(f"{name}{cell(live if name == 'cairn' else median(found['unchanged']), live)}"
                    for name, found in costs.items()))
    ratio = statistics.median(growth["cairn"]["changed"]) / max(1, statistics.median(growth["restic"]["changed"]))
    print(f"  growth at 1 % changed: {ratio:.2f} of restic's (target: at most 0.33)", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("A", "B"))
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary directory)")
    options, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="cairn-bench-", dir=options.dir) as scratch:
        base = Path(scratch)
        if shutil.disk_usage(base).free < FREE_BYTES:
            print(f"repository bench: {base} has less than {FREE_BYTES >> 30} GiB free")
            return 1
        print(f"before: {load()}", flush=True)
        for letter, kind in (("A", SmallFiles), ("B", Database)):
            if options.only not in (None, letter):
                continue
            data = kind(base / letter, random.Random(7))
            names = ("cairn", "restic", "borg", "tar+zstd", "tar+pigz")
            costs: dict = {name: {step: [] for step in STEPS} for name in names}
            growth: dict = {name: {step: [] for step in STEPS[:3]} for name in names}
            opening = Opening()
            for number in range(options.rounds):
                run_round(data, base, number, costs, growth, opening)
                report(data, number + 1, costs, growth, opening)  # the last one counts
            shutil.rmtree(data.root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
