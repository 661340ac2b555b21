"""Volumes of every scope: where they lie, what is captured of them, and that nothing prunes what an undo needs."""

import json
import os

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.engines import make_small_image
from lib.jobs import deploy, fill, reasons, restore, running, settle, snapshot, workload


def named(name="store", target="/data", scope="named") -> dict:
    return {"target": target, "scope": scope, "name": name}


def where(engine, name):
    """The directory of the engine's volume's data."""
    return engine.volumes_root / name / "_data"


def seen_in(cairn, path="/data/file") -> str:
    """What the running container reads there."""
    code, out, _ = cairn.engine.client.exec(running(cairn)[0]["container_id"], ["cat", path])
    assert code == 0
    return out.decode()


def holders(engine) -> list:
    return [one for one in engine.client.containers(label="cairn.role=holder")]


def skipped(made) -> dict:
    return {one["target"]: one["code"] for one in made["skipped"]}


@pytest.fixture(params=["fake", "real"])
def engine(request):
    found = request.getfixturevalue(request.param)
    yield found
    for container in found.client.containers():
        found.client.remove(container["Id"])
    for name in found.client.volume_names():
        found.client.delete(f"/volumes/{name}")


# -- named and project_named -----------------------------------------------------------


@pytest.mark.parametrize("scope", ["named", "project_named"])
def test_a_docker_volume_is_captured_restored_and_undone(engine, scope):
    with Cairnd(engine) as cairn:
        deploy(cairn, workload(volumes=[named(scope=scope)]))
        ident = cairn.ok("workload", "show", "web")["id"]
        name = "store" if scope == "named" else f"cairn-{ident}-store"
        assert [one["place"] for one in cairn.ok("volume", "ls", "web")["volumes"]] == [name]
        data = where(engine, name)
        fill(data, "first")
        made = cairn.ok("snapshot", "create", "web")
        assert [(one["target"], one["scope"], one["source"]) for one in made["volumes"]] == [("/data", scope, "store")]
        (data / "file").write_text("second")

        result = restore(cairn, made["id"])
        settle(cairn, result)
        assert (data / "file").read_text() == "first" and seen_in(cairn) == "first"
        assert [one["Names"] for one in holders(engine)] == [[f"/cairn-holder-{result['undo']}"]]
        assert holders(engine)[0]["State"] == "created"
        cairn.assert_clean()

        # The undo of the undo: another holder, and the first one is gone.
        undone = cairn.ok("restore", "undo", result["undo"], "--yes")
        settle(cairn, undone)
        assert (data / "file").read_text() == "second" and seen_in(cairn) == "second"
        assert [one["Names"] for one in holders(engine)] == [[f"/cairn-holder-{undone['undo']}"]]
        cairn.ok("restore", "discard", undone["undo"], "--yes")
        assert holders(engine) == [] and not (data.parent / ".cairn").exists()


def test_a_restore_makes_a_docker_volume_that_is_gone(engine):
    with Cairnd(engine) as cairn:
        deploy(cairn, workload(volumes=[named()]))
        fill(where(engine, "store"), "first")
        ident = snapshot(cairn)
        cairn.ok("workload", "stop", "web")
        engine.client.remove(cairn.ok("workload", "show", "web")["instances"][0]["container_id"])
        engine.client._check("remove", engine.client.delete("/volumes/store"), 204)
        cairn.ok("workload", "start", "web")
        assert not (where(engine, "store") / "file").exists()
        settle(cairn, restore(cairn, ident))
        assert seen_in(cairn) == "first"


def test_a_failed_restore_leaves_no_holder(cairn, fake):
    deploy(cairn, workload(volumes=[named("failing")]))
    fill(where(fake, "failing"), "first")
    ident = snapshot(cairn)
    fake.fault("status", "POST", "/start", nth=1, status=500)
    cairn.fails("snapshot", "restore", "web", ident, "--yes")
    assert holders(fake) == [] and (where(fake, "failing") / "file").read_text() == "first"


def test_a_holder_whose_making_was_not_answered_is_found_again(cairn, fake):
    deploy(cairn, workload(volumes=[named("unanswered")]))
    fill(where(fake, "unanswered"), "first")
    ident = snapshot(cairn)
    fake.fault("drop_after", "POST", "/containers/create", nth=1)
    cairn.fails("snapshot", "restore", "web", ident, "--yes")
    cairn.assert_clean()
    assert holders(fake) == [] and os.listdir(where(fake, "unanswered").parent) == ["_data"]


def test_a_daemon_that_dies_while_it_makes_a_holder_leaves_none(cairn, fake):
    deploy(cairn, workload(volumes=[named("killed")]))
    fill(where(fake, "killed"), "first")
    ident = snapshot(cairn)
    fake.fault("stall_after", "POST", "/containers/create")
    cairn.http("POST", f"/api/workloads/web/snapshots/{ident}/restore", body={},
               headers={"Prefer": "respond-async", "X-Confirm-Restore": ident})
    wait_for(lambda: holders(fake), 20, "the holder, which the daemon has not heard of")
    cairn.kill()
    fake.clear_faults()
    cairn.start()
    assert holders(fake) == [] and os.listdir(where(fake, "killed").parent) == ["_data"]
    assert seen_in(cairn) == "first"


def test_another_container_on_the_same_docker_volume_refuses_a_restore(cairn, fake):
    deploy(cairn, workload(volumes=[named("both")]))
    fill(where(fake, "both"), "first")
    ident = snapshot(cairn)
    other = fake.client.run("small:1", HostConfig={"Binds": ["both:/elsewhere"]})
    assert "mounted_by_others" in reasons(cairn.fails("snapshot", "restore", "web", ident, "--yes"))
    fake.client.remove(other)
    settle(cairn, restore(cairn, ident))


def test_option_carrying_volumes_are_captured_only_where_they_are_a_directory(real, tmp_path):
    """type=none,o=bind is its device's path; a share is skipped with its reason and without its password."""
    secret = "password-in-an-option-7731"
    client = real.client
    device = tmp_path / "device"
    device.mkdir()
    client.volume_create("device", Driver="local", DriverOpts={"type": "none", "o": "bind", "device": str(device)})
    client.volume_create("ram", Driver="local", DriverOpts={"type": "tmpfs", "o": "size=1m,uid=0,mode=0755",
                                                            "device": "tmpfs"})
    client.volume_create("share", Driver="local", DriverOpts={"type": "cifs", "o": f"username=x,password={secret}",
                                                              "device": "//nowhere.invalid/share"})
    with Cairnd(real, extra_args=["--log-level", "debug"]) as cairn:
        deploy(cairn, workload(volumes=[named("device", "/device"), named("ram", "/ram")]))
        fill(device, "first")
        made = cairn.ok("snapshot", "create", "web")
        assert [one["target"] for one in made["volumes"]] == ["/device"]
        assert skipped(made) == {"/ram": "unsupported_driver"}
        (device / "file").write_text("second")
        result = restore(cairn, made["id"])
        settle(cairn, result)
        assert (device / "file").read_text() == "first" and seen_in(cairn, "/device/file") == "first"
        settle(cairn, cairn.ok("restore", "undo", result["undo"], "--yes"))
        assert (device / "file").read_text() == "second"

        cairn.apply(workload(name="share", volumes=[named("share", "/share")]))
        problem = cairn.fails("snapshot", "create", "share")
        assert reasons(problem) == {"unsupported_driver"} and "cifs" in problem["detail"]
        assert secret not in json.dumps(problem) and secret not in cairn.log.read_text()
        cairn.ok("workload", "rm", "web", "--yes")
        for undo in cairn.ok("restore", "ls")["undos"]:
            if undo["state"] == "available":
                cairn.ok("restore", "discard", undo["id"], "--yes")
    for name in ("device", "ram", "share"):
        client._check("remove", client.delete(f"/volumes/{name}"), 204)


def test_a_device_of_a_docker_volume_may_not_be_anywhere(cairn, fake):
    fake.client.volume_create("evil", Driver="local", DriverOpts={"type": "none", "o": "bind", "device": "/etc"})
    cairn.apply(workload(volumes=[named("evil")]))
    assert reasons(cairn.fails("workload", "deploy", "web")) == {"forbidden_place"}
    fake.client.delete("/volumes/evil")


# -- prunes ----------------------------------------------------------------------------


def test_volume_prune_spares_what_an_undo_needs(real):
    with Cairnd(real) as cairn:
        deploy(cairn, workload(volumes=[named("kept", scope="project_named")]))
        name = cairn.ok("volume", "ls", "web")["volumes"][0]["place"]
        fill(where(real, name), "first")
        ident = snapshot(cairn)
        (where(real, name) / "file").write_text("second")
        result = restore(cairn, ident)
        settle(cairn, result)
        # Nothing but the holder refers to the volume now.
        cairn.ok("workload", "stop", "web")
        real.client.remove(cairn.ok("workload", "show", "web")["instances"][0]["container_id"])
        assert real.client.post("/volumes/prune").json()["VolumesDeleted"] in (None, [])
        cairn.ok("workload", "start", "web")
        settle(cairn, cairn.ok("restore", "undo", result["undo"], "--yes"))
        assert seen_in(cairn) == "second"


def test_system_prune_takes_the_holder_and_the_next_start_brings_it_back(real):
    with Cairnd(real) as cairn:
        deploy(cairn, workload(volumes=[named("pruned")]))
        fill(where(real, "pruned"), "first")
        result = restore(cairn, snapshot(cairn))
        settle(cairn, result)
        assert len(holders(real)) == 1
        # What `system prune` does: stopped containers go, the volume that a container runs on stays.
        real.client._check("prune", real.client.post("/containers/prune"), 200)
        real.client._check("prune", real.client.post("/volumes/prune"), 200)
        assert holders(real) == []
        assert [one["code"] for one in cairn.fsck()["findings"]] == ["missing_holder"]
        cairn.restart()
        assert len(holders(real)) == 1
        cairn.assert_clean()
        cairn.ok("restore", "undo", result["undo"], "--yes")
        assert seen_in(cairn) == "first"


# -- what an image brings --------------------------------------------------------------


def test_an_image_fills_a_docker_volume_once_and_never_again(engine):
    make_small_image(engine, "seed:1", files={"seed/from-the-image": "seeded"})
    make_small_image(engine, "seed:2", files={"seed/from-the-image": "seeded"}, labels={"v": "2"})
    with Cairnd(engine) as cairn:
        deploy(cairn, workload(image="seed", volumes=[named("seeded", "/seed")]))
        data = where(engine, "seeded")
        assert (data / "from-the-image").read_text() == "seeded"
        (data / "from-the-image").unlink()
        assert cairn.ok("workload", "deploy", "web", "--tag", "2")["status"] == "deployed"
        assert os.listdir(data) == []


def test_a_restored_empty_volume_stays_empty(cairn, fake):
    make_small_image(fake, "seed:1", files={"seed/from-the-image": "seeded"})
    deploy(cairn, workload(image="seed", volumes=[named("hollow", "/seed")]))
    data = where(fake, "hollow")
    (data / "from-the-image").unlink()
    ident = snapshot(cairn)
    (data / "later").write_text("gone after the restore")
    settle(cairn, restore(cairn, ident))
    assert os.listdir(data) == []
    cairn.ok("workload", "deploy", "web", "--force")
    assert os.listdir(data) == []


def test_undeclared_volumes_of_an_image_are_refused_with_the_line_to_add(cairn, fake):
    make_small_image(fake, "anon:1", changes=['VOLUME ["/var/lib/anon", "/data"]'])
    cairn.apply(workload(image="anon"))
    problem = cairn.fails("workload", "deploy", "web")
    assert [(one["target"], one["code"]) for one in problem["reasons"]] == [("/var/lib/anon", "undeclared_volume")]
    line = '{"target":"/var/lib/anon","scope":"project","source":"anon"}'
    assert line in problem["reasons"][0]["detail"] and "--allow-anonymous /var/lib/anon" in problem["detail"]
    assert running(cairn) == []
    answer = cairn.ok("workload", "deploy", "web", "--allow-anonymous", "/var/lib/anon", "--allow-anonymous", "/data")
    assert answer["status"] == "deployed"
    assert len(answer["warnings"]) == 1 and "--allow-anonymous /data" in answer["warnings"][0]
    # The release remembers it.
    assert cairn.ok("workload", "deploy", "web")["status"] == "unchanged"
    assert cairn.ok("workload", "deploy", "web", "--force")["status"] == "deployed"
    # The line does it, too.
    config = workload(image="anon")
    config["config"]["volumes"].append(json.loads(line))
    assert deploy(cairn, config)["status"] == "deployed"


def test_a_volume_that_would_begin_empty_is_refused(cairn):
    deploy(cairn, workload())
    ident = cairn.ok("workload", "show", "web")["id"]
    old = cairn.data / "volumes" / ident / "data"
    fill(old, "first")
    moved = workload(volumes=[{"source": "elsewhere", "target": "/data", "scope": "project"}])
    cairn.apply(moved)
    problem = cairn.fails("workload", "deploy", "web")
    assert [(one["target"], one["code"]) for one in problem["reasons"]] == [("/data", "fresh_volume")]
    assert str(old) in problem["detail"] and len(running(cairn)) == 1
    assert cairn.ok("workload", "deploy", "web", "--fresh-volume", "/data")["status"] == "deployed"
    assert (old / "file").read_text() == "first"
    # A place that holds something already is no fresh one, and neither is one without anything to lose.
    assert deploy(cairn, workload())["status"] == "deployed"
    assert seen_in(cairn) == "first"
    # Ephemeral volumes begin empty by their nature.
    assert deploy(cairn, workload(volumes=[{"target": "/data", "scope": "ephemeral"}]))["status"] == "deployed"


# -- instance and single files ---------------------------------------------------------


def test_instance_volumes_have_a_place_for_each_tag(cairn, fake):
    make_small_image(fake, "tagged:1")
    make_small_image(fake, "tagged:2", labels={"v": "2"})
    deploy(cairn, workload(image="tagged", volumes=[{"source": "own", "target": "/data", "scope": "instance"}]))
    base = cairn.data / "volumes" / cairn.ok("workload", "show", "web")["id"]
    fill(base / "instance-1" / "own", "of one")
    first = snapshot(cairn)
    assert cairn.ok("workload", "deploy", "web", "--tag", "2")["status"] == "deployed"
    assert os.listdir(base / "instance-2" / "own") == []
    assert [one["place"] for one in cairn.ok("volume", "ls", "web")["volumes"]] == [str(base / "instance-2" / "own")]
    fill(base / "instance-2" / "own", "of two")
    snapshot(cairn)
    # The current config decides where a snapshot goes: to the place of the tag that runs.
    settle(cairn, restore(cairn, first))
    assert seen_in(cairn) == "of one" and (base / "instance-1" / "own" / "file").read_text() == "of one"


def test_a_single_file_is_mounted_and_skipped(cairn, tmp_path):
    (tmp_path / "app.conf").write_text("colour = blue")
    cairn.ok("system", "settings", "set", "allowed_volume_paths", str(tmp_path))
    deploy(cairn, workload(volumes=[
        {"source": str(tmp_path / "app.conf"), "target": "/app.conf", "scope": "absolute"},
        {"source": "data", "target": "/data", "scope": "project"}]))
    assert seen_in(cairn, "/app.conf") == "colour = blue"
    made = cairn.ok("snapshot", "create", "web")
    assert [one["target"] for one in made["volumes"]] == ["/data"]
    assert skipped(made) == {"/app.conf": "single_file"}
    settle(cairn, restore(cairn, made["id"]))
    assert seen_in(cairn, "/app.conf") == "colour = blue"
