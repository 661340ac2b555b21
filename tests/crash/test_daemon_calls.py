"""cairnd, disturbed at calls that change state, one operation after the other: it is killed there, a
call fails or is cut short, the disk is full from there on; and the recovery after a kill is killed too.

Which calls: a sample, whose seed is printed, within a time for each operation. CAIRN_SOAK=1 takes all
of them, and CAIRN_CRASH_INSIDE kills inside a recovery; CAIRN_CRASH_SEED repeats a sample;
CAIRN_CRASH_BUDGET_S is the time for each operation.
"""

import os
import random

import pytest

from crashlib import for_each_call, sample_calls
from daemon_scenarios import OPERATIONS
from daemon_world import World

SOAK = os.environ.get("CAIRN_SOAK") == "1"
SEED = int(os.environ.get("CAIRN_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
BUDGET_S = float(os.environ.get("CAIRN_CRASH_BUDGET_S", "12"))
INSIDE = int(os.environ.get("CAIRN_CRASH_INSIDE", "500"))
FAULTS = ("kill", "full", "ENOSPC", "EIO", "short")


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_survives(world, name, tmp_path):
    with open(tmp_path / "daemon.log", "ab") as log:
        scenario = OPERATIONS[name](world, log)
        if SOAK:
            report = for_each_call(scenario, FAULTS, recovery_crashes=INSIDE, seed=SEED)
        else:
            report = sample_calls(scenario, (*FAULTS, "kill", "kill"), BUDGET_S, seed=SEED)
    if not report.ok:
        print((tmp_path / "daemon.log").read_text(errors="replace")[-4000:])
    report.require_ok()
