"""For each bug that src/os/fault.cc can seed: what to do so that the harness must catch it.

A case is an operation and the faults to put in, chosen from the calls of an undisturbed run. The
same cases must pass on a program without a bug (test_daemon_seeded.py).
"""

import os
import subprocess
from dataclasses import dataclass

import daemon_scenarios as ops
from crashlib import Injection
from daemon_checks import is_exchange
from daemon_world import NAME


@dataclass
class Case:
    operation: type
    choose: object = None  # calls of an undisturbed run -> Injections; None: the undisturbed run tells
    how: str = "kill"      # "power": a cut on a real disk; "states": all that POSIX allows


def at(find, offsets=(0,)):
    """Kills at the calls that find(call) names, moved by each of the offsets."""

    def choose(calls):
        numbers = {call["n"] + offset for call in calls if find(call) for offset in offsets}
        return [Injection("kill", number) for number in sorted(numbers) if 0 < number <= calls[-1]["n"]]

    return choose


def writes_journal(call):
    return call["kind"] == "data" and any("/journal/" in path for path in call["paths"])


def seals_spool(call):
    """In the pause: the cut is done, nothing is resumed yet."""
    return call["call"] == "ftruncate"


def names_in_repository(call):
    return call["call"] == "linkat" and any("/repo/" in path for path in call["paths"])


class CaptureAlone(ops.Capture):
    """The watcher dies with the daemon: recovery alone can resume."""
    spare = ()


class StopFails(ops.Restore):
    """The engine refuses to stop anything, also on the way back: the journal stays in UNDOING."""
    patient = False

    def before(self):
        self.world.engine.fault("status", path="stop$", times=0)

    def between(self, run):
        super().between(run)
        self.world.engine.clear_faults()
        assert self.wreck.state_of("restore") == "UNDOING", "the scenario does not reach UNDOING"

    def check_undisturbed(self, answer):
        assert answer.returncode != 0, "the restore went on over containers that do not stop"


class Impostor(ops.Restore):
    """Somebody puts another tree in the staged one's place: recovery must not make it live."""

    def between(self, run):
        super().between(run)
        self.tampered = run.killed and self.wreck.state_of("restore") == "EXCHANGING"
        if not self.tampered:
            return
        place = self.world.places[0]
        staged = next(place.parent.glob(".cairn/*/0"))
        os.rename(staged, staged.with_name("aside"))
        subprocess.run(["cp", "-a", staged.with_name("aside"), staged], check=True)
        self.live = os.stat(place).st_ino
        self.foreign = os.stat(staged).st_ino

    def ready(self, state):
        if not getattr(self, "tampered", False):
            return super().ready(state)
        try:
            return self.world.cairn.http("GET", "/healthz", timeout=5).status == 200
        except OSError:
            return False

    def recovered(self, state):
        if not getattr(self, "tampered", False):
            return super().recovered(state)
        assert os.stat(self.world.places[0]).st_ino != self.foreign, "a tree that is not of the journal is live"
        assert self.world.cairn.http("GET", "/readyz").status == 503, "the workload is not locked"
        answer = self.world.cairn.cli("workload", "stop", NAME)
        assert answer.returncode == 4, f"a locked workload was changed: {answer.stdout}"


CASES = {
    "publish_skips_file_sync": Case(ops.Capture, how="states"),
    "publish_skips_directory_sync": Case(ops.Capture, how="states"),
    "pack_skips_sync": Case(ops.Capture, how="states"),
    "journal_skips_sync": Case(ops.Restore, at(is_exchange, (1,)), how="power"),
    "stage_skips_sync": Case(ops.Restore, at(writes_journal, (1,)), how="power"),
    "exchange_skips_parent_sync": Case(ops.Restore),
    "journal_state_after_effect": Case(ops.AlsoStop, at(is_exchange)),
    "blind_second_exchange": Case(ops.Restore, at(is_exchange, (1,))),
    "commit_before_exchange": Case(ops.Restore, at(writes_journal)),
    "resume_forgotten": Case(CaptureAlone, at(seals_spool)),
    "watcher_not_started": Case(ops.Capture, at(seals_spool)),
    "policy_left_no": Case(ops.Restore),
    "policy_not_set_no": Case(ops.Restore),
    "early_snapshot_row": Case(ops.Capture),
    "snapshot_before_index": Case(ops.Capture, at(names_in_repository, (0, 1))),
    "undo_removed_early": Case(ops.Restore),
    "stale_handle": Case(Impostor, at(is_exchange, (1,))),
    "recovery_ignores_undoing": Case(StopFails),
    "recovery_skips_start": Case(ops.Restore, at(is_exchange)),
    "staging_left_behind": Case(ops.Restore, at(writes_journal, (-1,))),
    "old_container_removed_first": Case(ops.RedeployFailing),
    "desired_state_not_stored": Case(ops.Stop),
    "undo_row_missing": Case(ops.Restore),
}
