"""Chosen volumes of a snapshot: those are restored by every rule, the others are not looked at."""

import ctypes
import os
import subprocess

import pytest

from lib.jobs import deploy, fill, place, reasons, restore, running, settle, snapshot, workload
from lib.trees import diff_trees, read_tree

TWO = [{"source": "data", "target": "/data", "scope": "project"},
       {"source": "more", "target": "/more", "scope": "project"}]


class FileHandle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]


def handle_of(path):
    """The kernel's file handle: it has the inode's generation, so a reused inode is another one."""
    handle, mount = FileHandle(size=128), ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0)
    assert failed == 0, os.strerror(ctypes.get_errno())
    return handle.type, bytes(handle.bytes[:handle.size])


def look(root):
    """What must not change of a volume that is left alone: the very inodes, with all times."""
    seen = {}
    for directory, names, files in os.walk(root):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            seen[path] = (info.st_ino, info.st_ctime_ns, info.st_mtime_ns, info.st_size)
    return seen, handle_of(root), handle_of(root / "file"), read_tree(root)


class Pair:
    """A workload with /data and /more, both "first" in the snapshot and "second" now."""

    def __init__(self, cairn):
        self.cairn = cairn
        deploy(cairn, workload(volumes=TWO))
        self.data, self.more = place(cairn), place(cairn, target="/more")
        fill(self.data, "first")
        fill(self.more, "first")
        self.first = read_tree(self.data), read_tree(self.more)
        self.ident = snapshot(cairn)
        fill(self.data, "second")
        fill(self.more, "second")
        self.second = read_tree(self.data), read_tree(self.more)

    def check(self, data, more):
        assert diff_trees(data, self.data) == [] and diff_trees(more, self.more) == []


@pytest.fixture
def pair(cairn):
    return Pair(cairn)


def test_one_changes_and_the_other_is_untouched(cairn, pair):
    alone = look(pair.more)
    result = restore(cairn, pair.ident, "--only", "/data")
    assert result["status"] == "restored" and result["started"] and result["untouched"] == ["/more"]
    pair.check(pair.first[0], pair.second[1])
    assert look(pair.more) == alone and running(cairn)
    assert not (pair.more.parent / ".cairn").exists() or pair.more.parent == pair.data.parent
    settle(cairn, result)

    # What is stored and what the undo holds is the one volume.
    undo = cairn.ok("restore", "show", result["undo"])
    stored = cairn.ok("snapshot", "show", undo["pre_restore_snapshot"])
    assert [one["target"] for one in stored["volumes"]] == ["/data"]

    # Its undo exchanges only this one: what was written into the other meanwhile stays.
    (pair.more / "meanwhile").write_text("kept")
    alone = look(pair.more)
    undone = cairn.ok("restore", "undo", result["undo"], "--yes")
    assert undone["status"] == "undone" and undone["untouched"] == ["/more"]
    assert diff_trees(pair.second[0], pair.data) == [] and look(pair.more) == alone
    settle(cairn, undone)
    again = cairn.ok("restore", "undo", undone["undo"], "--yes")
    assert diff_trees(pair.first[0], pair.data) == [] and look(pair.more) == alone
    settle(cairn, again)


def test_the_plan_says_what_is_left_alone(cairn, pair):
    before = look(pair.data), look(pair.more)
    plan = cairn.ok("snapshot", "restore", "web", pair.ident, "--only", "/more", "--dry-run")
    assert [one["target"] for one in plan["volumes"]] == ["/more"] and plan["untouched"] == ["/data"]
    assert plan["volumes"][0]["index"] == 1 and plan["stops"]
    assert (look(pair.data), look(pair.more)) == before
    shown = cairn.cli("snapshot", "restore", "web", pair.ident, "--only", "/more", "--dry-run", json_output=False)
    assert "left alone: /data" in shown.stdout
    refused = cairn.cli("snapshot", "restore", "web", pair.ident, "--only", "/more", json_output=False, input="no\n")
    assert refused.returncode == 1 and "left alone: /data" in refused.stdout + refused.stderr


def test_the_second_volume_alone_and_both_by_name(cairn, pair):
    alone = look(pair.data)
    result = restore(cairn, pair.ident, "--only", "/more")
    assert result["untouched"] == ["/data"] and look(pair.data) == alone
    pair.check(pair.second[0], pair.first[1])
    settle(cairn, result)
    result = restore(cairn, pair.ident, "--only", "/more", "--only", "/data", "--only", "/more")
    assert result["untouched"] == []
    pair.check(*pair.first)
    settle(cairn, result)


def test_an_unknown_target_is_refused_with_those_there_are(cairn, pair):
    before = look(pair.data), look(pair.more)
    problem = cairn.fails("snapshot", "restore", "web", pair.ident, "--only", "/none", "--only", "/data", "--yes")
    assert problem["code"] == "refused" and reasons(problem) == {"not_in_snapshot"}
    only, = problem["reasons"]
    assert only["target"] == "/none" and "/data, /more" in only["detail"]
    dry = cairn.fails("snapshot", "restore", "web", pair.ident, "--only", "/none", "--dry-run")
    assert dry["reasons"] == [only]
    assert (look(pair.data), look(pair.more)) == before and running(cairn)


def test_one_left_out_is_no_obstacle(cairn, pair):
    """A volume that could not be restored now, or is not declared any more, only counts where it is chosen."""
    (pair.more / "mnt").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "cairn-test", pair.more / "mnt"], check=True)
    try:
        problem = cairn.fails("snapshot", "restore", "web", pair.ident, "--yes")
        assert "mount_beneath" in reasons(problem)
        settle(cairn, restore(cairn, pair.ident, "--only", "/data"))
        assert diff_trees(pair.first[0], pair.data) == []
    finally:
        subprocess.run(["umount", pair.more / "mnt"], check=True)
    deploy(cairn, workload(volumes=TWO[:1]))
    assert "not_declared" in reasons(cairn.fails("snapshot", "restore", "web", pair.ident, "--yes"))
    fill(pair.data, "third")
    result = restore(cairn, pair.ident, "--only", "/data")
    assert result["untouched"] == ["/more"] and diff_trees(pair.first[0], pair.data) == []
    settle(cairn, result)


def test_bodies(cairn, pair):
    path = f"/api/workloads/web/snapshots/{pair.ident}/restore"
    confirm = {"X-Confirm-Restore": pair.ident}
    for wrong in ([], "x", [1], {"a": 1}, None, ["/data"] * 65):
        answer = cairn.http("POST", path, headers=confirm, body={"only": wrong})
        assert answer.status == 400 and answer.json()["code"] == "invalid", wrong
        assert {one["target"] for one in answer.json()["reasons"]} == {"only"}, wrong
    pair.check(*pair.second)
    answer = cairn.http("POST", path, headers=confirm, body={"only": ["/data"]})
    assert answer.status == 200 and answer.json()["untouched"] == ["/more"]
    cairn.wait_operation(answer.json()["storing"])
    undo = answer.json()["undo"]
    answer = cairn.http("POST", f"/api/undos/{undo}/undo", headers={"X-Confirm-Restore": undo}, body={"only": ["/data"]})
    assert answer.status == 400 and answer.json()["reasons"][0]["code"] == "unknown_field"
    pair.check(pair.first[0], pair.second[1])
