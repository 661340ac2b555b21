"""Restore and undo: what comes back, what is refused, and that nothing is lost on the way."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import threading

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.engines import make_small_image
from lib.jobs import UNFREEZABLE, deploy, fill, place, reasons, restore, running, set_base, settle, snapshot, workload
from lib.loopfs import LoopFs, subvolume_create
from lib.process import dying_with_us
from lib.trees import diff_trees, read_tree


def copy_of(tree, base):
    """A copy with everything, to compare with later."""
    copy = base / f"copy-{len(list(base.glob('copy-*')))}"
    subprocess.run(["cp", "-a", "--", tree, copy], check=True)
    return copy


def test_restore_brings_everything_back_and_undo_takes_it_away(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    first = copy_of(data, cairn.base)
    ident = snapshot(cairn)

    shutil.rmtree(data / "deep")
    (data / "file").write_text("second")
    (data / "new").write_text("only in the second state")
    second = copy_of(data, cairn.base)

    result = restore(cairn, ident)
    assert result["status"] == "restored" and result["started"] is True
    assert diff_trees(first, data) == []
    assert running(cairn)

    settle(cairn, result)
    undone = cairn.ok("restore", "undo", result["undo"], "--yes")
    assert undone["status"] == "undone" and undone["undo"] != result["undo"]
    assert diff_trees(second, data) == []

    # The undo of the undo is the snapshot's state again.
    settle(cairn, undone)
    again = cairn.ok("restore", "undo", undone["undo"], "--yes")
    assert diff_trees(first, data) == []
    settle(cairn, again)


def test_undo_right_after_the_restore_does_not_wait_for_storing(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    (data / "file").write_text("second")
    result = restore(cairn, ident)
    undone = cairn.ok("restore", "undo", result["undo"], "--yes")
    assert (data / "file").read_text() == "second"
    settle(cairn, undone)


def test_what_was_replaced_is_stored_and_can_be_restored(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    fill(data, "second")
    second = copy_of(data, cairn.base)
    result = restore(cairn, ident)
    settle(cairn, result)
    undo = cairn.ok("restore", "show", result["undo"])
    assert undo["pre_restore_snapshot"] and undo["expires_at"] and undo["volumes"] == ["/data"]
    settle(cairn, restore(cairn, undo["pre_restore_snapshot"]))
    assert diff_trees(second, data) == []


def test_a_stopped_workload_stays_stopped(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    cairn.ok("workload", "stop", "web")
    (data / "file").write_text("second")
    result = restore(cairn, ident)
    assert result["started"] is False
    assert (data / "file").read_text() == "first"
    assert not running(cairn)
    settle(cairn, result)


def test_dry_run_changes_nothing_and_shows_the_plan(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    (data / "file").write_text("second")
    before = read_tree(cairn.data / "volumes")
    plan = cairn.ok("snapshot", "restore", "web", ident, "--dry-run")
    assert [one["target"] for one in plan["volumes"]] == ["/data"]
    assert plan["status"] == "planned" and plan["stops"] and plan["will_start"]
    assert (data / "file").read_text() == "second"
    assert read_tree(cairn.data / "volumes").keys() == before.keys()


def test_a_mount_nested_in_a_volume_refuses(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    (data / "mnt").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "cairn-test", data / "mnt"], check=True)
    try:
        (data / "mnt" / "inside").write_text("not part of the volume")
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert "mount_beneath" in reasons(problem)
        assert (data / "mnt" / "inside").exists()
    finally:
        subprocess.run(["umount", data / "mnt"], check=True)


def test_the_same_place_in_two_workloads_refuses_while_the_other_runs(fake, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    volumes = [{"source": str(shared / "data"), "target": "/data", "scope": "absolute"}]
    with Cairnd(fake) as cairn:
        cairn.ok("system", "settings", "set", "allowed_volume_paths", str(shared))
        deploy(cairn, workload("one", volumes=volumes))
        fill(shared / "data", "first")
        ident = snapshot(cairn, "one")
        deploy(cairn, workload("two", volumes=volumes))
        (shared / "data" / "file").write_text("second")
        problem = cairn.fails("snapshot", "restore", "one", ident, "--yes")
        assert "mounted_by_others" in reasons(problem)
        assert "cairn-two" in json.dumps(problem)
        assert (shared / "data" / "file").read_text() == "second"
        cairn.ok("workload", "stop", "two")
        settle(cairn, restore(cairn, ident, name="one"))
        assert (shared / "data" / "file").read_text() == "first"


def test_a_second_container_on_the_parent_directory_refuses_or_is_stopped_too(fake):
    with Cairnd(fake) as cairn:
        deploy(cairn, workload())
        data = place(cairn)
        fill(data, "first")
        ident = snapshot(cairn)
        (data / "file").write_text("second")
        other = fake.client.create("small:1", name="backup", HostConfig={
            "Binds": [f"{data.parent}:/all"], "RestartPolicy": {"Name": "unless-stopped"}})
        fake.client.start(other)
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert "mounted_by_others" in reasons(problem) and "--also-stop backup" in json.dumps(problem)
        assert (data / "file").read_text() == "second"

        result = restore(cairn, ident, "--also-stop", "backup")
        assert (data / "file").read_text() == "first"
        seen = fake.client.inspect(other)
        assert seen["State"]["Running"] and seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        settle(cairn, result)


def test_a_moved_tag_does_not_change_what_is_started(cairn, fake):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    before = cairn.ok("workload", "show", "web")["release"]["digest"]
    make_small_image(fake, "small:1", labels={"moved": "yes"})
    try:
        result = restore(cairn, ident)
        container = running(cairn)[0]["container_id"]
        assert fake.client.inspect(container)["Image"] in (before, cairn.ok("workload", "show", "web")["release"]["image_id"])
        assert "moved" not in fake.client.inspect(container)["Config"]["Labels"]
        settle(cairn, result)
    finally:
        make_small_image(fake, "small:1")


def test_a_config_changed_but_not_deployed_refuses(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    (data / "within").mkdir()
    ident = snapshot(cairn)
    before = read_tree(data)
    for source in ("other", "data/within"):
        cairn.apply(workload(volumes=[{"source": source, "target": "/data", "scope": "project"}]))
        for how in ("--yes", "--dry-run"):
            problem = cairn.fails("snapshot", "restore", "web", ident, how)
            assert reasons(problem) == {"pending_config"}
    assert read_tree(data) == before, "nothing is tried in another volume, which is the running one's here"
    cairn.apply(workload(volumes=[]))
    problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
    assert reasons(problem) == {"not_declared"}


def test_a_root_missing_on_disk_is_made(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    first = copy_of(data, cairn.base)
    ident = snapshot(cairn)
    cairn.ok("workload", "stop", "web")
    shutil.rmtree(data)
    result = restore(cairn, ident)
    assert diff_trees(first, data) == []
    settle(cairn, result)
    cairn.ok("workload", "start", "web")


def test_a_crash_looping_container_runs_on_the_restored_data(cairn):
    """A database that crash-loops on destroyed data is to be running: the desired state decides."""
    crashing = workload(command=["sh", "-c", "test -e /data/good || exit 3; exec app idle"], healthcheck="")
    cairn.apply(crashing)
    data_parent = cairn.ok("workload", "show", "web")["id"]
    root = cairn.data / "volumes" / data_parent / "data"
    root.mkdir(parents=True)
    (root / "good").write_text("yes")
    cairn.ok("workload", "deploy", "web")
    ident = snapshot(cairn)
    (root / "good").unlink()
    container = running(cairn)[0]["container_id"]
    subprocess.run(["kill", "-9", str(cairn.engine.client.inspect(container)["State"]["Pid"])], check=True)
    result = restore(cairn, ident)
    assert result["started"] is True and running(cairn)
    settle(cairn, result)


def test_an_unhealthy_restore_goes_back_by_itself(cairn):
    picky = workload(command=["sh", "-c", "test -e /data/bad && exit 4; exec app idle"], healthcheck="")
    deploy(cairn, picky)
    data = place(cairn)
    (data / "bad").write_text("a snapshot of what cannot run")
    ident = snapshot(cairn)
    (data / "bad").unlink()
    (data / "keep").write_text("kept")
    problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
    assert problem["status"] == 422 and problem["data"] == "old"
    assert sorted(os.listdir(data)) == ["keep"]
    assert running(cairn)


def test_an_unhealthy_restore_is_kept_when_asked(cairn):
    deploy(cairn, workload(command=["sh", "-c", "test -e /data/bad && exit 4; exec app idle"], healthcheck=""))
    data = place(cairn)
    (data / "bad").write_text("x")
    ident = snapshot(cairn)
    (data / "bad").unlink()
    problem = cairn.fails("snapshot", "restore", "web", ident, "--yes", "--on-failure", "keep")
    assert problem["status"] == 422 and problem["data"] == "new"
    assert (data / "bad").exists()
    undos = cairn.ok("restore", "ls")["undos"]
    assert undos[0]["state"] == "available"
    settle(cairn, cairn.ok("restore", "undo", undos[0]["id"], "--yes"))
    assert not (data / "bad").exists() and running(cairn)


def test_two_restores_at_once_one_is_told_who_holds_the_lock(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    answers = []

    def one():
        answers.append(cairn.cli("snapshot", "restore", "web", ident, "--yes"))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(answer.returncode for answer in answers)
    assert codes[0] == 0 and set(codes) <= {0, 4}, [a.stdout for a in answers]
    for answer in answers:
        body = json.loads(answer.stdout)
        if answer.returncode == 4:
            assert body["holder"].startswith("op_")
        else:
            settle(cairn, body)
    waited = cairn.ok("snapshot", "restore", "web", ident, "--yes", "--wait")
    settle(cairn, waited)
    assert (data / "file").read_text() == "first"


def test_a_restore_and_a_deploy_at_once(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    answers = {}

    def run(key, *arguments):
        answers[key] = cairn.cli(*arguments)

    threads = [threading.Thread(target=run, args=("restore", "snapshot", "restore", "web", ident, "--yes", "--wait")),
               threading.Thread(target=run, args=("deploy", "workload", "deploy", "web", "--force", "--wait"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers["restore"].returncode == 0, answers["restore"].stdout
    assert answers["deploy"].returncode == 0, answers["deploy"].stdout
    settle(cairn, json.loads(answers["restore"].stdout))
    assert len(running(cairn)) == 1
    assert (place(cairn) / "file").read_text() == "first"


def test_an_undo_of_older_data_is_refused(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    one = restore(cairn, ident)
    settle(cairn, one)
    two = restore(cairn, ident)
    settle(cairn, two)
    problem = cairn.fails("restore", "undo", one["undo"], "--yes")
    assert problem["status"] == 409 and "newest" in problem["detail"]


def test_discard_removes_the_old_trees(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    result = restore(cairn, ident)
    settle(cairn, result)
    assert (data.parent / ".cairn").exists()
    cairn.ok("restore", "discard", result["undo"], "--yes")
    assert not (data.parent / ".cairn").exists()
    cairn.fails("restore", "undo", result["undo"], "--yes")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_on_other_file_systems(fake, kind):
    with LoopFs(kind, 1 << 30) as disk, Cairnd(fake, config=set_base(disk.path / "volumes")) as cairn:
        deploy(cairn, workload())
        data = place(cairn)
        assert str(data).startswith(str(disk.path))
        fill(data, "first")
        first = copy_of(data, cairn.base)
        ident = snapshot(cairn)
        fill(data, "second")
        result = restore(cairn, ident)
        assert diff_trees(first, data) == []
        undone = cairn.ok("restore", "undo", result["undo"], "--yes")
        assert (data / "file").read_text() == "second"
        settle(cairn, undone)
        cairn.ok("workload", "rm", "web", "--yes")


@pytest.mark.parametrize("whole", [False, True], ids=["beneath", "whole"])
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_disk_that_comes_back_by_another_device_number(fake, kind, whole):
    """Trees are known by the UUID of their file system: device numbers change with a boot. The volume is a
    directory of the disk or the whole of it, which is exchanged entry by entry."""
    with LoopFs(kind, 1 << 30) as disk, Cairnd(fake) as cairn:
        data = disk.path if whole else disk.path / "data"
        data.mkdir(exist_ok=True)
        cairn.ok("system", "settings", "set", "allowed_volume_paths", str(disk.path))
        deploy(cairn, workload(volumes=[{"source": str(data), "target": "/data", "scope": "absolute"}]))
        fill(data, "first")
        ident = snapshot(cairn)
        fill(data, "second")
        second = contents(data)
        result = restore(cairn, ident)
        settle(cairn, result)
        before = os.stat(data).st_dev
        with sqlite3.connect(f"file:{cairn.data}/catalog.db?mode=ro", uri=True) as catalog:
            (trees,) = catalog.execute("SELECT volumes_json FROM undos").fetchone()
        assert f'"{disk.uuid()}:' in trees and '"fsid' not in trees
        cairn.ok("workload", "stop", "web")
        cairn.stop()
        disk.move()
        cairn.start()
        assert kind == "btrfs" or os.stat(data).st_dev != before  # btrfs numbers its own
        cairn.ok("workload", "start", "web")
        cairn.assert_clean()
        settle(cairn, cairn.ok("restore", "undo", result["undo"], "--yes"))
        assert diff_trees(second, contents(data)) == []
        cairn.ok("workload", "rm", "web", "--yes")


def test_a_volume_on_a_btrfs_subvolume(fake):
    with LoopFs("btrfs", 1 << 30) as disk, Cairnd(fake) as cairn:
        root = disk.path / "data"
        subvolume_create(root)
        cairn.ok("system", "settings", "set", "allowed_volume_paths", str(disk.path))
        deploy(cairn, workload(volumes=[{"source": str(root), "target": "/data", "scope": "absolute"}]))
        fill(root, "first")
        first = copy_of(root, cairn.base)
        ident = snapshot(cairn)
        fill(root, "second")
        result = restore(cairn, ident)
        assert diff_trees(first, root) == []
        assert os.stat(root).st_ino == 256  # a subvolume again
        settle(cairn, result)
        cairn.ok("restore", "discard", result["undo"], "--yes")
        cairn.ok("workload", "rm", "web", "--yes")


@contextlib.contextmanager
def service_with_private_mounts():
    """A process with a copy of the host's mounts, as any systemd service with PrivateTmp= has one."""
    with subprocess.Popen(dying_with_us(["unshare", "--mount", "--propagation", "slave", "sleep", "600"])) as service:
        try:
            host = os.stat("/proc/self/ns/mnt").st_ino
            wait_for(lambda: os.stat(f"/proc/{service.pid}/ns/mnt").st_ino != host, 10, "the service's own mounts")
            yield
        finally:
            service.kill()


@contextlib.contextmanager
def mounted_volume(engine, kind):
    """A workload whose volume is the root of a file system of its own, which a service of the machine sees, too;
    the daemon, and that root."""
    with LoopFs(kind, 300 << 20) as disk, service_with_private_mounts(), Cairnd(engine) as cairn:
        cairn.ok("system", "settings", "set", "allowed_volume_paths", str(disk.path))
        deploy(cairn, workload(volumes=[{"source": str(disk.path), "target": "/data", "scope": "absolute"}]))
        yield cairn, disk.path
        cairn.ok("workload", "rm", "web", "--yes")


def contents(root):
    """Of a mounted root: without what stays there, and without the root's mtime, which .cairn changes."""
    entries = read_tree(root, skip=(".cairn", "lost+found"))
    entries[b"."].mtime_ns = 0
    return entries


@pytest.mark.parametrize("kind", ("ext4", "xfs", "btrfs"))
def test_a_volume_that_is_a_mount_point_is_restored_entry_by_entry(fake, kind):
    with mounted_volume(fake, kind) as (cairn, root):
        fill(root, "first")
        (root / "only-before").mkdir()
        first, written = contents(root), os.stat(root).st_mtime_ns
        ident = snapshot(cairn)
        mine = os.stat(root / "lost+found").st_ino if kind == "ext4" else 0
        fill(root, "second")
        (root / "only-before").rmdir()
        (root / "only-after").write_text("new")
        os.chmod(root, 0o711)
        second = contents(root)
        plan = cairn.ok("snapshot", "restore", "web", ident, "--dry-run")
        assert "mount point" in plan["warnings"][0] and plan["volumes"][0]["root_is_mount"] is True
        result = restore(cairn, ident)
        assert "one by one" in result["warnings"][0]
        assert os.stat(root).st_mtime_ns == written
        assert diff_trees(first, contents(root)) == []
        settle(cairn, result)
        (root / "since").write_text("written by the workload after the restore")
        (root / "file").unlink()
        undone = cairn.ok("restore", "undo", result["undo"], "--yes")
        assert diff_trees(second, contents(root)) == []
        settle(cairn, undone)
        again = restore(cairn, ident)
        assert diff_trees(first, contents(root)) == []
        settle(cairn, again)
        for undo in (undone["undo"], again["undo"]):
            cairn.ok("restore", "discard", undo, "--yes")
        assert not (root / ".cairn").exists() and diff_trees(first, contents(root)) == []
        if kind == "ext4":
            assert os.stat(root / "lost+found").st_ino == mine


def test_a_snapshot_of_a_mount_point_has_only_its_data(fake):
    with mounted_volume(fake, "ext4") as (cairn, root):
        fill(root, "first")
        ident = snapshot(cairn)
        result = restore(cairn, ident)  # leaves a .cairn there
        settle(cairn, result)
        again = cairn.ok("snapshot", "create", "web")
        assert again["volumes"][0]["files"] == len([one for one in root.rglob("*")
                                                    if one.parts[len(root.parts)] not in (".cairn", "lost+found")
                                                    and (one.is_symlink() or not one.is_dir())])


def test_an_unhealthy_restore_of_a_mount_point_goes_back(fake):
    with mounted_volume(fake, "ext4") as (cairn, root):
        fill(root, "first")
        ident = snapshot(cairn)
        fill(root, "second")
        (root / "well").write_text("")
        second = contents(root)
        cairn.apply(workload(volumes=[{"source": str(root), "target": "/data", "scope": "absolute"}],
                             healthcheck="exec:test -e /data/well"))
        cairn.ok("workload", "deploy", "web")
        cairn.ok("system", "settings", "set", "health_timeout_s", "1")
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert problem["data"] == "old" and diff_trees(second, contents(root)) == []


def test_a_mount_point_with_too_many_entries_refuses(fake):
    with mounted_volume(fake, "ext4") as (cairn, root):
        ident = snapshot(cairn)
        for number in range(1001):
            (root / str(number)).touch()
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert reasons(problem) == {"root_is_mount"} and "1000" in problem["detail"]


@pytest.mark.parametrize(("status", "left"), (
    (409, "task {}: already exists"),
    (500, "failed to start shim: mkdir /run/daemon/io.containerd.runtime.v2.task/moby/{}: file exists: unknown")))
@pytest.mark.parametrize("act", ("restore", "start"))
def test_a_container_that_the_engine_can_never_start_again_is_replaced(fake, cairn, act, status, left):
    """An engine that was killed in the middle of a start may keep a task of that container for ever."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    before = running(cairn)[0]
    if act == "start":
        cairn.ok("workload", "stop", "web")
    stuck = before["container_id"]
    fake.fault("status", method="POST", path=f"{stuck}/start$", status=status, times=0,
               message=left.format(stuck))
    if act == "restore":
        assert restore(cairn, ident)["started"] is True
    else:
        cairn.ok("workload", "start", "web")
    after = running(cairn)
    assert len(after) == 1 and after[0]["container_id"] != stuck
    assert [one["Id"] for one in fake.client.containers(label="cairn.workload.id")] == [after[0]["container_id"]]


def test_no_space_is_told_before_anything_is_stopped(fake):
    with LoopFs("ext4", 200 << 20) as disk, Cairnd(fake, config=set_base(disk.path / "volumes")) as cairn:
        deploy(cairn, workload())
        data = place(cairn)
        (data / "big").write_bytes(os.urandom(1 << 20) * 90)
        ident = snapshot(cairn)
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert problem["status"] == 507 and reasons(problem) <= {"no_space", "no_inodes"}
        assert (data / "big").stat().st_size == 90 << 20
        cairn.ok("workload", "rm", "web", "--yes")


def test_capture_has_one_instant_of_two_files(cairn):
    """The counter writes a, then b: in every capture b is a or one behind."""
    deploy(cairn, workload(image="counter"))
    data = place(cairn)
    for _ in range(5):
        ident = snapshot(cairn)
        cairn.ok("workload", "stop", "web")
        settle(cairn, restore(cairn, ident))
        a, b = int((data / "a").read_text()), int((data / "b").read_text())
        assert a - 1 <= b <= a, (a, b)
        cairn.ok("workload", "start", "web")


def test_nothing_to_capture_is_refused_with_the_skipped_volumes(cairn):
    deploy(cairn, workload(volumes=[{"target": "/tmp/x", "scope": "ephemeral"}]))
    problem = cairn.fails("snapshot", "create", "web")
    assert reasons(problem) == {"ephemeral"}


def test_the_pause_ends_when_the_daemon_is_killed(fake):
    """The watcher thaws without any restart of the daemon."""
    with Cairnd(fake) as cairn:
        deploy(cairn, workload(image="counter"))
        container = running(cairn)[0]["container_id"]
        fake.fault("stall_after", "POST", "/pause$")  # a pause is short: its answer is held back
        asked = cairn.popen("snapshot", "create", "web")
        wait_for(lambda: fake.client.inspect(container)["State"]["Paused"], 30, "the pause")
        cairn.kill()
        fake.clear_faults()
        wait_for(lambda: not fake.client.inspect(container)["State"]["Paused"], 30, "the watcher")
        asked.communicate()
        cairn.start()
        assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []


def paused_by_a_person(cairn, fake):
    """The second state is live; a snapshot of the first, and the container."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    fill(place(cairn), "second")
    container = running(cairn)[0]["container_id"]
    fake.client.post(f"/containers/{container}/pause")
    return ident, container


def test_what_a_person_paused_is_paused_again_although_the_disk_is_busy(cairn, fake):
    ident, container = paused_by_a_person(cairn, fake)
    before = len(fake.calls())
    fake.fault("status", "POST", "/pause$", message=UNFREEZABLE, times=2)
    settle(cairn, restore(cairn, ident))
    pauses = [call["status"] for call in fake.calls()[before:] if call["path"].endswith("/pause")]
    assert pauses == [500, 500, 204]
    assert fake.client.state(container)["Paused"]
    fake.client.post(f"/containers/{container}/unpause")


def test_a_pause_that_a_restore_cannot_put_back_is_told_and_owed(cairn, fake):
    ident, container = paused_by_a_person(cairn, fake)
    fake.fault("status", "POST", "/pause$", message=UNFREEZABLE, times=0)
    problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
    assert problem["status"] == 409 and problem["data"] == "new"
    assert "unable to freeze" in problem["detail"] and "the new data is live" in problem["detail"]
    fake.clear_faults()
    wait_for(lambda: fake.client.state(container)["Paused"], 30, "the pause that was owed")
    wait_for(lambda: not cairn.ok("workload", "show", "web").get("holder"), 30, "the end of the recovery")
    undo, = cairn.ok("restore", "ls", "web")["undos"]
    assert undo["state"] == "available"
    fake.client.post(f"/containers/{container}/unpause")
