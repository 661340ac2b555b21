"""The harness proves itself: cairnd built with bugs on purpose (./dev build seeded cairnd cairn), one
turned on at a time, and each must be caught. A bug that no round catches is a hole in the harness.
"""

import os
import re
from pathlib import Path

import pytest

from crashlib import COUNT_ONLY
from daemon_world import World
from loopcut import LoopDisk
from seeded_cases import CASES
from test_daemon_power import power_cut, record_operation, recording_report

ROOT = Path(__file__).resolve().parents[2]
SEEDED = ROOT / "build" / "seeded" / "bin"
CAUGHT_MIN = 20
caught = {}


def bugs():
    """The names that src/os/fault.cc knows."""
    return re.findall(r'return "([a-z_]+)";', (ROOT / "src" / "os" / "fault.cc").read_text())


@pytest.fixture(scope="module", autouse=True)
def seeded_programs():
    assert (SEEDED / "cairnd").exists(), "build it first: ./dev build seeded cairnd cairn"
    before = os.environ.get("CAIRN_BIN")
    os.environ["CAIRN_BIN"] = str(SEEDED)
    yield
    if before is None:
        del os.environ["CAIRN_BIN"]
    else:
        os.environ["CAIRN_BIN"] = before


@pytest.fixture(scope="module")
def world(seeded_programs):
    with World() as made:
        yield made


@pytest.fixture(scope="module")
def disk_world(seeded_programs):
    with LoopDisk("xfs") as disk, World(disk=disk) as made:
        yield made


def first_failure(case, world, log, bug, rounds_max):
    """What the case found, or None; every round starts anew."""
    operation = power_cut(case.operation) if case.how == "power" else case.operation
    scenario = operation(world, log)
    scenario.environment = lambda _state: {"CAIRN_BUG": bug} if bug else {}
    world.cairn.env = {**os.environ, "CAIRN_BUG": bug} if bug else dict(os.environ)
    try:
        if case.how == "states":
            failures = recording_report(scenario, last_cuts=3 * rounds_max).failures
            return str(failures[0]) if failures else None
        calls = []
        found = one_round(scenario, COUNT_ONLY, calls)
        if found or case.choose is None:
            return found
        for injection in case.choose(calls)[:rounds_max]:
            found = one_round(scenario, injection, [])
            if found:
                return f"{injection}: {found}"
        return None
    finally:
        world.cairn.env = dict(os.environ)


def one_round(scenario, injection, calls):
    state = scenario.prepare()
    try:
        run = scenario.run(state, injection)
        calls += run.calls
        scenario.recover(state)
        scenario.check(state, run)
    except Exception as error:  # whatever breaks is the finding
        return f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"
    finally:
        scenario.cleanup(state)
    return None


def the_world(request, case):
    return request.getfixturevalue("disk_world" if case.how == "power" else "world")


@pytest.mark.parametrize("bug", CASES)
def test_the_bug_is_caught(request, bug, tmp_path):
    case = CASES[bug]
    with open(tmp_path / "daemon.log", "ab") as log:
        found = first_failure(case, the_world(request, case), log, bug, rounds_max=12)
    caught[bug] = found
    print(f"{bug}: {found}")
    assert found, f"{bug} was not caught by {case.operation.__name__}"


def distinct():
    return {(case.operation.__name__, case.how): case for case in CASES.values()}


@pytest.mark.parametrize("name", distinct(), ids="-".join)
def test_without_a_bug_nothing_is_found(request, name, tmp_path):
    case = distinct()[name]
    with open(tmp_path / "daemon.log", "ab") as log:
        found = first_failure(case, the_world(request, case), log, "", rounds_max=3)
    assert found is None, found


def test_enough_bugs_are_caught():
    assert set(CASES) <= set(bugs()), "a case names a bug that the program does not have"
    if caught:
        assert sum(1 for found in caught.values() if found) >= CAUGHT_MIN, caught
