"""What a snapshot holds, what it says it left out, and restores of several volumes and containers at once."""

import json
import os
import socket
import subprocess

import pytest

from lib.dockerapi import wait_for
from lib.engines import make_small_image
from lib.jobs import UNFREEZABLE, deploy, fill, place, reasons, restore, running, settle, snapshot, workload
from lib.trees import diff_trees, read_tree

TWO = [{"source": "one", "target": "/one", "scope": "stage"}, {"source": "two", "target": "/two", "scope": "project"}]


def test_several_volumes_are_numbered_by_target_and_exchanged_together(cairn):
    deploy(cairn, workload(volumes=[*reversed(TWO), {"target": "/scratch", "scope": "ephemeral"}]))
    one, two = place(cairn, target="/one"), place(cairn, target="/two")
    fill(one, "one first")
    fill(two, "two first")
    before = read_tree(one), read_tree(two)
    made = cairn.ok("snapshot", "create", "web")
    assert [(volume["index"], volume["target"]) for volume in made["volumes"]] == [(0, "/one"), (1, "/two")]
    assert [(skipped["target"], skipped["code"]) for skipped in made["skipped"]] == [("/scratch", "ephemeral")]
    assert made["skipped"][0]["reason"]
    (one / "file").write_text("one second")
    (two / "file").write_text("two second")
    after = read_tree(one), read_tree(two)
    result = restore(cairn, made["id"])
    assert (diff_trees(before[0], one), diff_trees(before[1], two)) == ([], [])
    undone = cairn.ok("restore", "undo", result["undo"], "--yes")
    assert (diff_trees(after[0], one), diff_trees(after[1], two)) == ([], [])
    settle(cairn, undone)


def test_a_volume_that_the_snapshot_lacks_is_left_alone(cairn):
    deploy(cairn, workload(volumes=TWO[:1]))
    fill(place(cairn, target="/one"), "first")
    ident = snapshot(cairn)
    deploy(cairn, workload(volumes=TWO))
    fill(place(cairn, target="/two"), "newer than the snapshot")
    result = restore(cairn, ident)
    assert result["untouched"] == ["/two"]
    assert (place(cairn, target="/two") / "file").read_text() == "newer than the snapshot"
    settle(cairn, result)


def test_all_or_nothing(cairn):
    """One volume that cannot be restored keeps all from being touched, and every reason is told at once."""
    deploy(cairn, workload(volumes=TWO))
    one, two = place(cairn, target="/one"), place(cairn, target="/two")
    fill(one, "first")
    fill(two, "first")
    ident = snapshot(cairn)
    (one / "file").write_text("second")
    for root in (one, two):
        (root / "mnt").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "cairn-test", root / "mnt"], check=True)
    try:
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert {one["target"] for one in problem["reasons"] if one["code"] == "mount_beneath"} == {"/one", "/two"}
        assert (one / "file").read_text() == "second" and running(cairn)
    finally:
        for root in (one, two):
            subprocess.run(["umount", root / "mnt"], check=True)


def test_two_instances_are_stopped_and_started_together(cairn):
    cairn.apply(workload(handover="overlap", max_instances=2))
    cairn.ok("workload", "deploy", "web")
    cairn.ok("workload", "deploy", "web", "--force")
    before = {one["container_id"] for one in running(cairn)}
    assert len(before) == 2
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    (data / "file").write_text("second")
    result = restore(cairn, ident)
    assert {one["container_id"] for one in running(cairn)} == before
    for container in before:
        code, out, _ = cairn.engine.client.exec(container, ["cat", "/data/file"])
        assert (code, out) == (0, b"first"), "each container sees the new tree"
    settle(cairn, result)


@pytest.mark.parametrize("consistency", ["paused", "stopped", "live"])
def test_consistency(cairn, fake, consistency):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    container = running(cairn)[0]["container_id"]
    since = len(fake.calls())
    made = cairn.ok("snapshot", "create", "web", "--consistency", consistency)
    assert made["consistency"] == consistency and (made["hold_ms"] > 0) is (consistency != "live")
    verbs = [call["path"].split("?")[0].rsplit("/", 1)[-1] for call in fake.calls()[since:] if call["method"] == "POST"]
    assert ("pause" in verbs) is (consistency == "paused") and ("stop" in verbs) is (consistency == "stopped")
    seen = fake.client.inspect(container)
    assert seen["State"]["Running"] and not seen["State"]["Paused"]
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_a_stopped_workload_is_captured_without_a_hold(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    cairn.ok("workload", "stop", "web")
    made = cairn.ok("snapshot", "create", "web")
    assert made["hold_ms"] == 0 and made["volumes"][0]["files"] >= 3 and not running(cairn)


def test_a_container_that_a_person_paused_stays_paused(cairn, fake):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    container = running(cairn)[0]["container_id"]
    fake.client.post(f"/containers/{container}/pause")
    ident = snapshot(cairn)
    assert fake.client.state(container)["Paused"]
    fake.client.post(f"/containers/{container}/unpause")
    settle(cairn, restore(cairn, ident))


def test_what_is_not_captured_is_listed(cairn, fake):
    """Sockets, mounts beneath a volume, VOLUMEs of the image that nobody declares."""
    make_small_image(fake, "withvolume:1", changes=['VOLUME ["/undeclared"]'])
    cairn.apply(workload(image="withvolume"))
    cairn.ok("workload", "deploy", "web", "--allow-anonymous", "/undeclared")
    data = place(cairn)
    fill(data, "first")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(data)  # socket paths are short
    try:
        listener.bind("sock")
    finally:
        os.chdir(here)
    (data / "mnt").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "cairn-test", data / "mnt"], check=True)
    try:
        (data / "mnt" / "inside").write_text("not of the volume")
        made = cairn.ok("snapshot", "create", "web")
    finally:
        subprocess.run(["umount", data / "mnt"], check=True)
        listener.close()
    left = {one["target"] for one in made["skipped"]}
    assert "/undeclared" in left and "/data/mnt" in left, made["skipped"]
    assert any("socket" in one for one in made["warnings"]), made["warnings"]
    (data / "mnt").rmdir()
    settle(cairn, restore(cairn, made["id"]))
    assert not (data / "sock").exists() and not (data / "mnt" / "inside").exists()


def test_nothing_there_yet(cairn):
    cairn.apply(workload())
    problem = cairn.fails("snapshot", "create", "web")
    assert problem["status"] == 400 and reasons(problem) == {"no_data"}
    assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []


def refused_mid_pause(cairn, fake, meddle) -> dict:
    """Takes a snapshot, and does something while the engine has not answered the pause; the problem."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    container = running(cairn)[0]["container_id"]
    fake.fault("stall_after", "POST", "/pause$")
    asked = cairn.popen("snapshot", "create", "web", "--json")
    wait_for(lambda: fake.client.state(container)["Paused"], 30, "the pause", pause=0.001)
    meddle(container)
    fake.clear_faults()
    out, _ = asked.communicate(timeout=120)
    assert asked.returncode == 1, out
    assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []
    seen = fake.client.state(container)
    assert seen["Running"] and not seen["Paused"]
    return json.loads(out)


def test_a_capture_longer_than_max_hold_is_thrown_away(cairn, fake):
    cairn.ok("system", "settings", "set", "max_hold_s", "1")

    def wait_for_the_end_of_the_hold(container):
        wait_for(lambda: not fake.client.state(container)["Paused"], 20, "the watcher", pause=0.001)

    problem = refused_mid_pause(cairn, fake, wait_for_the_end_of_the_hold)
    assert problem["status"] == 409 and "max_hold" in problem["detail"]


def test_a_pause_that_the_engine_makes_after_max_hold_is_ended(cairn, fake):
    """The watcher's time is over before there is anything to thaw."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    container = running(cairn)[0]["container_id"]
    fake.fault("delay", "POST", "/pause$", seconds=2)
    problem = cairn.fails("snapshot", "create", "web", "--max-hold", "1s")
    assert problem["status"] == 409 and "max_hold" in problem["detail"]
    seen = fake.client.state(container)
    assert seen["Running"] and not seen["Paused"]
    assert cairn.ok("system", "fsck")["status"] == "clean"


def test_a_pause_is_tried_again_while_processes_wait_for_the_disk(cairn, fake):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    before = len(fake.calls())
    fake.fault("status", "POST", "/pause$", message=UNFREEZABLE, times=2)
    assert cairn.ok("snapshot", "create", "web")["state"] == "stored"
    pauses = [call["status"] for call in fake.calls()[before:] if call["path"].endswith("/pause")]
    assert pauses == [500, 500, 204]


def test_a_workload_that_cannot_be_frozen_is_told_and_runs_on(cairn, fake):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    container = running(cairn)[0]["container_id"]
    fake.fault("status", "POST", "/pause$", message=UNFREEZABLE, times=0)
    problem = cairn.fails("snapshot", "create", "web", "--post", "touch /data/post")
    assert problem["status"] == 409
    assert "unable to freeze" in problem["detail"] and "--consistency stopped" in problem["detail"]
    assert (place(cairn) / "post").exists()
    seen = fake.client.state(container)
    assert seen["Running"] and not seen["Paused"]
    assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []
    assert cairn.ok("snapshot", "create", "web", "--consistency", "stopped")["state"] == "stored"


def test_a_capture_is_thrown_away_when_somebody_thaws_its_container(cairn, fake):
    problem = refused_mid_pause(cairn, fake, lambda container: fake.client.post(f"/containers/{container}/unpause"))
    assert problem["status"] == 409 and "did not stay paused" in problem["detail"]


def test_labels_and_lists(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    idents = [cairn.ok("snapshot", "create", "web", "--label", f"n={number}")["id"] for number in range(3)]
    listed = cairn.ok("snapshot", "ls", "web")["snapshots"]
    assert [one["id"] for one in listed] == idents[::-1]
    assert [one["labels"]["n"] for one in listed] == ["2", "1", "0"]


def test_what_an_undo_stands_on_is_not_removed(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    result = restore(cairn, snapshot(cairn))
    settle(cairn, result)
    undo = cairn.ok("restore", "show", result["undo"])
    problem = cairn.fails("snapshot", "rm", undo["pre_restore_snapshot"], "--yes")
    assert problem["status"] == 409 and result["undo"] in problem["detail"]
    cairn.ok("restore", "discard", result["undo"], "--yes")
    cairn.ok("snapshot", "rm", undo["pre_restore_snapshot"], "--yes")


def test_each_restore_raises_the_data_generation(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    result = restore(cairn, ident)
    settle(cairn, result)
    assert cairn.ok("workload", "show", "web")["data_generation"] == 1
    settle(cairn, cairn.ok("restore", "undo", result["undo"], "--yes"))
    assert cairn.ok("workload", "show", "web")["data_generation"] == 2
    # Nothing of the release changed, so there is nothing to deploy.
    assert cairn.ok("workload", "deploy", "web")["status"] == "unchanged"
