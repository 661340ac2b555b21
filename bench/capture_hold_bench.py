#!/usr/bin/python3
"""How long a workload stands still while its volume is captured (`hold_ms` of a paused capture).

Two workloads on a real engine, on each file system: 20,000 files of 100 KB of which the container rewrites 200
without end, and a PostgreSQL 15 of 1.5 GB (pgbench scale 100) with pgbench at work. The volume's root is a
directory on ext4, xfs and btrfs, and a subvolume of btrfs. Each capture is one of --rounds in a daemon that
knows the captures before it; the first one, which reads everything, is printed by itself. Needs root and
12 GiB; about 12 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "functional"))

from lib.cairnd import Cairnd  # noqa: E402
from lib.engines import RealDocker, make_small_image  # noqa: E402
from lib.images import make_postgres_image  # noqa: E402
from lib.jobs import deploy, workload  # noqa: E402
from lib.loopfs import LoopFs, subvolume_create  # noqa: E402

FILES, FILE_BYTES, CHANGING = 20_000, 100_000, 200
DISK_BYTES = 8 << 30
PG_BIN = Path("/usr/lib/postgresql/15/bin")
# name -> file system, whether the root is a subvolume, the target of the files in s, that of PostgreSQL
PLACES = {
    "ext4": ("ext4", False, 1.0, None),
    "xfs": ("xfs", False, 0.3, 1.0),
    "btrfs": ("btrfs", False, 1.2, None),
    "btrfs subvolume": ("btrfs", True, 0.3, None),
}
REWRITE = (f"while :; do i=0; while [ $i -lt {CHANGING} ]; do "
           "dd if=/dev/urandom of=/data/$((i % 20))/$i bs=8192 count=1 seek=$((i % 12)) conv=notrunc 2>/dev/null; "
           "i=$((i + 1)); done; done")


def load() -> str:
    return "load " + " ".join(Path("/proc/loadavg").read_text().split()[:3]) + f" on {os.cpu_count()} cores"


def fill(root: Path) -> None:
    """The first CHANGING of the files are spread over all directories, as the others are."""
    source = random.Random(5)
    text = source.randbytes(4 * FILE_BYTES)
    for directory in range(20):
        (root / str(directory)).mkdir()
    for number in range(FILES):
        start = source.randrange(3 * FILE_BYTES)
        (root / str(number % 20) / str(number)).write_bytes(b"%d " % number + text[start : start + FILE_BYTES])


def captures(cairn: Cairnd, name: str, rounds: int) -> list:
    return [cairn.ok("snapshot", "create", name, timeout=1200) for _ in range(rounds + 1)]


def report(what: str, made: list, target: float | None) -> None:
    first, *later = made
    holds = [one["hold_ms"] for one in later]
    aim = f"(target: under {target:.1f} s)" if target else "(no target)"
    print(f"  {what:16} hold {statistics.median(holds) / 1000:.3f} s {aim}, all {holds} ms, first {first['hold_ms']} ms; "
          f"{statistics.median(one['files_changed'] for one in later):.0f} files and "
          f"{statistics.median(one['bytes_changed'] for one in later) / 1e6:.1f} MB changed; {load()}", flush=True)


def small_files(engine: RealDocker, cairn: Cairnd, root: Path, rounds: int) -> list:
    fill(root)
    deploy(cairn, workload("files", volumes=[{"source": str(root), "target": "/data", "scope": "absolute"}],
                           command=["sh", "-c", REWRITE]))
    made = captures(cairn, "files", rounds)
    cairn.ok("workload", "rm", "files", "--yes")
    return made


def database(engine: RealDocker, cairn: Cairnd, root: Path, rounds: int) -> list:
    deploy(cairn, workload("pg", image="postgres", default_tag="15", healthcheck="image", shm_size=128,
                           volumes=[{"source": str(root), "target": "/var/lib/postgresql/data", "scope": "absolute"}]))
    shown = cairn.ok("workload", "show", "pg")
    address = next(one["address"] for one in shown["instances"] if one.get("address"))
    bench = [str(PG_BIN / "pgbench"), "-h", address, "-U", "postgres"]
    subprocess.run(engine.enter([*bench, "-i", "-q", "-s", "100", "postgres"]), check=True, capture_output=True)
    with subprocess.Popen(engine.enter([*bench, "-c", "4", "-T", "3600", "-n", "postgres"]),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as writing:
        time.sleep(5)
        made = captures(cairn, "pg", rounds)
        assert writing.poll() is None, "pgbench noticed the captures"
        writing.terminate()
    cairn.ok("workload", "rm", "pg", "--yes")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PLACES, action="append")
    parser.add_argument("--job", choices=("files", "postgres"), action="append")
    options, _ = parser.parse_known_args()
    jobs = options.job or ["files", "postgres"]
    with RealDocker() as engine:
        make_small_image(engine, "small:1")
        if "postgres" in jobs:
            make_postgres_image(engine, "postgres:15")
        for name in options.only or PLACES:
            kind, subvolume, files_target, database_target = PLACES[name]
            print(name, flush=True)
            with LoopFs(kind, DISK_BYTES) as disk:
                config = f'[settings]\nallowed_volume_paths = ["{disk.path}"]\n'
                with Cairnd(engine, config=config, check=False) as cairn:
                    for what, job, target in (("files", small_files, files_target),
                                              ("postgres", database, database_target)):
                        if what not in jobs:
                            continue
                        root = disk.path / what
                        subvolume_create(root) if subvolume else root.mkdir()
                        report(what, job(engine, cairn, root, options.rounds), target)


if __name__ == "__main__":
    main()
