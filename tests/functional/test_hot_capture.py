"""Captures that read while the workload runs: what the hold is for, commands around it, forecasts, and that a
snapshot is one instant."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, restore, running, settle, snapshot, workload
from lib.loopfs import LoopFs
from lib.trees import diff_trees, read_tree

# Two files that are replaced one after the other: at any instant they differ by one at most.
COUNTS = "n=0; while :; do n=$((n+1)); for f in a b; do echo $n > /data/.$f; mv /data/.$f /data/$f; done; done"


def test_only_what_changed_is_put_aside_in_the_hold(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    (data / "large").write_bytes(os.urandom(8 << 20))
    first = cairn.ok("snapshot", "create", "web")
    assert first["files_walked"] == 8 and first["bytes_changed"] == 0 and first["files_changed"] == 0
    before = read_tree(data)
    stop = threading.Event()

    def write():  # always too young to be told from what was read
        while not stop.wait(0.001):
            (data / "young").write_text("x" * 100)

    writer = threading.Thread(target=write)
    writer.start()
    wait_for((data / "young").exists, 10, "the writer")
    second = cairn.ok("snapshot", "create", "web")
    stop.set()
    writer.join()
    assert second["files_changed"] == 1 and 0 <= second["bytes_changed"] <= 100
    (data / "young").unlink()
    settle(cairn, restore(cairn, second["id"]))
    (data / "young").unlink()
    os.utime(data, ns=(before[b"."].mtime_ns, before[b"."].mtime_ns))
    assert diff_trees(before, data) == []


def test_an_unchanged_volume_is_not_read_again(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    (data / "large").write_bytes(os.urandom(4 << 20))
    cairn.ok("snapshot", "create", "web")
    planned = cairn.ok("snapshot", "create", "web", "--dry-run")
    assert planned["status"] == "planned" and planned["bytes_to_read"] == 0
    assert planned["entries"] == 8 and planned["volumes"][0]["target"] == "/data"
    (data / "file").write_text("second")
    planned = cairn.ok("snapshot", "create", "web", "--dry-run")
    assert planned["volumes"][0]["files_to_read"] == 2, "it and its hard link"
    assert len(cairn.ok("snapshot", "ls", "web")["snapshots"]) == 1, "a forecast makes nothing"
    second = snapshot(cairn)
    (data / "file").write_text("third")
    settle(cairn, restore(cairn, second))
    assert (data / "file").read_text() == "second"
    # All inodes are new now: what is known of the old ones must not be believed.
    assert cairn.ok("snapshot", "create", "web", "--dry-run")["bytes_to_read"] > 0


def test_a_quiet_workload_is_cut_at_once(cairn):
    """Then what changed before the capture is first met in the hold, where with a pass it is known by then."""
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")

    def capture_after(change, *options) -> tuple:
        change()
        time.sleep(0.05)  # old enough to be told from what comes later
        made = cairn.ok("snapshot", "create", "web", *options)
        return made, made["files_changed"]

    def write_many():
        for number in range(500):
            (data / f"one of many {number}").write_text(str(number))

    assert capture_after(lambda: (data / "a").write_text("1"))[1] == 0, "nothing was known before"
    _, changed = capture_after(lambda: (data / "a").write_text("2"))
    assert changed == 1, "no pass came before"
    _, changed = capture_after(lambda: (data / "a").write_text("3"))
    assert changed == 0, "after a hold that found something there are passes"
    _, changed = capture_after(lambda: (data / "a").write_text("4"), "--pre", "true")
    assert changed == 0, "a command is not run for nothing"
    many, changed = capture_after(write_many)
    assert changed == 0, "more than a cut takes: it gave up, and there were passes"
    _, changed = capture_after(lambda: (data / "a").write_text("5"))
    assert changed == 1
    want = read_tree(data)
    (data / "a").write_text("6")
    settle(cairn, restore(cairn, many["id"]))
    assert (data / "a").read_text() == "4" and (data / "one of many 499").read_text() == "499"
    (data / "a").write_text("5")
    for name in (b".", b"a"):
        os.utime(data / os.fsdecode(name), ns=(want[name].mtime_ns, want[name].mtime_ns))
    assert diff_trees(want, data) == []


def test_after_a_restore_the_workload_is_not_paused_for_nothing(cairn):
    """All inodes are new, so a cut at once would put all files aside, or give up."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    settle(cairn, restore(cairn, snapshot(cairn)))
    time.sleep(0.05)
    assert cairn.ok("snapshot", "create", "web")["files_changed"] == 0


def test_a_plan_tells_of_what_is_being_written(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    planned = cairn.ok("snapshot", "create", "web", "--dry-run", "--max-hold", "1s")
    assert planned["expected_hold_ms"] < 1000 and planned["warnings"] == []
    with open(data / "large", "wb") as file:
        file.truncate(1 << 30)
    planned = cairn.ok("snapshot", "create", "web", "--dry-run", "--max-hold", "1s")
    assert planned["status"] == "planned" and planned["expected_hold_ms"] > 1000
    assert len(planned["warnings"]) == 1 and "would be refused" in planned["warnings"][0]
    planned = cairn.ok("snapshot", "create", "web", "--dry-run", "--max-hold", "1s", "--consistency", "live")
    assert planned["expected_hold_ms"] == 0 and planned["warnings"] == []
    settled = time.time() + 20
    while cairn.ok("snapshot", "create", "web", "--dry-run", "--max-hold", "1s")["warnings"]:
        assert time.time() < settled, "nothing is written any more"
        time.sleep(0.3)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_every_snapshot_is_one_instant(cairn, kind):
    with LoopFs(kind) as disk:
        cairn.ok("system", "settings", "set", "base_volume_path", disk.path)
        deploy(cairn, workload(command=["sh", "-c", COUNTS]))
        data = place(cairn)
        wait_for((data / "b").exists, 20, "the writer")
        for index in range(12):
            (data / f"pages-{index}").write_bytes(os.urandom(1 << 20))
        try:
            for made in [cairn.ok("snapshot", "create", "web") for _ in range(5)]:
                a, b = (int(dump(cairn, made, name)) for name in ("a", "b"))
                assert a - b in (0, 1), f"two instants: a is {a}, b is {b}"
        finally:
            cairn.ok("workload", "rm", "web", "--yes")


def dump(cairn, made, name) -> str:
    """A file of the first volume, read by restic."""
    kit = cairn.ok("repo", "key", "export")
    done = subprocess.run(["restic", "-r", kit["repository"], "dump", made["repository_snapshot"],
                           f"/volumes/0/{name}"], env={**os.environ, "RESTIC_PASSWORD": kit["password"]},
                          capture_output=True, text=True, check=True)
    return done.stdout


def test_commands_around_the_cut(cairn):
    deploy(cairn, workload(command=["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]))
    data = place(cairn)
    fill(data, "first")
    made = cairn.ok("snapshot", "create", "web", "--pre", "echo ready > /data/pre", "--post", "echo done > /data/post")
    assert (data / "pre").read_text() == "ready\n" and (data / "post").read_text() == "done\n"
    assert made["warnings"] == []
    settle(cairn, restore(cairn, made["id"]))
    assert (data / "pre").exists() and not (data / "post").exists(), "post came after the cut"


def test_a_failing_pre_command_ends_the_capture_and_post_still_runs(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    problem = cairn.fails("snapshot", "create", "web", "--pre", "echo not now; exit 3", "--post", "touch /data/post")
    assert problem["status"] == 409 and "exit code 3" in problem["detail"] and "not now" in problem["detail"]
    assert problem["detail"].endswith("; the post command ran")
    assert (data / "post").exists() and running(cairn)
    problem = cairn.fails("snapshot", "create", "web", "--pre", "exit 3", "--post", "exit 4")
    assert "exit code 3" in problem["detail"] and "exit code 4" in problem["detail"]
    assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []


def test_a_failing_post_command_is_a_warning(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    made = cairn.ok("snapshot", "create", "web", "--post", "exit 4")
    assert any("exit code 4" in one for one in made["warnings"])


def test_a_stopped_workload_skips_its_commands(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    cairn.ok("workload", "stop", "web")
    made = cairn.ok("snapshot", "create", "web", "--pre", "touch /data/pre", "--post", "touch /data/post")
    assert not (data / "pre").exists() and not (data / "post").exists()
    assert any("skipped" in one for one in made["warnings"])


def test_the_post_command_is_run_after_a_crash_in_the_pause(cairn, fake):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    container = running(cairn)[0]["container_id"]
    fake.fault("stall_after", "POST", "/pause$")
    asked = cairn.popen("snapshot", "create", "web", "--post", "touch /data/post")
    wait_for(lambda: fake.client.state(container)["Paused"], 30, "the pause", pause=0.001)
    cairn.kill()
    fake.clear_faults()
    asked.communicate(timeout=60)
    wait_for(lambda: not fake.client.state(container)["Paused"], 20, "the watcher, which thaws without the daemon")
    assert not (data / "post").exists()
    cairn.start()
    wait_for((data / "post").exists, 20, "the post command")
    told = [one for one in cairn.ok("events", "ls")["events"] if one["kind"] == "snapshot.recovered"]
    assert told and "post command" in told[0]["message"]


def test_a_hold_that_would_be_too_long_is_refused_before_it(cairn, fake):
    problem_of = lambda *options: cairn.fails("snapshot", "create", "web", *options)  # noqa: E731
    deploy(cairn, workload())
    fill(place(cairn), "first")
    assert problem_of("--max-hold", "0")["status"] == 400
    assert problem_of("--max-hold", "soon")["status"] == 400
    made = cairn.ok("snapshot", "create", "web", "--max-hold", "30s")
    assert made["state"] == "stored"


def test_volumes_that_are_exchanged_meanwhile_are_captured_anew(cairn, fake):
    """A restore ends while a capture waits for the lock: the capture must hold the restored data."""
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    first = snapshot(cairn)
    (data / "file").write_text("second")
    container = running(cairn)[0]["container_id"]
    fake.fault("stall_after", "POST", "/stop")
    restoring = cairn.popen("snapshot", "restore", "web", first, "--yes", "--json")
    wait_for(lambda: not fake.client.state(container)["Running"], 30, "the stop")
    capturing = cairn.popen("snapshot", "create", "web", "--wait", "--json")
    wait_for(lambda: any(one["kind"] == "snapshot.create" and one["phase"] == "wait"
                         for one in cairn.http("GET", "/api/operations?limit=20").json()["operations"]),
             30, "the capture to wait")
    fake.clear_faults()
    assert restoring.wait(60) == 0 and capturing.wait(60) == 0
    restoring.communicate(), capturing.communicate()
    (data / "file").write_text("third")
    newest = cairn.ok("snapshot", "ls", "web")["snapshots"]
    manual = next(one for one in newest if one["reason"] == "manual")
    assert manual["id"] != first
    settle(cairn, restore(cairn, manual["id"]))
    assert (data / "file").read_text() == "first"
    assert Path(data).is_dir()
