"""The engine dies in the middle of an operation, with or without its containers, with or without
cairnd; it is started again first. Against the fake engine at every kind of call it is asked, and
against the real one at a call of cairnd in each named phase.
"""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crashlib import COUNT_ONLY, Injection, Run, wait_until
from daemon_checks import Wreck, is_exchange
from daemon_scenarios import OPERATIONS, Capture, Restore
from daemon_world import RealWorld, World
from lib.soak import PART

SEED = int(os.environ.get("CAIRN_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
ROUNDS = 4  # of each operation; the soak takes all of its part
RESTARTED_S = 120

# Engine calls by which the phases of an operation can be met.
CALLS = {
    "Capture": ("pause$", "unpause$"),
    "CaptureStopped": ("update$", "stop$", "start$"),
    "Restore": ("update$", "stop$", "start$", "exec$", "json$"),
    "RestoreUnhealthy": ("update$", "stop$", "start$", "logs"),
    "AlsoStop": ("update$", "stop$", "start$"),
    "Undo": ("update$", "stop$", "start$"),
    "FirstDeploy": ("create$", "start$", "exec$"),
    "Redeploy": ("create$", "update$", "stop$", "start$", "exec$", "containers/[^/]*$"),
    "RedeployFailing": ("create$", "stop$", "start$", "containers/[^/]*$"),
    "RemoveWorkload": ("stop$", "containers/[^/]*$"),
    "Stop": ("stop$",),
    "Start": ("start$",),
}


class EngineDeath:
    """Restarts an engine that a fault ended; cairnd is killed at that moment where `both`."""

    def __init__(self, world, containers, both):
        self.world, self.containers, self.both = world, containers, both
        self.happened = False
        self.error = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        engine, cairn = self.world.engine, self.world.cairn
        while not self._over.is_set():
            if engine.daemon.alive():
                time.sleep(0.002)
                continue
            self.happened = True
            try:
                if self.both:
                    cairn.kill()
                engine.daemon.process.wait()
                if self.containers:
                    engine.kill(containers=True)
                if not self._over.wait(0.3):  # so that cairnd meets a dead engine
                    engine.start()
                elif not engine.daemon.alive():
                    engine.start()
            except Exception as error:
                self.error = error
            return

    def end(self):
        self._over.set()
        self._thread.join()
        if self.error:
            raise self.error


def one_round(world, name, path, action, containers, both, log):
    scenario = OPERATIONS[name](world, log)
    scenario.prepare()
    try:
        cairn = world.cairn
        cairn.start()
        scenario.before()
        world.settle()
        world.engine.fault(action, path=path)
        death = EngineDeath(world, containers, both)
        try:
            answer = scenario.act()
            try:
                wait_until(lambda: not cairn.alive() or cairn.ready(), "recovery without a restart", RESTARTED_S)
                world.settle()
            except OSError:
                pass
        finally:
            death.end()
        cairn.kill() if both else cairn.stop()
        scenario.last = Run()
        scenario.last.answer = answer
        world.engine.clear_faults()
        scenario.recover(world)
        return death.happened
    finally:
        scenario.cleanup(world)


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.mark.parametrize("name", CALLS)
def test_the_engine_dies(world, name, tmp_path):
    rng = random.Random(f"{SEED}/{name}")
    cases = [(path, action, containers, both) for path in CALLS[name] for action in ("exit", "exit_after")
             for containers in (False, True) for both in (False, True)]
    chosen = PART.of(cases) if PART else rng.sample(cases, ROUNDS)
    print(f"seed {SEED}")
    failures, happened = [], 0
    with open(tmp_path / "daemon.log", "ab") as log:
        for path, action, containers, both in chosen:
            words = f"{action} at {path}, containers={containers}, cairnd killed={both}"
            try:
                happened += one_round(world, name, path, action, containers, both, log)
            except Exception as error:
                failures.append(f"{words}: {type(error).__name__}: {error}")
    assert not failures, f"seed {SEED}:\n" + "\n".join(failures)
    assert happened or not chosen, "no engine died: the paths are wrong"


# -- the real engine ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_world():
    with RealWorld() as made:
        yield made


def writes_journal(call):
    return call["kind"] == "data" and any("/journal/" in path for path in call["paths"])


def phases_of_restore(calls):
    """Where a call in each phase is: by the exchanges, and by the journal's records around them."""
    exchanges = [call["n"] for call in calls if is_exchange(call)]
    records = [call["n"] for call in calls if writes_journal(call)]
    before = [n for n in records if n < exchanges[0]]
    after = [n for n in records if n > exchanges[-1]]
    # Before the exchange: QUIESCED, stops, EXCHANGING. After it: COMMITTED, start and health, HEALTHY.
    return {"quiesce": (before[-2] + before[-1]) // 2, "exchange": exchanges[0] + 1,
            "start": after[0] + 3, "health": after[1] - 2}


def kill_both(scenario, number):
    """cairnd and dockerd die at that call of cairnd; dockerd comes back first."""
    world = scenario.world
    scenario.prepare()
    try:
        scenario.between = lambda run: engine_first(scenario)
        run = scenario.run(world, Injection("kill", number), hook=f"kill -KILL {world.engine.pid}")
        assert run.killed, "the run had no such call"
        scenario.recover(world)
    finally:
        scenario.cleanup(world)


def engine_first(scenario):
    engine = scenario.world.engine
    engine.kill(containers=SEED % 2 == 0)
    engine.start()
    scenario.wreck = Wreck(scenario.world)


def count(scenario):
    state = scenario.prepare()
    try:
        run = scenario.run(state, COUNT_ONLY)
        scenario.recover(state)
        scenario.check(state, run)
        return run.calls
    finally:
        scenario.cleanup(state)


def test_real_engine_and_daemon_die_in_each_phase(real_world, tmp_path):
    with open(tmp_path / "daemon.log", "ab") as log:
        scenario = RealRestore(real_world, log)
        phases = phases_of_restore(count(scenario))
        for phase, number in phases.items():
            print(f"phase {phase}: call {number}")
            kill_both(RealRestore(real_world, log), number)
        calls = count(Capture(real_world, log))
        paused = [call["n"] for call in calls if any("/repo/data" in path for path in call["paths"])]
        kill_both(Capture(real_world, log), paused[0])


class RealRestore(Restore):
    """The real engine's calls are not recorded, so their order is not checked here."""

    def between(self, run):
        super(Restore, self).between(run)


@pytest.mark.parametrize("name, state", (("Restore", "QUIESCED"), ("Restore", "COMMITTED"), ("Capture", "CAPTURING")))
def test_the_real_engine_alone_dies(real_world, name, state, tmp_path):
    with open(tmp_path / "daemon.log", "ab") as log:
        scenario = OPERATIONS[name](real_world, log)
        world = scenario.prepare()
        try:
            world.cairn.start()
            with ThreadPoolExecutor(1) as threads:
                killed = threads.submit(kill_engine_in, world, state)
                answer = scenario.act()
                killed.result()
            try:
                wait_until(world.cairn.ready, "recovery without a restart", RESTARTED_S)
            except TimeoutError as error:
                raise AssertionError(f"{error}\n--- cairnd\n{world.cairn.tail()}\n"
                                     f"--- the engine\n{world.engine.tail()}") from error
            world.settle()
            world.cairn.stop()
            scenario.last = Run()
            scenario.last.answer = answer
            scenario.recover(world)
        finally:
            scenario.cleanup(world)


def kill_engine_in(world, state):
    wait_until(lambda: any(states and states[-1] == state for states in world.journals().values()), state, 30)
    world.engine.kill()
    world.engine.start()
