"""What is done to a volume after the last pass has read it and before the cut: each must be in the capture. So it
must where there was no pass, and the cut is held against the capture before.

The engine's answer to the pause is held back, so what a test does in between comes after the last pass for certain.
The clock that steps is a unit test (capture_session_test: ReadsEverythingAgainAfterTheClockWasSet).
"""

import ctypes
import json
import mmap
import os
import subprocess
import threading
import time

import pytest

from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, reasons, restore, running, settle, snapshot, workload
from lib.loopfs import LoopFs, subvolume_create, subvolume_delete, subvolume_snapshot
from lib.trees import diff_trees, read_tree

RENAME_EXCHANGE = 2
PAGE = 4096
OPTIONS = ()  # of the capture
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, two):
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(two), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def disk(request, cairn):
    with LoopFs(request.param) as made:
        cairn.ok("system", "settings", "set", "base_volume_path", made.path)
        yield made
        cairn.ok("workload", "rm", "web", "--yes")
        for undo in cairn.ok("restore", "ls")["undos"]:
            if undo["state"] == "available":
                cairn.ok("restore", "discard", undo["id"], "--yes")


@pytest.fixture(autouse=True, params=[(), ("--pre", "true")], ids=["at_once", "after_a_pass"])
def way(request, monkeypatch):
    """With a command before the hold no capture is cut at once."""
    monkeypatch.setattr(f"{__name__}.OPTIONS", request.param)


def volume(cairn):
    deploy(cairn, workload())
    return place(cairn)


def in_the_hold(cairn, fake, meddle) -> dict:
    """Begins a capture and calls meddle() between its last pass and its cut: what the command line printed."""
    container = running(cairn)[0]["container_id"]
    fake.fault("stall_after", "POST", "/pause$")
    asked = cairn.popen("snapshot", "create", "web", "--json", *OPTIONS)
    wait_for(lambda: fake.client.state(container)["Paused"], 30, "the pause", pause=0.001)
    try:
        meddle()
    finally:
        fake.clear_faults()
        out, _ = asked.communicate(timeout=120)
    assert fake.client.state(container)["Running"] and not fake.client.state(container)["Paused"]
    return json.loads(out)


def check_holds(cairn, data, made, want):
    """The snapshot is `want`, whatever the volume is now, and the next one is what it is then."""
    (data / "later").write_text("after the cut")
    settle(cairn, restore(cairn, made["id"]))
    assert diff_trees(want, data) == []
    settle(cairn, restore(cairn, snapshot(cairn)))
    assert diff_trees(want, data) == []


def captured(cairn, fake, data, meddle):
    """Captures twice, so that everything is known, and does something before the second cut."""
    snapshot(cairn)
    want = {}

    def do():
        meddle()
        want.update(read_tree(data))

    made = in_the_hold(cairn, fake, do)
    assert made.get("state") == "stored", made
    check_holds(cairn, data, made, want)
    return made


def test_directories_swapped_by_rename(cairn, fake, disk):
    data = volume(cairn)
    for side in ("left", "right"):
        (data / side / "in").mkdir(parents=True)
        (data / side / "in" / "file").write_text(f"of {side}")
        os.utime(data / side / "in" / "file", ns=(0, 0))
        os.utime(data / side / "in", ns=(0, 0))

    def swap():
        exchange(data / "left", data / "right")
        exchange(data / "left" / "in", data / "right" / "in")
        os.rename(data / "left", data / "third")
        os.rename(data / "right", data / "left")
        os.rename(data / "third", data / "right")

    captured(cairn, fake, data, swap)
    assert (data / "left" / "in" / "file").read_text() == "of right"


def test_a_directory_swapped_with_a_file(cairn, fake, disk):
    data = volume(cairn)
    (data / "one").mkdir()
    (data / "one" / "inside").write_text("inside")
    (data / "two").write_text("two")
    captured(cairn, fake, data, lambda: exchange(data / "one", data / "two"))
    assert (data / "two" / "inside").read_text() == "inside" and (data / "one").read_text() == "two"


def test_stores_to_a_mapping(cairn, fake, disk):
    """The page is dirty when the last pass reads it: the stores after that change no time of the file."""
    data = volume(cairn)
    (data / "mapped").write_bytes(b"0" * PAGE)
    with open(data / "mapped", "r+b") as file:
        mapping = mmap.mmap(file.fileno(), PAGE)
    snapshot(cairn)
    stop = threading.Event()

    def keep_it_dirty():
        count = 0
        while not stop.is_set():  # without a pause: the next store after a sync must come before the pass reads
            count += 1
            mapping[0:8] = count.to_bytes(8, "little")

    writer = threading.Thread(target=keep_it_dirty)
    writer.start()

    def store():
        stop.set()
        writer.join()
        mapping[0:8] = b"-last---"

    try:
        captured(cairn, fake, data, store)
    finally:
        stop.set()
        mapping.close()
    assert (data / "mapped").read_bytes()[:8] == b"-last---"


def test_a_file_deleted_and_its_inode_reused(cairn, fake, disk):
    data = volume(cairn)
    (data / "file").write_bytes(b"old" * 1000)
    os.utime(data / "file", ns=(1, 1))
    number = os.stat(data / "file").st_ino
    made = []

    def got_the_number():
        made.append(data / f"candidate-{len(made)}")
        made[-1].write_bytes(b"new" * 1000)
        return os.stat(made[-1]).st_ino == number

    def replace():
        (data / "file").unlink()
        if disk.kind == "btrfs":  # which gives no number twice
            got_the_number()
        else:  # xfs frees them a moment later
            wait_for(got_the_number, 20, "the inode's number in another file", pause=0.002)
        os.rename(made[-1], data / "file")
        os.utime(data / "file", ns=(1, 1))
        for other in made[:-1]:
            other.unlink()

    captured(cairn, fake, data, replace)
    assert (data / "file").read_bytes() == b"new" * 1000


def test_a_hard_link_moved_between_directories(cairn, fake, disk):
    data = volume(cairn)
    for name in ("a", "b", "c"):
        (data / name).mkdir()
    (data / "a" / "one").write_text("shared")
    os.link(data / "a" / "one", data / "b" / "two")
    os.link(data / "a" / "one", data / "three")

    def move():
        os.rename(data / "b" / "two", data / "c" / "two")
        os.rename(data / "three", data / "b" / "three")
        os.link(data / "b" / "three", data / "four")

    captured(cairn, fake, data, move)
    assert os.stat(data / "c" / "two").st_nlink == 4
    assert len({os.stat(data / one).st_ino for one in ("a/one", "c/two", "b/three", "four")}) == 1


def test_a_full_disk_while_changes_are_put_aside(cairn, fake):
    """The cut fails with the reason, the workload goes on, nothing is left, and the next capture is whole."""
    with LoopFs("ext4", 64 << 20) as disk:
        cairn.ok("system", "settings", "set", "base_volume_path", disk.path)
        data = volume(cairn)
        fill(data, "first")
        (data / "large").write_bytes(os.urandom(8 << 20))
        snapshot(cairn)
        ballast = disk.path / "ballast"

        def change_and_fill():
            (data / "large").write_bytes(os.urandom(8 << 20))
            os.sync()
            with open(ballast, "wb") as file:
                with pytest.raises(OSError):
                    while True:
                        file.write(bytes(1 << 20))
                        file.flush()

        free_before = os.statvfs(disk.path).f_bfree
        problem = in_the_hold(cairn, fake, change_and_fill)
        assert problem["status"] == 507, problem
        assert len(cairn.ok("snapshot", "ls", "web")["snapshots"]) == 1
        assert sorted(one.name for one in data.iterdir()) == ["deep", "empty", "file", "hard", "large", "link"]
        ballast.unlink()
        os.sync()
        assert os.statvfs(disk.path).f_bfree >= free_before - 16, "the space of what was put aside is free again"
        want = read_tree(data)
        made = cairn.ok("snapshot", "create", "web")
        check_holds(cairn, data, made, want)
        cairn.ok("workload", "rm", "web", "--yes")
        for undo in cairn.ok("restore", "ls")["undos"]:
            if undo["state"] == "available":
                cairn.ok("restore", "discard", undo["id"], "--yes")


def test_no_room_for_what_changes_is_told_before_the_hold(cairn, fake):
    """Every pass finds more to read than is free beside the volume, on a file system that cannot share blocks."""
    with LoopFs("ext4", 256 << 20) as disk:
        cairn.ok("system", "settings", "set", "base_volume_path", disk.path)
        data = volume(cairn)
        large = data / "large"
        large.write_bytes(os.urandom(64 << 20))
        free = os.statvfs(disk.path)
        with open(disk.path / "ballast", "wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - (24 << 20))
        stop = threading.Event()

        def write():
            page = os.urandom(PAGE)
            with open(large, "r+b") as file:
                while not stop.wait(0.001):
                    os.pwrite(file.fileno(), page, 0)

        writer = threading.Thread(target=write)
        writer.start()
        calls = len(fake.calls())
        try:
            problem = cairn.fails("snapshot", "create", "web")
        finally:
            stop.set()
            writer.join()
        assert problem["status"] == 507 and reasons(problem) == {"no_space"}, problem
        assert not [one for one in fake.calls()[calls:] if "/pause" in one["path"]], "it was held"
        assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []
        cairn.ok("snapshot", "create", "web")
        cairn.ok("workload", "rm", "web", "--yes")


def test_a_subvolume_nested_in_a_volume(cairn, fake):
    """Captured with what is in it, as a directory; inodes of equal numbers are no hard links of each other."""
    with LoopFs("btrfs") as disk:
        cairn.ok("system", "settings", "set", "base_volume_path", disk.path)
        data = volume(cairn)
        subvolume_create(data / "one")
        subvolume_create(data / "two")
        for side in ("one", "two"):
            (data / side / "file").write_text(side)
            os.link(data / side / "file", data / side / "hard")
        assert os.stat(data / "one" / "file").st_ino == os.stat(data / "two" / "file").st_ino
        want = read_tree(data)
        snapshot(cairn)

        def change():
            (data / "one" / "file").write_text("changed")
            exchange(data / "one", data / "two")
            want.clear()
            want.update(read_tree(data))

        made = in_the_hold(cairn, fake, change)
        result = restore(cairn, made["id"])
        settle(cairn, result)
        assert diff_trees(want, data) == []
        undone = cairn.ok("restore", "undo", result["undo"], "--yes")
        settle(cairn, undone)
        assert diff_trees(want, data) == [] and os.stat(data / "one").st_ino == 256
        cairn.ok("restore", "discard", undone["undo"], "--yes")

        # What is replaced goes with the subvolumes in it, read-only ones and nested ones too.
        subvolume_create(data / "one" / "inner")
        subprocess.run(["btrfs", "-q", "property", "set", "-ts", data / "two", "ro", "true"], check=True)
        result = restore(cairn, made["id"])
        settle(cairn, result)
        cairn.ok("restore", "discard", result["undo"], "--yes")
        assert not (data.parent / ".cairn").exists() and diff_trees(want, data) == []
        cairn.ok("workload", "rm", "web", "--yes")


def write_at_one_time(files: dict) -> None:
    """Writes texts of one length, so that stat() tells of all files the same."""
    opened = {os.open(path, os.O_WRONLY): text.encode() for path, text in files.items()}
    try:
        for _ in range(100):
            for _ in range(2):  # the kernel gives a finer time to the first write after a stat()
                time.sleep(0.02)
                for fd, text in opened.items():
                    os.pwrite(fd, text, 0)
            told = {(at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns) for at in map(os.fstat, opened)}
            if len(told) == 1:
                return
    finally:
        for fd in opened:
            os.close(fd)
    raise AssertionError("no two files were written within one tick of the clock")


@pytest.mark.parametrize("disk", ["btrfs"], indirect=True)
def test_a_subvolume_put_back_from_its_snapshot(cairn, fake, disk):
    """Nothing that stat() tells has changed then: inode numbers, sizes and times are those of the one before."""
    data = volume(cairn)
    subvolume_create(data / "one")
    (data / "one" / "file").write_text("first ")
    backup = disk.path / "backup"
    subvolume_snapshot(data / "one", backup)
    write_at_one_time({data / "one" / "file": "live  ", backup / "file": "backup"})

    def put_back():
        before = os.stat(data / "one")
        subvolume_delete(data / "one")
        subvolume_snapshot(backup, data / "one")
        after = os.stat(data / "one")
        assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
            before.st_ino, before.st_mtime_ns, before.st_ctime_ns)

    captured(cairn, fake, data, put_back)
    assert (data / "one" / "file").read_text() == "backup"
