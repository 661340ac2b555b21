#!/usr/bin/python3
"""The hold of a restore must not depend on the size of the data.

A trivial container, volumes of 50 MB and 5 GB, restored in turn (interleaved) on a real engine.
Prints each hold, the ratio of the medians (target: at most 1.2), and Cairn's own part of the hold
against 10 ms plus its syncs at this disk's measured cost.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "functional"))

from lib.cairnd import Cairnd  # noqa: E402
from lib.engines import RealDocker, make_small_image  # noqa: E402
from lib.jobs import deploy, place, settle, snapshot, workload  # noqa: E402

ROUNDS = 5
# In the hold of one volume: EXCHANGING, both parents of the exchange, COMMITTED.
SYNCS = 4


def sync_cost_ms(directory: Path) -> float:
    """The median of writing 4 KiB in place and syncing it."""
    file = directory / "sync-cost"
    costs = []
    with open(file, "wb", buffering=0) as out:
        out.write(bytes(4096))
        os.fsync(out.fileno())
        for _ in range(40):
            began = time.perf_counter()
            os.pwrite(out.fileno(), os.urandom(4096), 0)
            os.fdatasync(out.fileno())
            costs.append((time.perf_counter() - began) * 1000)
    file.unlink()
    return statistics.median(costs)


def fill(root: Path, size: int) -> None:
    """Files of 16 MiB; random, so that nothing is saved by finding it again."""
    for number in range(max(1, size >> 24)):
        (root / f"f{number}").write_bytes(os.urandom(min(size, 16 << 20)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-mb", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    sizes = {"small": 50 << 20, "large": options.large_mb << 20}
    with RealDocker() as engine:
        make_small_image(engine, "small:1")
        with Cairnd(engine, check=False) as cairn:
            idents, holds, owns = {}, {}, {}
            for name, size in sizes.items():
                deploy(cairn, workload(name))
                fill(place(cairn, name), size)
                idents[name] = snapshot(cairn, name, "--consistency", "stopped")
                holds[name], owns[name] = [], []
            cost = sync_cost_ms(cairn.data)
            for _ in range(options.rounds):
                for name in sizes:
                    result = cairn.ok("snapshot", "restore", name, idents[name], "--yes", timeout=1200)
                    holds[name].append(result["hold_ms"])
                    owns[name].append(result["cairn_ms"])
                    settle(cairn, result)
                    cairn.ok("restore", "discard", result["undo"], "--yes")
            medians = {name: statistics.median(values) for name, values in holds.items()}
            load = " ".join(f"{one:.2f}" for one in os.getloadavg())
            for name, size in sizes.items():
                print(f"{size >> 20:6} MiB: holds {holds[name]} ms, median {medians[name]}; "
                      f"Cairn's own {owns[name]} ms")
            print(f"ratio of the holds: {medians['large'] / medians['small']:.3f} (target: at most 1.2)")
            print(f"a sync costs {cost:.2f} ms here, so the bound is {10 + SYNCS * cost:.1f} ms; "
                  f"Cairn's own median: {statistics.median(owns['small'] + owns['large'])} ms")
            print(f"load {load}")


if __name__ == "__main__":
    main()
