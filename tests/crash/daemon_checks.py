"""What must hold when a daemon has recovered, whatever happened before: docs/ordering.md in asserts.

Everything is asked of the engine, the disk and the catalog's file; of the daemon only what it alone
can tell (fsck, verify).
"""

import json
import os
from pathlib import Path

from daemon_world import journal_records
from lib.trees import diff_trees, read_tree

# What recovery makes of a restore or undo that it finds in a state. COMMITTED: new, or old where the
# workload does not get healthy.
BACK = {"PLANNED", "STAGED", "QUIESCED", "EXCHANGING", "UNDOING", "UNDONE"}
FORWARD = {"HEALTHY", "KEPT", "STORING"}


def live_mark(world, marks):
    """Which of the known states the volumes are in: all in the same one, byte for byte."""
    found = world.read()
    differences = {mark: [diff_trees(known, now) for known, now in zip(world.trees[mark], found)]
                   for mark in marks}
    for mark, each in differences.items():
        if not any(each):
            return mark
    raise AssertionError(f"the volumes are in none of these states: {json.dumps(differences)}")


def check_fsck(world):
    found = world.get("/api/system/fsck")
    assert found.get("status") == "clean", f"fsck: {json.dumps(found)}"


def check_containers(world, workload_id, looping=False, views=True):
    """Desired state, views of the live trees, nothing paused, policies as Cairn sets them. A container
    that crashes and is started again counts as running."""
    rows = world.catalog("SELECT desired FROM workloads WHERE id = ?", workload_id)
    containers = world.containers(workload_id)
    if not rows:
        assert not containers, f"the workload is gone, its containers are not: {containers}"
        return
    released = world.catalog("SELECT id FROM releases WHERE workload_id = ? AND state = 'running'", workload_id)
    running = []
    for one in containers:
        assert not one["State"]["Paused"], f"{one['Name']} is paused"
        policy = one["HostConfig"]["RestartPolicy"]["Name"]
        assert policy == "unless-stopped", f"{one['Name']} has restart policy {policy}"
        if one["State"]["Running"] or looping:
            running.append(one)
        if one["State"]["Running"] and views and not looping:
            check_view(one)
    if rows[0]["desired"] == "running" and released:
        assert len(running) == 1, f"should run and has {len(running)} running containers"
        assert len(containers) == 1, f"{len(containers)} containers"
    else:
        assert not running, "runs and should not"


def check_view(container):
    """The container's mounts are the trees that lie at their places now."""
    pid = container["State"]["Pid"]
    for mount in container["Mounts"]:
        if mount["Type"] not in ("bind", "volume"):
            continue
        inside = os.stat(f"/proc/{pid}/root{mount['Destination']}")
        live = os.stat(mount["Source"])
        assert (inside.st_dev, inside.st_ino) == (live.st_dev, live.st_ino), \
            f"{container['Name']} does not see the live tree at {mount['Destination']}"


def check_snapshots(world, expected):
    """Every row is stored and reads back; those that must be there are."""
    rows = {row["id"]: row for row in world.catalog("SELECT * FROM snapshots")}
    missing = set(expected) - rows.keys()
    assert not missing, f"snapshots are gone: {missing}"
    for ident, row in rows.items():
        assert row["state"] == "stored", f"snapshot {ident} is {row['state']}"
        assert json.loads(row["volumes_json"]), f"snapshot {ident} names no volume, so nothing can be restored from it"
        answer = world.cairn.http("POST", f"/api/workloads/{row['workload_id']}/snapshots/{ident}/verify", body={})
        if answer.status == 404 and not world.catalog("SELECT id FROM workloads WHERE id = ?", row["workload_id"]):
            continue  # its workload was removed; fsck held it against the repository
        assert answer.status == 200, f"verify {ident}: {answer}"


def live_undos(world):
    return world.catalog("SELECT * FROM undos WHERE state IN ('available', 'applying')")


def check_undos(world, old_mark=None):
    """Staged trees are those of live undos, whole, and nothing else; none is half applied."""
    named, undos = set(), live_undos(world)
    for undo in undos:
        assert undo["state"] == "available", f"undo {undo['id']} is {undo['state']}"
        for pair in json.loads(undo["volumes_json"]):
            place = Path(pair["base"]) / pair["relative"]
            # In a root that is a mount point, whose entries were moved, else beside the root.
            staging = (place if "new_tree" in pair else place.parent) / ".cairn" / pair["staged_in"]
            named.add(str(staging))
            tree = staging / pair["staged_name"]
            assert tree.is_dir(), f"the tree of undo {undo['id']} is not at {tree}"
            if old_mark is not None:
                known = world.trees[old_mark][[str(p) for p in world.places].index(str(place))]
                found = diff_trees(known, read_tree(tree))
                assert not found, f"the tree of undo {undo['id']} changed: {found}"
    left = set(world.staged()) - named
    assert not left, f"staging that no undo names: {left}"
    return undos


def check_journals(world):
    assert not world.journals(), f"journals are left: {world.journals()}"


def is_exchange(call):
    """Of a staged and a live tree; the trial before it stays below .cairn."""
    return call["call"] == "renameat2" and call["result"] == 0 and \
        any("/.cairn/" not in path for path in call["paths"])


def check_order(calls):
    """Both directories of an exchange are synced before the journal says anything new: no real file
    system loses the one without the other, and POSIX allows it."""
    waiting = set()
    for call in calls:
        if is_exchange(call):
            waiting |= {os.path.dirname(path) for path in call["paths"]}
        elif call["call"] == "fsync" and call["result"] == 0:
            waiting -= set(call["paths"])
        elif call["call"] == "fsync" and call.get("injected", "none") != "none":
            waiting.clear()  # a sync that fails leads back, over exchanges that are looked at in turn
        elif call["kind"] == "data" and any("/journal/" in path for path in call["paths"]):
            if call.get("injected", "").startswith("kill"):
                return
            assert not waiting, f"the journal goes on before these are synced: {waiting}"


def check_policies_first(calls):
    """No container is stopped whose restart policy was not changed before."""
    changed = set()
    for call in calls:
        parts = call["path"].split("/")
        if parts[-1] == "update":
            changed.add(parts[-2])
        elif parts[-1] == "stop":
            assert parts[-2] in changed, f"{parts[-2]} was stopped with its restart policy on"


class Wreck:
    """What a dead daemon left, looked at before the next one starts."""

    def __init__(self, world):
        self.journals = {}
        for name in world.journals():
            try:
                self.journals[name] = journal_records(world.data / "journal" / name)
            except FileNotFoundError:
                continue
        self.last_event = 0
        if (world.data / "catalog.db").exists():
            self.last_event = world.catalog("SELECT coalesce(max(id), 0) AS id FROM events")[0]["id"]

    def state_of(self, kind):
        """The state of the one journal of that kind ("restore", "undo"), "" without one."""
        for records in self.journals.values():
            if records and records[0][0] == "PLANNED" and json.loads(records[0][1])["kind"] == kind:
                return records[-1][0]
        return ""

    def check_told(self, world):
        """An event says what recovery did with each journal that named work."""
        for name, records in self.journals.items():
            if not records or records[-1][0] == "STORING":
                continue
            told = world.catalog("SELECT kind FROM events WHERE id > ? AND operation_id = ?", self.last_event, name)
            kinds = {row["kind"] for row in told}
            assert any(kind.endswith(".recovered") for kind in kinds), \
                f"no event tells what recovery did with {name} in {records[-1][0]}: {kinds}"
