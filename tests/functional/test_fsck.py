"""Each finding of `cairn system fsck`: what it is told for, alone, and that what the operations guide says ends it."""

import os
import re
import shutil
import sqlite3

import pytest

from lib.cairnd import ROOT
from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, restore, running, settle, snapshot, workload
from lib.trees import diff_trees, read_tree

CASES = {}


def case(code):
    """A generator: up to its yield it makes the finding, behind it does what the guide says."""

    def add(function):
        CASES[code] = function
        return function

    return add


class House:
    """A workload "web" that runs, with data; a daemon of its own."""

    def __init__(self, cairn):
        self.cairn, self.client = cairn, cairn.engine.client
        deploy(cairn, workload())
        self.place, self.volumes = place(cairn), None
        fill(self.place, "first")

    def use_docker_volume(self):
        name = f"store-{self.cairn.base.name}"
        self.volumes = [{"target": "/data", "scope": "named", "name": name}]
        self.cairn.apply(workload(volumes=self.volumes))
        self.cairn.ok("workload", "deploy", "web", "--fresh-volume", "/data")
        self.place = self.cairn.engine.volumes_root / name / "_data"

    def container(self):
        (row,) = self.cairn.ok("workload", "show", "web")["instances"]
        return row["container_id"]

    def name(self):
        return self.client.inspect(self.container())["Name"].lstrip("/")

    def sql(self, *statements):
        connection = sqlite3.connect(self.cairn.data / "catalog.db", timeout=10)
        with connection:
            changed = [connection.execute(one).rowcount for one in statements]
        connection.close()
        assert changed[-1] == 1, statements

    def repo_file(self, kind, ident):
        return next(path for path in (self.cairn.data / "repo" / kind).rglob("*") if path.name.startswith(ident))

    def stored(self, ident):
        return self.repo_file("snapshots", self.cairn.ok("snapshot", "show", ident)["repository_snapshot"])

    def undo(self):
        """The id of the undo of a restore that is over."""
        ident = snapshot(self.cairn)
        fill(self.place, "second")
        result = restore(self.cairn, ident)
        settle(self.cairn, result)
        return result["undo"]

    def staging(self):
        return self.place.parent / ".cairn"

    def post(self, what, body=None):
        answer = self.client.post(f"/containers/{self.container()}/{what}", body)
        assert answer.status in (200, 204, 304), answer


def cut_restore(house):
    """The daemon dies while a restore waits for health, the new data in place: its journal's path and content."""
    cairn = house.cairn
    slow = house.place / "slow"
    deploy(cairn, workload(volumes=house.volumes, healthcheck="exec:if test -e /data/slow; then sleep 3; fi"))
    slow.write_text("")
    ident = snapshot(cairn)
    slow.unlink()
    fill(house.place, "second")
    asked = cairn.popen("snapshot", "restore", "web", ident, "--yes")

    def committed():
        return [one for one in (cairn.data / "journal").iterdir() if b"COMMITTED" in one.read_bytes()]

    (journal,) = wait_for(committed, 30, "COMMITTED")
    cairn.kill()
    assert asked.wait() != 0 and (house.place / "file").read_text() == "first"
    return journal, journal.read_bytes()


@pytest.fixture
def house(cairn):
    return House(cairn)


# -- the catalog -----------------------------------------------------------------------


def damage_catalog(house, *statements):
    """Live, and as the guide says a copy comes back in its place."""
    cairn = house.cairn
    cairn.stop()
    shutil.copy(cairn.data / "catalog.db", cairn.base / "copy.db")
    cairn.start()
    house.sql(*statements)
    yield
    cairn.stop()
    shutil.copy(cairn.base / "copy.db", cairn.data / "catalog.db")
    for name in ("catalog.db-wal", "catalog.db-shm"):
        (cairn.data / name).unlink(missing_ok=True)
    cairn.start()


@case("catalog_damaged")
def a_row_that_must_not_be(house):
    snapshot(house.cairn)
    unchecked = "PRAGMA ignore_check_constraints = ON"
    yield from damage_catalog(house, unchecked, "UPDATE snapshots SET repository_snapshot = ''")


@case("catalog_dangling")
def a_row_of_nothing(house):
    yield from damage_catalog(house, "INSERT INTO volumes VALUES ('wl_gone', '/data', '', '', '', 0)")


@case("catalog_undecodable")
def a_sealed_text_that_does_not_open(house):
    yield from damage_catalog(house, "UPDATE workloads SET env_sealed = x'00'")


# -- containers ------------------------------------------------------------------------


@case("paused_container")
def somebody_paused_it(house):
    house.post("pause")
    yield
    house.post("unpause")


@case("restart_policy_left")
def somebody_took_its_policy(house):
    house.post("update", {"RestartPolicy": {"Name": "no"}})
    yield
    house.cairn.restart()


@case("not_running")
def somebody_stopped_it(house):
    house.client.stop(house.container())
    yield
    house.cairn.ok("workload", "start", "web")


@case("running_container")
def somebody_started_it(house):
    house.cairn.ok("workload", "stop", "web")
    house.client.start(house.container())
    yield
    house.cairn.ok("workload", "stop", "web")


@case("missing_container")
def somebody_removed_it(house):
    house.client.remove(house.container())
    yield
    house.cairn.ok("workload", "start", "web")


@case("foreign_container")
def somebody_took_its_name(house):
    name = house.name()
    house.client.remove(house.container())
    taken = house.client.create("small:1", name=name)
    yield
    assert house.cairn.cli("workload", "start", "web").returncode != 0
    assert house.client.inspect(taken)["Id"] == taken
    house.client.remove(taken)
    house.cairn.ok("workload", "start", "web")


@case("unknown_container")
def one_with_our_label(house):
    labels = {"cairn.workload.id": house.cairn.ok("workload", "show", "web")["id"], "cairn.role": "instance"}
    made = house.client.create("small:1", Labels=labels)
    yield
    house.cairn.restart()
    house.client.remove(made)  # is there: Cairn left it alone


@case("unfinished_deploy")
def a_deploy_cut_off(house):
    house.sql("UPDATE workloads SET desired = 'removed'")
    yield
    house.cairn.restart()
    assert house.cairn.ok("workload", "ls")["workloads"] == []


# -- the repository --------------------------------------------------------------------


@case("repository_damaged")
def a_pack_is_gone(house):
    snapshot(house.cairn)
    pack = next((house.cairn.data / "repo" / "data").glob("*/*"))
    kept = pack.rename(house.cairn.base / "kept")
    yield
    kept.rename(pack)


@case("unindexed_packs")
def a_pack_without_an_index(house):
    folder = house.cairn.data / "repo" / "data" / "aa"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / ("a" * 64)).write_bytes(b"half a store")
    yield
    house.cairn.restart()


@case("missing_repository_snapshot")
def a_snapshot_file_is_gone(house):
    file = house.stored(snapshot(house.cairn))
    kept = file.rename(house.cairn.base / "kept")
    yield
    kept.rename(file)


@case("unknown_repository_snapshot")
def an_older_catalog_was_put_back(house):
    cairn = house.cairn
    cairn.stop()
    shutil.copy(cairn.data / "catalog.db", cairn.base / "older.db")
    cairn.start()
    lost = cairn.ok("snapshot", "show", snapshot(cairn))
    cairn.stop()
    shutil.copy(cairn.base / "older.db", cairn.data / "catalog.db")
    cairn.start()
    yield
    made = cairn.ok("snapshot", "adopt", "web", lost["repository_snapshot"], "--map", "/volumes/0=/data")
    want = read_tree(house.place)
    fill(house.place, "second")
    settle(cairn, restore(cairn, made["id"]))
    assert diff_trees(want, house.place) == []
    (cairn.data / "repo" / "snapshots" / lost["repository_snapshot"]).unlink()


@case("half_stored_snapshot")
def a_capture_cut_off(house):
    snapshot(house.cairn)
    house.sql("UPDATE snapshots SET state = 'cut', repository_snapshot = ''")
    yield
    house.cairn.restart()


@case("half_removed_snapshot")
def a_removal_cut_off(house):
    snapshot(house.cairn)
    house.sql("UPDATE snapshots SET state = 'failed'")
    yield
    house.cairn.restart()
    assert house.cairn.ok("snapshot", "ls")["snapshots"] == []


# -- undos and what lies beside the volumes --------------------------------------------


@case("undo_tree_missing")
def the_old_data_was_moved(house):
    undo = house.undo()
    (tree,) = house.staging().glob("*/*")
    kept = tree.rename(house.cairn.base / "kept")
    yield
    assert house.cairn.cli("restore", "undo", undo, "--yes").returncode != 0
    kept.rename(tree)
    house.cairn.ok("restore", "undo", undo, "--yes")
    assert (house.place / "file").read_text() == "second"


@case("undo_snapshot_missing")
def the_row_of_the_old_data_is_gone(house):
    undo = house.undo()
    house.sql("UPDATE undos SET pre_restore_snapshot = 'snap_01arz3ndektsv4rrffq69g5fav'")
    yield
    house.cairn.ok("restore", "undo", undo, "--yes")
    assert (house.place / "file").read_text() == "second"


@case("undo_damaged")
def an_undo_that_does_not_say_where(house):
    undo = house.undo()
    house.sql("UPDATE undos SET volumes_json = '[1]'")
    yield
    assert house.cairn.cli("restore", "undo", undo, "--yes").returncode != 0
    (replaced,) = [one for one in house.cairn.ok("snapshot", "ls")["snapshots"] if one["reason"] == "pre_restore"]
    result = restore(house.cairn, replaced["id"])
    assert (house.place / "file").read_text() == "second"
    settle(house.cairn, result)
    house.cairn.ok("restore", "discard", result["undo"], "--yes")
    assert house.cairn.cli("restore", "discard", undo, "--yes").returncode != 0
    shutil.rmtree(house.staging())


@case("half_removed_undo")
def a_discard_cut_off(house):
    house.undo()
    house.sql("UPDATE undos SET state = 'discarded'")
    yield
    house.cairn.restart()
    assert not house.staging().exists()


@case("missing_holder")
def somebody_pruned(house):
    house.use_docker_volume()
    undo = house.undo()
    (holder,) = house.client.containers(label="cairn.role=holder")
    house.client.remove(holder["Id"])
    yield
    house.cairn.restart()
    house.cairn.ok("restore", "undo", undo, "--yes")


@case("leftover_holder")
def a_discard_cut_off_at_the_holder(house):
    house.use_docker_volume()
    house.undo()
    shutil.rmtree(house.staging())
    house.sql("UPDATE undos SET state = 'discarded'")
    yield
    house.cairn.restart()
    assert house.client.containers(label="cairn.role=holder") == []


@case("undo_stuck")
def an_undo_cut_off_at_its_row(house):
    undo = house.undo()
    house.sql("UPDATE undos SET state = 'applying'")
    yield
    house.cairn.restart()
    house.cairn.ok("restore", "undo", undo, "--yes")
    assert (house.place / "file").read_text() == "second"


@case("unknown_staging")
def a_directory_beside_the_volume(house):
    """In the place of an undo's tree; the undo is discarded, what is not its own stays."""
    undo = house.undo()
    (tree,) = house.staging().glob("*/*")
    shutil.rmtree(tree)
    tree.mkdir()
    (tree / "somebody's").write_text("")
    house.cairn.ok("restore", "discard", undo, "--yes")
    yield
    house.cairn.restart()
    assert (tree / "somebody's").exists()
    shutil.rmtree(house.staging())


@case("leftover_import")
def an_import_cut_off(house):
    (house.cairn.data / "import" / "op_01arz3ndektsv4rrffq69g5fav").mkdir(parents=True)
    yield
    house.cairn.restart()


# -- the journal -----------------------------------------------------------------------


def start_locked(cairn, code):
    """The daemon beside a journal that it cannot recover from."""
    cairn.start(wait=False)
    wait_for(lambda: cairn.cli("system", "info").returncode == 0, 30, "the daemon")
    assert cairn.http("GET", "/readyz").status == 503
    assert cairn.fails("snapshot", "create", "web", code=4)["holder"] == "recovering"
    assert [one["code"] for one in cairn.fsck()["findings"]] == [code]


def told(cairn, kind):
    return [one for one in cairn.ok("events", "ls")["events"] if one["kind"] == kind]


@case("unfinished_journal")
def a_recovery_that_waits_for_a_person(house):
    cairn = house.cairn
    journal, _ = cut_restore(house)
    aside = house.place.rename(cairn.base / "aside")
    house.place.mkdir()  # neither the old tree nor the new one
    start_locked(cairn, "unfinished_journal")
    yield
    (waits,) = told(cairn, "recovery.waits")
    assert waits["operation"] == journal.name and "/data" in waits["message"], waits
    shown = cairn.cli("snapshot", "create", "web", json_output=False)
    assert shown.returncode == 4 and "cairn system fsck" in shown.stderr
    house.place.rmdir()
    aside.rename(house.place)
    wait_for(cairn.ready, 30, "the recovery")
    assert (house.place / "file").read_text() == "first"


@case("journal_damaged")
def a_journal_that_the_disk_lost(house):
    cairn = house.cairn
    house.use_docker_volume()
    fill(house.place, "first")
    journal, content = cut_restore(house)
    want = read_tree(house.place.parent)
    page = 4096  # of the first record; those behind it are whole
    journal.write_bytes(bytes(page) + content[page:])
    start_locked(cairn, "journal_damaged")
    yield
    cairn.stop()
    start_locked(cairn, "journal_damaged")
    events = told(cairn, "journal.damaged")
    assert len(events) == 2 and {one["operation"] for one in events} == {journal.name}
    assert told(cairn, "recovery.waits") == []
    assert journal.read_bytes()[page:] == content[page:]
    assert diff_trees(want, house.place.parent) == [], "nothing is done about it"
    (staged,) = house.staging().iterdir()
    assert staged.name == journal.name
    (old,) = staged.iterdir()
    # The person wants the old data back.
    house.place.rename(cairn.base / "new")
    old.rename(house.place)
    staged.rmdir()
    journal.unlink()
    wait_for(cairn.ready, 30, "the lock to go")
    wait_for(lambda: running(cairn), 30, "the workload's container")
    cairn.ok("workload", "deploy", "web", "--force")
    snapshot(cairn)
    assert (house.place / "file").read_text() == "second"
    assert [one["code"] for one in cairn.fsck()["findings"]] == ["leftover_holder"]
    cairn.restart()


@pytest.mark.parametrize("code", CASES)
def test_a_finding_is_told_alone_and_ended_by_what_the_guide_says(house, code):
    steps = CASES[code](house)
    next(steps)
    found = house.cairn.fsck().get("findings", [])
    assert {one["code"] for one in found} == {code}, found
    assert len(found) == 1 or code == "repository_damaged", found
    with pytest.raises(StopIteration):
        next(steps)
    house.cairn.assert_clean()


def test_a_damaged_journal_of_nobody_keeps_nobody_from_work(house):
    house.cairn.stop()
    journal = house.cairn.data / "journal" / "op_01arz3ndektsv4rrffq69g5fav"
    journal.mkdir()  # not even a file
    house.cairn.start()
    snapshot(house.cairn)
    assert [one["code"] for one in house.cairn.fsck()["findings"]] == ["journal_damaged"]
    journal.rmdir()


def test_the_guide_names_what_can_be_found_and_nothing_else():
    guide = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", guide[guide.index("| finding |"):].split("\n\n")[0], re.M)
    named = re.findall(r"`([a-z_]+)`", " ".join(rows))
    found = set()
    for source in ("catalog/catalog.cc", "volume/fsck.cc", "workload/check.cc"):
        found |= set(re.findall(r'(?:\badd\(|push_back\(\{)"([a-z_]+)",', (ROOT / "src" / source).read_text()))
    assert len(named) == len(set(named)) and set(named) == found == set(CASES)
