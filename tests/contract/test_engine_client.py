"""Cairn's own engine client, by its command-line tool, against the fake and the real engine."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lib.cairnd import bin_dir
from lib.dockerapi import wait_for
from lib.engines import Registry


class Refused(Exception):
    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]


@pytest.fixture
def call(engine):
    def run(*arguments):
        argv = [bin_dir() / "cairn_engine_tool", str(engine.socket), *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90)
        assert done.stdout, f"{argv}: {done.returncode} {done.stderr}"
        answer = json.loads(done.stdout)
        if done.returncode:
            raise Refused(answer["error"])
        return answer

    return run


@pytest.fixture
def create(call):
    def run(name="web", image="small:1", **spec):
        return call("create", json.dumps({"name": name, "image": image, **spec}))["id"]

    return run


def refused(code, run, *arguments):
    with pytest.raises(Refused) as caught:
        run(*arguments)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


# -- the engine ----------------------------------------------------------------------------


def test_ping_negotiates(call):
    version = call("ping")
    assert version["api"] == version["api_max"] == "1.41"
    assert version["engine"] and not version["podman"]


def test_info_tells_the_root(engine, call):
    info = call("info")
    assert info["docker_root"] == str(engine.data_root)
    assert info["userns_uid_base"] == 0


def test_nobody_listening_is_unavailable(tmp_path):
    argv = [bin_dir() / "cairn_engine_tool", tmp_path / "nothing.sock", "ping"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1 and error["code"] == "unavailable"
    assert "No such file or directory" in error["message"]


def test_a_network_is_made_once(call, create):
    call("ensure-network", "cairn-net")
    call("ensure-network", "cairn-net")
    create(network="cairn-net", aliases=["db"])
    call("start", "web")
    web = call("find", "web")["found"]
    assert set(web["ip_addresses"]) == {"cairn-net"}


# -- images --------------------------------------------------------------------------------


def test_find_image(call):
    image = call("find-image", "health:1")["found"]
    assert image["id"].startswith("sha256:") and image["has_healthcheck"]
    assert not call("find-image", "small:1")["found"]["has_healthcheck"]
    assert call("find-image", image["id"])["found"]["id"] == image["id"]
    assert call("find-image", "nope:1")["found"] is None
    refused("invalid", call, "find-image", "../containers/json?x=")


def test_import_of_an_empty_image_makes_a_holder(call, create):
    image = call("import-empty", "cairn-holder", "1")["id"]
    assert call("import-empty", "cairn-holder", "1")["id"]
    call("create-volume", "held")
    create("holder", image, command=["none"],
           mounts=[{"kind": "volume", "source": "held", "target": "/held", "no_copy": True}])
    assert call("find", "holder")["found"]["state"] == "created"
    assert [c["name"] for c in call("list", "volume=held")["containers"]] == ["holder"]


def test_pull_by_tag_and_digest(engine, call):
    with Registry(engine) as registry:
        digest = registry.publish("small:1", "app", "v1")
        repository = f"{registry.address}/app"
        assert call("digest", f"{repository}:v1")["digest"] == digest
        engine.client.call("DELETE", f"/images/{repository}:v1")
        assert call("find-image", f"{repository}:v1")["found"] is None

        call("pull", repository, "v1")
        pulled = call("find-image", f"{repository}:v1")["found"]
        assert f"{repository}@{digest}" in pulled["repo_digests"]
        call("pull", repository, digest)
        assert call("find-image", f"{repository}@{digest}")["found"]["id"] == pulled["id"]

        refused("not_found", call, "pull", repository, "nope")
        refused("not_found", call, "digest", f"{repository}:nope")
        refused("invalid", call, "pull", repository, "")
        refused("invalid", call, "pull", f"{repository}:v1", "v1")
        engine.client.call("DELETE", f"/images/{repository}:v1")
    if engine.kind == "docker":  # the fake engine serves its registries itself
        refused("unavailable", call, "pull", repository, "v1")
        refused("unavailable", call, "digest", f"{repository}:v1")


# -- containers ----------------------------------------------------------------------------


def test_a_spec_becomes_the_container(call, create, tmp_path):
    call("create-volume", "data")
    ident = create(
        env=["A=1", "B=ü"], labels={"cairn.test": "x"}, restart_policy="on-failure", restart_retries_max=3,
        stop_timeout_s=7, memory_bytes=64 << 20,
        mounts=[{"kind": "bind", "source": str(tmp_path), "target": "/bind", "read_only": True},
                {"kind": "volume", "source": "data", "target": "/data", "no_copy": True},
                {"kind": "tmpfs", "target": "/scratch"}])
    call("start", ident)
    web = call("find", "web")["found"]
    assert web["id"] == ident and web["name"] == "web" and web["state"] == "running" and web["running"]
    assert web["pid"] > 0 and web["started_ms"] > 1_600_000_000_000 and web["finished_ms"] == 0
    assert {"A=1", "B=ü"} <= set(web["env"]) and web["labels"]["cairn.test"] == "x"
    assert (web["restart_policy"], web["restart_retries_max"], web["stop_timeout_s"]) == ("on-failure", 3, 7)
    mounts = {m["destination"]: m for m in web["mounts"]}
    assert (mounts["/bind"]["kind"], mounts["/bind"]["source"], mounts["/bind"]["read_write"]) == (
        "bind", str(tmp_path), False)
    assert (mounts["/data"]["kind"], mounts["/data"]["name"], mounts["/data"]["read_write"]) == ("volume", "data", True)
    assert web["image_id"] == call("find-image", "small:1")["found"]["id"]


def test_find_takes_no_part_of_an_id(call, create):
    ident = create()
    assert call("find", ident)["found"]["id"] == ident
    assert call("find", ident[:12])["found"] is None
    assert call("find", "nope")["found"] is None
    refused("invalid", call, "find", "../info")
    refused("invalid", call, "find", "")


def test_lifecycle(call, create):
    create(restart_policy="unless-stopped")
    call("start", "web")
    call("start", "web")
    call("pause", "web")
    web = call("find", "web")["found"]
    assert web["state"] == "paused" and web["paused"] and web["running"]
    refused("conflict", call, "pause", "web")
    refused("conflict", call, "exec", "web", "5000", "true")
    call("unpause", "web")
    refused("conflict", call, "unpause", "web")
    call("set-restart-policy", "web", "no", "0")
    assert call("find", "web")["found"]["restart_policy"] == "no"
    call("set-restart-policy", "web", "unless-stopped", "0")
    assert call("find", "web")["found"]["restart_policy"] == "unless-stopped"
    call("rename", "web", "old")
    assert call("find", "web")["found"] is None
    call("stop", "old", 5)
    call("stop", "old", 5)
    old = call("find", "old")["found"]
    assert old["state"] == "exited" and not old["running"] and old["finished_ms"] > 0
    refused("conflict", call, "kill", "old", "SIGTERM")
    refused("conflict", call, "pause", "old")
    call("remove", "old")
    refused("not_found", call, "remove", "old")
    refused("not_found", call, "start", "old")


def test_a_running_container_is_removed_by_force_only(call, create):
    create()
    call("start", "web")
    refused("conflict", call, "remove", "web")
    call("remove", "web", "force")
    assert call("find", "web")["found"] is None


def test_a_taken_name_and_a_missing_image(call, create):
    create()
    refused("conflict", create)
    refused("not_found", create, "other", "nope:1")


def test_wait_and_kill(call, create):
    create("crash", "crash:1")
    call("start", "crash")
    assert call("wait", "crash")["exit_code"] == 3
    create()
    call("start", "web")
    killer = threading.Timer(0.2, lambda: call("kill", "web", "SIGKILL"))
    killer.start()
    assert call("wait", "web")["exit_code"] == 137
    killer.join()


def is_connected(engine):
    """The accepted end has the listener's path, and is listed in the network namespace of the caller."""
    return any(line.endswith(f" {engine.socket}") for line in Path("/proc/net/unix").read_text().splitlines())


def test_an_engine_that_dies_ends_a_waiting_call(engine, call, create):
    create()
    call("start", "web")
    answers = []

    def wait():
        try:
            answers.append(call("wait", "web"))
        except Refused as error:
            answers.append(error.code)

    waiter = threading.Thread(target=wait)
    waiter.start()
    wait_for(lambda: is_connected(engine), 30, "the call's connection")
    engine.kill()
    waiter.join(60)
    assert answers == ["unavailable"]
    refused("unavailable", call, "find", "web")
    engine.start()
    wait_for(lambda: call("find", "web")["found"], 30, "the container")
    call("remove", "web", "force")


def test_list_by_label(call, create):
    create("one", labels={"group": "a", "role": "x"})
    create("two", labels={"group": "a", "role": "y"})
    assert {c["name"] for c in call("list", "group=a")["containers"]} == {"one", "two"}
    assert [c["name"] for c in call("list", "group=a", "role=y")["containers"]] == ["two"]
    assert call("list", "group=b")["containers"] == []
    assert {c["state"] for c in call("list", "role")["containers"]} == {"created"}


def test_health(call, create):
    create("sick", "health:1", command=["sh", "-c", "touch /tmp/sick; exec app idle"])
    create("well", "health:1")
    call("start", "sick")
    call("start", "well")
    wait_for(lambda: call("find", "sick")["found"]["health"] == "unhealthy", 20, "an unhealthy container")
    wait_for(lambda: call("find", "well")["found"]["health"] == "healthy", 20, "a healthy container")
    probes = call("find", "sick")["found"]["health_log"]
    assert probes and probes[-1]["exit_code"] == 1


def test_a_command_that_is_not_there_fails_the_start(call, create):
    create(command=["/nope"])
    with pytest.raises(Refused):
        call("start", "web")
    web = call("find", "web")["found"]
    assert not web["running"] and web["exit_code"] in (126, 127)


# -- output --------------------------------------------------------------------------------


def test_logs(call, create):
    create(command=["sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf half"])
    call("start", "web")
    call("wait", "web")
    logs = call("logs", "web")
    assert logs["out"] == "out 1\nout 2\nout 3\nhalf"
    assert logs["err"] == "err 1\nerr 2\nerr 3\n"
    assert len(call("log-tail", "web", 2)["lines"]) == 2
    assert call("log-tail", "web", 100)["lines"][-1] == "half"
    refused("not_found", call, "logs", "nope")


def test_logs_follow_to_the_end(call, create):
    create(command=["sh", "-c", "echo first; sleep 1; echo last"])
    call("start", "web")
    assert call("follow", "web")["out"] == "first\nlast\n"


def test_exec(call, create):
    create()
    call("start", "web")
    done = call("exec", "web", "5000", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert done["exit_code"] == 4 and sorted(done["output"].split()) == ["err", "out"]
    assert not done["timed_out"] and not done["truncated"]
    missing = call("exec", "web", "5000", "/nope")
    assert missing["exit_code"] in (126, 127) and "nope" in missing["output"]
    start = time.monotonic()
    assert call("exec", "web", "300", "sleep", "30")["timed_out"]
    assert time.monotonic() - start < 20
    flood = call("exec", "web", "20000", "sh", "-c", "head -c 300000 /dev/zero; exit 5")
    assert flood["truncated"] and flood["exit_code"] == 5
    call("stop", "web", 1)
    refused("conflict", call, "exec", "web", "5000", "true")
    refused("not_found", call, "exec", "nope", "5000", "true")


# -- volumes -------------------------------------------------------------------------------


def test_volumes(call, create):
    made = call("create-volume", "data")
    assert made["driver"] == "local" and made["labels"] == {"cairn.test": "1"} and made["options"] == {}
    assert Path(made["mountpoint"]).is_dir()
    assert call("create-volume", "data")["mountpoint"] == made["mountpoint"]
    assert call("find-volume", "data")["found"]["mountpoint"] == made["mountpoint"]
    assert call("find-volume", "dat")["found"] is None
    assert "data" in [v["name"] for v in call("list-volumes")["volumes"]]
    create(mounts=[{"kind": "volume", "source": "data", "target": "/data"}])
    refused("conflict", call, "remove-volume", "data")
    call("remove", "web")
    call("remove-volume", "data")
    refused("not_found", call, "remove-volume", "data")
