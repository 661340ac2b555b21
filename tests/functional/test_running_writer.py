"""A capture is some instant of the volume, and its restore is the same tree: generated trees and writers on three
file systems, compared with a model of every step (lib/runningwriter.py).

CAIRN_WRITER_SEED=N repeats a run's steps; the soak takes thousands of captures instead of some (lib/soak.py).
"""

import os
import random

import pytest

from lib.runningwriter import KINDS, Bench
from lib.soak import PART

SEED = int(os.environ.get("CAIRN_WRITER_SEED", random.SystemRandom().randrange(1 << 30)))
SESSIONS = int(os.environ.get("CAIRN_WRITER_SESSIONS", PART.share(400) if PART else 4))
SLOW_SESSIONS = int(os.environ.get("CAIRN_WRITER_SESSIONS", PART.share(100) if PART else 3))
SESSIONS_OF_A_BENCH = 25  # data, volume and repository are in memory


@pytest.mark.parametrize("slow", [False, True], ids=["at_speed", "slow_calls"])
@pytest.mark.parametrize("kind", KINDS)
def test_captures_of_a_running_writer_are_instants_of_it(kind, slow):
    left, seed = SLOW_SESSIONS if slow else SESSIONS, SEED
    while left > 0:
        with Bench(kind, slow) as bench:
            for _ in range(min(left, SESSIONS_OF_A_BENCH)):
                bench.session(seed)
                left, seed = left - 1, seed + 1
            print(f"{kind}, seed {SEED}: {bench.tally}")
            assert bench.tally["in_motion"] > 0, "no capture was made while the writer wrote"
