"""The repository is restic's: any restic checks and restores what Cairn wrote."""

import json
import os
import shutil
import subprocess

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, restore, settle, snapshot, workload
from lib.trees import diff_trees


class Restic:
    def __init__(self, cairn):
        self.kit = cairn.ok("repo", "key", "export")
        self.env = {**os.environ, "RESTIC_PASSWORD": self.kit["password"], "RESTIC_CACHE_DIR": str(cairn.base / "cache")}

    def __call__(self, *arguments, **options):
        return subprocess.run(["restic", "-r", self.kit["repository"], "--no-lock", *map(str, arguments)],
                              env=self.env, capture_output=True, text=True, check=True, **options).stdout


def rich(root):
    """A tree with everything that a snapshot must keep."""
    fill(root, "first")
    (root / "random").write_bytes(os.urandom(3 << 20))
    (root / "zeros").write_bytes(bytes(2 << 20))
    with open(root / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    (root / "name with spaces\nand a line").write_text("odd")
    (root / os.fsdecode(b"not utf-8 \xff\xfe")).write_text("odd")
    (root / ("long" * 60)).write_text("long")
    many = root / "many"
    many.mkdir()
    for number in range(500):
        (many / f"{number}").write_text(str(number))
    os.chmod(root / "random", 0o4711)
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("/nowhere/at all")
    os.utime(root / "dangling", ns=(1, 2), follow_symlinks=False)


def test_restic_checks_and_restores_what_cairn_wrote(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    rich(data)
    first = snapshot(cairn)
    (data / "random").write_bytes(os.urandom(1 << 20))
    second = snapshot(cairn)
    restic = Restic(cairn)
    restic("check", "--read-data")
    listed = {one["id"]: one for one in json.loads(restic("snapshots", "--json"))}
    for ident in (first, second):
        row = cairn.ok("snapshot", "show", ident)
        found = listed[row["repository_snapshot"]]
        assert found["hostname"] == "web" and ident in found["tags"]
    stored = cairn.ok("snapshot", "show", second)["repository_snapshot"]
    manifest = json.loads(restic("dump", stored, "/manifest.json"))
    assert manifest
    target = cairn.base / "out"
    restic("restore", stored, "--target", target)
    assert diff_trees(data, target / "volumes" / "0") == []
    # And Cairn's own restore gives the same.
    kept = cairn.base / "kept"
    subprocess.run(["cp", "-a", "--", data, kept], check=True)
    shutil.rmtree(data / "many")
    settle(cairn, restore(cairn, second))
    assert diff_trees(kept, data) == []


def test_a_removed_snapshot_leaves_a_sound_repository(cairn):
    deploy(cairn, workload())
    rich(place(cairn))
    first, second = snapshot(cairn), snapshot(cairn)
    cairn.ok("snapshot", "rm", first, "--yes")
    restic = Restic(cairn)
    restic("check", "--read-data")
    assert len(json.loads(restic("snapshots", "--json"))) == 1
    assert cairn.ok("snapshot", "verify", second)["verified_at"]


def test_a_second_capture_stores_only_what_changed(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    (data / "big").write_bytes(os.urandom(8 << 20))

    def size():
        return sum(file.stat().st_size for file in (cairn.data / "repo" / "data").rglob("*") if file.is_file())

    snapshot(cairn)
    before = size()
    (data / "small").write_text("new")
    snapshot(cairn)
    assert size() - before < 100_000


@pytest.mark.parametrize("what", ["flip", "cut", "gone"])
def test_damage_in_a_pack_is_found_and_never_restored(fake, what):
    with Cairnd(fake, check=False) as cairn:
        deploy(cairn, workload())
        data = place(cairn)
        (data / "big").write_bytes(os.urandom(2 << 20))
        ident = snapshot(cairn)
        pack = max((cairn.data / "repo" / "data").rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else 0)
        os.chmod(pack, 0o600)
        content = bytearray(pack.read_bytes())
        if what == "flip":
            content[len(content) // 2] ^= 1
            pack.write_bytes(content)
        elif what == "cut":
            pack.write_bytes(content[: len(content) // 2])
        else:
            pack.unlink()
        (data / "big").write_bytes(b"live")
        cairn.restart()
        assert cairn.fails("snapshot", "verify", ident)["code"] == "corrupt"
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert problem["status"] in (400, 500), problem
        assert (data / "big").read_bytes() == b"live" and not (data.parent / ".cairn").exists()
        assert len(cairn.ok("workload", "show", "web")["instances"]) == 1
        if what != "flip":  # flips are found by reading all; fsck looks at what is there
            assert "repository_damaged" in {one["code"] for one in cairn.fsck()["findings"]}


def test_a_lock_of_another_restic_is_respected(cairn):
    """`restic` may read and check while Cairn serves; its lock stays its own."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    restic = Restic(cairn)
    env = restic.env
    listing = subprocess.run(["restic", "-r", restic.kit["repository"], "ls", "--help"], env=env, capture_output=True)
    assert listing.returncode == 0
    snapshot(cairn)
    # With its lock: a shared one beside Cairn's shared ones.
    done = subprocess.run(["restic", "-r", restic.kit["repository"], "snapshots", "--json"], env=env,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def unreferenced(cairn):
    """Packs that restic finds in no index. It fails for them, and says so line by line."""
    restic = Restic(cairn)
    checked = subprocess.run(["restic", "-r", restic.kit["repository"], "--no-lock", "check"], env=restic.env,
                             capture_output=True, text=True, check=False)
    return [line for line in (checked.stdout + checked.stderr).splitlines() if "not referenced" in line]


@pytest.mark.parametrize("how", ["killed", "cancelled"])
def test_what_a_given_up_capture_stored_goes(fake, how):
    with Cairnd(fake) as cairn:
        deploy(cairn, workload())
        large = place(cairn) / "large"
        with open(large, "wb") as file:
            for _ in range(30):
                file.write(os.urandom(16 << 20))
        started = cairn.http("POST", "/api/workloads/web/snapshots", headers={"Prefer": "respond-async"}).json()["id"]
        data = cairn.data / "repo" / "data"
        wait_for(lambda: any(data.glob("*/*")), 60, "a pack with its name")
        if how == "killed":
            cairn.kill()
            assert any(data.glob("*/*"))
            cairn.start()
            cleaned = [one for one in cairn.ok("events", "ls")["events"] if one["kind"] == "repository.cleaned"]
            assert len(cleaned) == 1
        else:
            cairn.http("DELETE", f"/api/operations/{started}")
            assert cairn.wait_operation(started)["state"] == "cancelled"
        assert not any(data.glob("*/*"))
        cairn.assert_clean()
        large.write_bytes(b"small")
        snapshot(cairn)
        assert unreferenced(cairn) == []


def test_a_pack_that_no_index_names_is_found(cairn):
    (cairn.data / "repo" / "data" / "aa").mkdir(mode=0o700, exist_ok=True)
    pack = cairn.data / "repo" / "data" / "aa" / ("a" * 64)
    pack.write_bytes(b"half a store")
    found = cairn.fsck()["findings"]
    assert [one["code"] for one in found] == ["unindexed_packs"]
    cairn.restart()
    assert not pack.exists()
