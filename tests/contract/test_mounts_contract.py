"""What Cairn relies on in an engine: binds, volumes, networks, images. Fake and real."""

import ctypes
import os
import re

import pytest

from lib.dockerapi import wait_for

RENAME_EXCHANGE = 2
AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, two):
    done = _libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), RENAME_EXCHANGE)
    assert done == 0, os.strerror(ctypes.get_errno())


def binds(*items):
    return {"Binds": list(items)}


# -- binds -------------------------------------------------------------------------------


def test_a_running_container_keeps_the_old_tree_and_a_started_one_sees_the_new(client, tmp_path):
    live, other = tmp_path / "live", tmp_path / "other"
    for path in (live, other):
        path.mkdir()
        (path / "name").write_text(path.name)
    ident = client.run("small:1", None, "web", HostConfig=binds(f"{live}:/data"))
    exchange(live, other)
    assert client.exec(ident, ["cat", "/data/name"])[1] == b"live"
    assert os.stat(f"/proc/{client.state(ident)['Pid']}/root/data").st_ino == other.stat().st_ino
    client.stop(ident, 1)
    client.start(ident)
    assert client.exec(ident, ["cat", "/data/name"])[1] == b"other"
    assert os.stat(f"/proc/{client.state(ident)['Pid']}/root/data").st_ino == live.stat().st_ino


def test_a_restart_by_policy_sees_the_new_tree_too(client, tmp_path):
    live, other = tmp_path / "live", tmp_path / "other"
    for path in (live, other):
        path.mkdir()
        (path / "name").write_text(path.name)
    policy = {"RestartPolicy": {"Name": "unless-stopped"}}
    ident = client.run("small:1", None, "web", HostConfig={**binds(f"{live}:/data"), **policy})
    before = client.state(ident)["Pid"]
    exchange(live, other)
    os.kill(before, 9)
    client.wait_state(ident, lambda s: s["Status"] == "running" and s["Pid"] not in (0, before))
    assert client.exec(ident, ["cat", "/data/name"])[1] == b"other"


def test_an_exchange_under_a_running_container_works_for_volumes(engine, client):
    client.volume_create("data1")
    ident = client.run("small:1", None, "web", HostConfig=binds("data1:/data"))
    client.exec(ident, ["sh", "-c", "echo old > /data/x"])
    place = engine.volumes_root / "data1"
    (place / ".cairn").mkdir()
    (place / ".cairn" / "x").write_text("new\n")
    exchange(place / "_data", place / ".cairn")
    assert client.exec(ident, ["cat", "/data/x"])[1] == b"old\n"
    client.stop(ident, 1)
    client.start(ident)
    assert client.exec(ident, ["cat", "/data/x"])[1] == b"new\n"


def test_binds_make_a_missing_source_at_start(client, tmp_path):
    source = tmp_path / "missing"
    ident = client.create("small:1", None, "web", HostConfig=binds(f"{source}:/data"))
    assert not source.exists()
    client.start(ident)
    info = source.stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (0, 0, 0o755)
    client.stop(ident, 1)
    source.rmdir()
    client.start(ident)
    assert source.is_dir()


def test_mounts_refuse_a_missing_source(client, tmp_path):
    mount = {"Type": "bind", "Source": str(tmp_path / "gone"), "Target": "/data"}
    body = {"Image": "small:1", "HostConfig": {"Mounts": [mount]}}
    assert client.post("/containers/create", body).status == 400
    (tmp_path / "gone").mkdir()
    ident = client.create("small:1", None, "web", HostConfig={"Mounts": [mount]})
    (tmp_path / "gone").rmdir()
    answer = client.post(f"/containers/{ident}/start")
    assert (answer.status, "bind source path does not exist" in answer.message) == (400, True)
    state = client.state(ident)
    assert (state["Status"], state["ExitCode"]) == ("created", 0)
    assert not (tmp_path / "gone").exists()


def test_read_only_binds(client, tmp_path):
    mounts = [{"Type": "bind", "Source": str(tmp_path), "Target": "/b", "ReadOnly": True}]
    ident = client.run("small:1", None, "web", HostConfig={**binds(f"{tmp_path}:/a:ro"), "Mounts": mounts})
    assert client.exec(ident, ["touch", "/a/x"])[0] != 0
    assert client.exec(ident, ["touch", "/b/x"])[0] != 0
    found = {m["Destination"]: m["RW"] for m in client.inspect(ident)["Mounts"]}
    assert found == {"/a": False, "/b": False}


def test_nested_targets_mount_outermost_first(client, tmp_path):
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    ident = client.run("small:1", None, "web",
                       HostConfig=binds(f"{tmp_path}/inner:/data/inner/deep", f"{tmp_path}/outer:/data"))
    assert client.exec(ident, ["ls", "/data"])[1].split() == [b"inner", b"outer"]
    assert client.exec(ident, ["ls", "/data/inner/deep"])[1] == b"inner\n"
    assert (tmp_path / "outer" / "inner" / "deep").is_dir()


@pytest.mark.parametrize("items, status", [(["/a:/x", "/b:/x"], 400), (["/a:/"], 500), (["/a:relative"], 500)])
def test_impossible_targets_are_refused_at_create(client, items, status):
    assert client.post("/containers/create", {"Image": "small:1", "HostConfig": binds(*items)}).status == status
    assert client.containers() == []


def test_container_mounts_are_private(client, tmp_path):
    ident = client.run("small:1", None, "web", HostConfig=binds(f"{tmp_path}:/data"))
    with open(f"/proc/{client.state(ident)['Pid']}/mountinfo") as file:
        lines = [line.split() for line in file]
    mine = [fields for fields in lines if fields[4] == "/data"]
    assert len(mine) == 1
    assert mine[0][3].endswith(str(tmp_path).removeprefix("/tmp")) or mine[0][3] == str(tmp_path)
    assert mine[0][6] == "-"  # no shared: or master: field
    assert not [f for f in lines if f[4].startswith("/tmp/")]  # the host's own mounts are gone


def test_mounts_as_inspect_shows_them(engine, client, tmp_path):
    ident = client.create("small:1", None, "web", HostConfig=binds(f"{tmp_path}:/a", "data1:/b"))
    found = {m["Destination"]: m for m in client.inspect(ident)["Mounts"]}
    assert (found["/a"]["Type"], found["/a"]["Source"], found["/a"]["RW"]) == ("bind", str(tmp_path), True)
    assert (found["/b"]["Type"], found["/b"]["Name"]) == ("volume", "data1")
    assert found["/b"]["Source"] == str(engine.volumes_root / "data1" / "_data")


# -- volumes -----------------------------------------------------------------------------


def test_create_makes_named_volumes_at_once(engine, client):
    client.create("small:1", None, "web", HostConfig=binds("data1:/data"))
    volume = client.get("/volumes/data1").json()
    assert volume["Mountpoint"] == str(engine.volumes_root / "data1" / "_data")
    assert os.path.isdir(volume["Mountpoint"])


def test_volume_labels_and_lookup(client):
    client.volume_create("data1", Labels={"cairn": "1"})
    client.volume_create("data2")
    assert client.get("/volumes/data1").json()["Labels"] == {"cairn": "1"}
    assert client.volume_names(label=["cairn=1"]) == {"data1"}
    assert client.volume_names(name=["data2"]) == {"data2"}
    assert client.volume_create("data1")["Labels"] == {"cairn": "1"}
    missing = client.get("/volumes/nope")
    assert (missing.status, missing.message) == (404, "get nope: no such volume")


def test_a_volume_of_any_container_is_in_use(client):
    ident = client.create("small:1", None, "web", HostConfig=binds("data1:/data"))
    answer = client.delete("/volumes/data1")
    assert answer.status == 409
    assert ident in answer.message
    client.remove(ident)
    assert client.delete("/volumes/data1").status == 204


def test_prune_spares_what_a_never_started_holder_references(engine, client):
    for name in ("held", "stopped", "lonely"):
        client.volume_create(name)
        (engine.volumes_root / name / "_data" / "x").write_text("x")
    mount = {"Type": "volume", "Source": "held", "Target": "/held", "VolumeOptions": {"NoCopy": True}}
    client.create("empty:1", ["never"], "holder", HostConfig={"Mounts": [mount]})
    ident = client.run("small:1", ["true"], "web", HostConfig=binds("stopped:/data"))
    client.wait_state(ident, "exited")
    assert client.post("/volumes/prune").json()["VolumesDeleted"] == ["lonely"]
    assert client.volume_names() == {"held", "stopped"}
    assert (engine.volumes_root / "held" / "_data" / "x").exists()
    assert not (engine.volumes_root / "lonely").exists()


def test_dangling_means_unreferenced(client):
    client.volume_create("lonely")
    client.create("small:1", None, "web", HostConfig=binds("data1:/data"))
    assert client.volume_names(dangling=["true"]) == {"lonely"}
    assert client.volume_names(dangling=["false"]) == {"data1"}


def test_prune_deletes_what_lies_beside_the_data(engine, client):
    client.volume_create("lonely")
    (engine.volumes_root / "lonely" / ".cairn").mkdir()
    client.post("/volumes/prune")
    assert not (engine.volumes_root / "lonely").exists()


def test_removing_a_container_keeps_its_named_volumes(client):
    ident = client.create("small:1", None, "web", HostConfig=binds("data1:/data"))
    client.remove(ident, volumes=True)
    assert client.volume_names() == {"data1"}


def test_an_empty_volume_is_filled_from_the_image_at_create(engine, client):
    host = {"Mounts": [
        {"Type": "volume", "Source": "copied", "Target": "/etc"},
        {"Type": "volume", "Source": "bare", "Target": "/usr", "VolumeOptions": {"NoCopy": True}},
    ]}
    client.create("small:1", None, "web", HostConfig=host)
    assert "passwd" in os.listdir(engine.volumes_root / "copied" / "_data")
    assert os.listdir(engine.volumes_root / "bare" / "_data") == []


def test_a_volume_with_data_is_not_filled(engine, client):
    client.volume_create("data1")
    (engine.volumes_root / "data1" / "_data" / "mine").write_text("")
    client.create("small:1", None, "web", HostConfig=binds("data1:/etc"))
    assert os.listdir(engine.volumes_root / "data1" / "_data") == ["mine"]


def test_a_directory_beside_the_volumes_becomes_one_at_the_next_start_and_is_pruned(engine, client):
    stray = engine.volumes_root / "stray"
    (stray / "kept").mkdir(parents=True)
    assert "stray" not in client.volume_names()
    engine.restart()
    assert "stray" in client.volume_names()
    assert "stray" in client.post("/volumes/prune").json()["VolumesDeleted"]
    assert not stray.exists()


# -- networks ----------------------------------------------------------------------------


@pytest.fixture
def network(client):
    ident = client.post("/networks/create", {"Name": "cairn", "CheckDuplicate": True}).json()["Id"]
    yield ident
    for container in client.containers():
        client.remove(container["Id"])
    client.delete(f"/networks/{ident}")


def test_networks(client, network):
    assert client.get("/networks/cairn").json()["Id"] == network
    again = client.post("/networks/create", {"Name": "cairn", "CheckDuplicate": True})
    assert (again.status, again.message) == (409, "network with name cairn already exists")
    missing = client.get("/networks/nope")
    assert (missing.status, missing.message) == (404, "network nope not found")
    assert {n["Name"] for n in client.get("/networks").json()} >= {"bridge", "host", "none", "cairn"}
    assert client.delete("/networks/bridge").status == 403


def test_two_networks_of_one_name_make_the_name_useless(client, network):
    second = client.post("/networks/create", {"Name": "cairn"})
    assert second.status == 201
    assert "already exists" in second.json()["Warning"]
    try:
        ident = client.create("small:1", None, "web", HostConfig={"NetworkMode": "cairn"})
        answer = client.post(f"/containers/{ident}/start")
        assert (answer.status, "ambiguous" in answer.message) == (400, True)
    finally:
        client.delete(f"/networks/{second.json()['Id']}")


def test_a_container_on_a_network(client, network):
    ends = {"EndpointsConfig": {"cairn": {"Aliases": ["web"]}}}
    ident = client.create("small:1", None, "web-1", HostConfig={"NetworkMode": "cairn"}, NetworkingConfig=ends)
    client.start(ident)
    found = client.inspect(ident)["NetworkSettings"]["Networks"]["cairn"]
    assert found["NetworkID"] == network
    assert "web" in found["Aliases"]
    assert re.match(r"\d+\.\d+\.\d+\.\d+$", found["IPAddress"])
    assert ident in client.get("/networks/cairn").json()["Containers"]
    assert client.delete("/networks/cairn").status == 403
    client.stop(ident, 1)
    assert client.inspect(ident)["NetworkSettings"]["Networks"]["cairn"]["IPAddress"] == ""


def test_a_running_container_joins_and_leaves_a_network(client, network):
    ident = client.run("small:1", None, "web-1")
    body = {"Container": ident, "EndpointConfig": {"Aliases": ["web"]}}
    assert client.post("/networks/cairn/connect", body).status == 200
    found = client.inspect(ident)["NetworkSettings"]["Networks"]
    assert set(found) == {"bridge", "cairn"}
    assert "web" in found["cairn"]["Aliases"]
    assert client.post("/networks/cairn/connect", body).status == 403
    assert client.post("/networks/cairn/disconnect", {"Container": ident, "Force": True}).status == 200
    assert set(client.inspect(ident)["NetworkSettings"]["Networks"]) == {"bridge"}
    assert client.post("/networks/cairn/disconnect", {"Container": ident}).status == 500


def test_the_default_network_is_the_bridge(client):
    body = {"HostConfig": {"NetworkMode": "default"}, "NetworkingConfig": {"EndpointsConfig": {"default": {}}}}
    ident = client.create("small:1", None, "web-1", **body)
    client.start(ident)
    networks = client.inspect(ident)["NetworkSettings"]["Networks"]
    assert [n["IPAddress"] != "" for n in networks.values()] == [True]


def test_a_missing_network_is_told_at_start(client):
    ident = client.create("small:1", None, "web", HostConfig={"NetworkMode": "gone"})
    answer = client.post(f"/containers/{ident}/start")
    assert (answer.status, "network gone not found" in answer.message) == (404, True)


# -- images ------------------------------------------------------------------------------


def test_imported_image_as_inspect_shows_it(client):
    image = client.get("/images/filled:1/json").json()
    assert re.match(r"sha256:[0-9a-f]{64}$", image["Id"])
    assert image["RepoTags"] == ["filled:1"]
    assert image["RepoDigests"] == []
    assert image["Config"]["Labels"] == {"one": "two"}
    assert client.get(f"/images/{image['Id']}/json").json()["Id"] == image["Id"]
    missing = client.get("/images/nope:1/json")
    assert (missing.status, missing.message.endswith("No such image: nope:1")) == (404, True)


def test_tags_move(client):
    from lib.images import make_small_image

    first = make_small_image(client, "moving:1", labels={"v": "1"})
    second = make_small_image(client, "moving:1", labels={"v": "2"})
    assert first != second
    assert client.get("/images/moving:1/json").json()["Id"] == second
    ident = client.create(first, None, "web")
    assert client.inspect(ident)["Image"] == first
    client.remove(ident)
    assert client.delete("/images/moving:1").status == 200
    assert client.get("/images/moving:1/json").status == 404


def test_an_image_in_use_keeps_its_data(client):
    from lib.images import make_small_image

    made = make_small_image(client, "used:1", labels={"v": "used"})
    ident = client.create("used:1", None, "web")
    assert client.delete("/images/used:1").status == 409
    assert client.get(f"/images/{made}/json").status == 200
    client.remove(ident)
    assert client.delete("/images/used:1").status == 200
    assert client.get(f"/images/{made}/json").status == 404


def test_an_image_deleted_by_force_under_a_stopped_container(client):
    """The tag goes at once, the image only by its id; the container starts all the same."""
    from lib.images import make_small_image

    made = make_small_image(client, "forced:1", labels={"v": "forced"})
    ident = client.run("forced:1", None, "web")
    assert client.delete("/images/forced:1", force=1).status == 200
    assert client.containers()[0]["Image"] == made
    assert client.get("/images/forced:1/json").status == 404
    assert client.get(f"/images/{made}/json").status == 200
    assert client.delete(f"/images/{made}", force=1).status == 409
    client.stop(ident, 1)
    assert client.delete(f"/images/{made}").status == 409
    assert client.delete(f"/images/{made}", force=1).status == 200
    assert client.get(f"/images/{made}/json").status == 404
    client.start(ident)
    assert client.exec(ident, ["true"])[0] == 0


def test_health_of_the_image_is_the_containers_default(client):
    check = client.get("/images/health:1/json").json()["Config"]["Healthcheck"]
    assert check["Test"] == ["CMD-SHELL", "test ! -e /tmp/sick"]
    assert (check["Interval"], check["Timeout"], check["Retries"]) == (200_000_000, 2_000_000_000, 2)
    ident = client.create("health:1", None, "web", Healthcheck={"Retries": 7})
    found = client.inspect(ident)["Config"]["Healthcheck"]
    assert (found["Test"], found["Retries"], found["Interval"]) == (check["Test"], 7, 200_000_000)


def test_a_change_that_import_does_not_take(client):
    query = {"fromSrc": "-", "repo": "odd", "tag": "1", "changes": ["STOPSIGNAL SIGINT"]}
    assert client.call("POST", "/images/create", query, b"\0" * 1024).status == 400


def test_commit_takes_a_whole_config(client):
    ident = client.create("small:1", None, "web")
    config = {**client.inspect(ident)["Config"], "StopSignal": "SIGINT"}
    query = {"container": ident, "repo": "committed", "tag": "1"}
    made = client.call("POST", "/commit", query, config)
    assert made.status == 201
    assert client.get("/images/committed:1/json").json()["Config"]["StopSignal"] == "SIGINT"
    client.remove(ident)
    client.delete("/images/committed:1")


# -- registries ----------------------------------------------------------------------------


@pytest.fixture
def registry(engine):
    from lib.engines import make_registry

    with make_registry(engine) as found:
        yield found


def split(ref):
    return ref.rsplit(":", 1)


def test_push_pull_and_digests(client, registry):
    ref = registry.image("app", "1")
    digest = registry.publish("small:1", "app", "1")
    repo, tag = split(ref)
    assert f"{repo}@{digest}" in client.get("/images/small:1/json").json()["RepoDigests"]
    remote = client.get(f"/distribution/{ref}/json").json()
    assert remote["Descriptor"]["digest"] == digest
    assert client.delete(f"/images/{ref}").status == 200
    assert client.get(f"/images/{ref}/json").status == 404

    lines = client.post("/images/create", fromImage=repo, tag=tag).ndjson()
    assert any(line.get("status") == f"Digest: {digest}" for line in lines)
    assert lines[-1]["status"].startswith("Status: ")
    found = client.get(f"/images/{ref}/json").json()
    assert f"{repo}@{digest}" in found["RepoDigests"]
    assert client.get(f"/images/{repo}@{digest}/json").json()["Id"] == found["Id"]
    client.delete(f"/images/{ref}")

    assert client.post("/images/create", fromImage=f"{repo}@{digest}").status == 200
    by_digest = client.get(f"/images/{repo}@{digest}/json").json()
    assert by_digest["Id"] == found["Id"]
    ident = client.create(f"{repo}@{digest}", None, "web")
    assert client.inspect(ident)["Image"] == found["Id"]
    client.remove(ident)
    client.delete(f"/images/{repo}@{digest}")


def test_a_moved_tag_is_another_digest(client, registry):
    first = registry.publish("small:1", "app", "1")
    second = registry.publish("crash:1", "app", "1")
    assert first != second
    assert client.get(f"/distribution/{registry.image('app', '1')}/json").json()["Descriptor"]["digest"] == second
    client.delete(f"/images/{registry.image('app', '1')}")


def test_pull_of_a_missing_tag_is_404(client, registry):
    repo, _ = split(registry.image("app", "9"))
    answer = client.post("/images/create", fromImage=repo, tag="9")
    assert (answer.status, answer.message.startswith(f"manifest for {repo}:9 not found")) == (404, True)
    assert client.get(f"/distribution/{repo}:9/json").status == 404


def test_pull_without_a_registry_is_500(client):
    answer = client.post("/images/create", fromImage="127.0.0.1:1/app", tag="1")
    assert (answer.status, "connection refused" in answer.message) == (500, True)


def test_a_removed_image_is_unpacked_again_by_a_pull(client, registry):
    from lib.images import make_small_image

    make_small_image(client, "passing:1", labels={"v": "passing"})
    ref = registry.image("passing", "1")
    registry.publish("passing:1", "passing", "1")
    made = client.get(f"/images/{ref}/json").json()["Id"]
    for name in ("passing:1", ref):
        client.delete(f"/images/{name}")
    assert client.get(f"/images/{made}/json").status == 404
    repo, tag = split(ref)
    assert client.post("/images/create", fromImage=repo, tag=tag).status == 200
    assert client.get(f"/images/{made}/json").status == 200
    ident = client.run(ref, ["echo", "runs"], "web")
    client.wait_state(ident, "exited")
    assert wait_for(lambda: client.logs(ident)[0], 5, "output") == b"runs\n"
    client.remove(ident)
    client.delete(f"/images/{ref}")
