"""Power loss under the whole daemon: what had not reached the disk is gone.

Restore, undo, capture and deploy on ext4 and xfs, cut by a shutdown of the file system at sampled
calls; and every kind of state POSIX allows after a cut of a recorded capture and removal.
"""

import os
import random
import tempfile
from pathlib import Path

import pytest

from crashlib import sample_kills, wait_until
from daemon_checks import Wreck
from daemon_scenarios import OPERATIONS, Capture, RemoveSnapshot
from daemon_world import World
from lib.soak import PART
from loopcut import LoopDisk
from powerloss import Recording, for_each_state
from recording import prepare_recording

SEED = int(os.environ.get("CAIRN_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
BUDGET_S = PART.share(360) if PART else 12  # of each operation


def power_cut(operation):
    """The operation's scenario with a power cut in place of each kill."""

    class Cut(operation):
        spare = ()  # nothing outlives a power loss

        def run(self, state, injection, **options):
            return super().run(state, injection, hook=self.world.disk.hook("shutdown"), **options)

        def between(self, run):
            self.engine_calls = ()
            if run.killed:
                lose_power(self.world)
            self.wreck = Wreck(self.world)

    Cut.__name__ = operation.__name__
    return Cut


def lose_power(world):
    world.end_watchers()
    world.engine.kill(containers=True)
    world.disk.lose_power("shutdown")
    world.engine.start()


@pytest.fixture(scope="module", params=("ext4", "xfs"))
def disk_world(request):
    with LoopDisk(request.param) as disk, World(disk=disk) as world:
        yield world


@pytest.mark.parametrize("name", ("Restore", "RestoreUnhealthy", "Undo", "Capture", "Redeploy"))
def test_power_is_lost(disk_world, name, tmp_path):
    with open(tmp_path / "daemon.log", "ab") as log:
        scenario = power_cut(OPERATIONS[name])(disk_world, log)
        report = sample_kills(scenario, BUDGET_S if name == "Restore" else BUDGET_S / 2, seed=SEED)
    report.require_ok()


def record_operation(scenario, directory):
    """The operation under the recording tracer, undisturbed; its Recording."""
    world = scenario.prepare()
    prepare_recording([world.data], directory)
    scenario.watched = lambda _state: [world.data, world.engine.socket]
    with scenario.traced(world, record=directory) as daemon:
        wait_until(lambda: scenario.ready(world), "the daemon", 60, alive=lambda: daemon.alive)
        scenario.before()
        world.settle()
        daemon.arm()
        scenario.operate(world)
        daemon.end()
    return Recording(directory)


def recording_report(scenario, last_cuts=None, sample=None, budget_s=None):
    """Recovers from states of the recorded operation: of its last cuts, or of a sample; a Report."""
    world = scenario.world
    scenario.views = False
    with tempfile.TemporaryDirectory(prefix="crash-record.", dir=world.base) as directory:
        recording = record_operation(scenario, Path(directory))
        assert not recording.unsupported, recording.unsupported
        cuts = list(recording.armed_cuts())
        if last_cuts is not None:
            cuts = cuts[-last_cuts:][::-1]
        elif PART:
            cuts = PART.of(cuts)  # by number: parts that have other seeds must not overlap
        else:
            random.Random(SEED).shuffle(cuts)
            cuts = cuts[:sample]

        def recover(_base):
            world.cairn.socket.unlink(missing_ok=True)
            scenario.recover(world)

        report = for_each_state(recording, None, recover, lambda *_: None, seed=SEED, random_states=1, cuts=cuts,
                                budget_s=budget_s, stop_at_first=last_cuts is not None)
    scenario.cleanup(world)
    return report


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.mark.parametrize("operation", (Capture, RemoveSnapshot))
def test_every_state_that_posix_allows(world, operation, tmp_path):
    with open(tmp_path / "daemon.log", "ab") as log:
        report = recording_report(operation(world, log), sample=60, budget_s=None if PART else BUDGET_S)
    report.require_ok()
