"""What Cairn relies on in an engine: what a stop, a kill and a new start do to containers.

A clean stop stops the containers without marking them as stopped by hand; the next start obeys
the restart policies. A kill leaves containers running; the next engine stops them first, and
that stop counts as one by hand: `unless-stopped` containers stay down.
"""

import os

import pytest

from lib.dockerapi import wait_for

STOP_TIMEOUT_S = 1  # a stubborn container costs this much at each engine start


def make(client, name, policy, cmd=("app", "idle"), **host):
    ident = client.create("small:1", list(cmd), name, StopTimeout=STOP_TIMEOUT_S,
                          HostConfig={"RestartPolicy": {"Name": policy}, **host})
    return ident


def up(client, ident):
    """Starts, and waits until the program has set its signal handlers up."""
    client.start(ident)
    wait_for(lambda: client.exec(ident, ["sh", "-c", "grep SigCgt /proc/1/status | grep -v 0000000000000000"])[0] == 0,
             5, "the program")
    return ident


def statuses(client):
    return {c["Names"][0][1:]: c["State"] for c in client.containers()}


def bring_up_all(client):
    for policy in ("no", "on-failure", "unless-stopped"):
        up(client, make(client, f"{policy}.ran", policy))
        paused = up(client, make(client, f"{policy}.paused", policy))
        client.post(f"/containers/{paused}/pause")
        stopped = up(client, make(client, f"{policy}.stopped", policy))
        client.stop(stopped, 5)
        make(client, f"{policy}.created", policy)
        client.start(make(client, f"{policy}.stubborn", policy, ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")))


def test_clean_restart(engine, client):
    bring_up_all(client)
    engine.restart()
    found = statuses(client)
    assert {name for name, state in found.items() if state == "running"} == {
        "unless-stopped.ran", "unless-stopped.paused", "unless-stopped.stubborn",
        "on-failure.stubborn",  # its exit code is 137
    }
    assert {name for name, state in found.items() if state == "created"} == {
        "no.created", "on-failure.created", "unless-stopped.created"}
    assert client.state("no.ran")["ExitCode"] == 0
    assert client.state("no.paused")["ExitCode"] == 0
    assert client.state("no.stubborn")["ExitCode"] == 137
    # "paused" is not remembered.
    assert client.state("unless-stopped.paused")["Paused"] is False


def test_kill_of_the_engine_leaves_containers_running_and_the_next_one_stops_them(engine, client):
    bring_up_all(client)
    pids = {name: client.state(name)["Pid"] for name, state in statuses(client).items() if state in ("running", "paused")}
    engine.kill()
    assert all(os.path.exists(f"/proc/{pid}/root/usr") for pid in pids.values())
    engine.start()
    found = statuses(client)
    assert {name for name, state in found.items() if state == "running"} == {"on-failure.stubborn"}
    assert {name for name, state in found.items() if state == "created"} == {
        "no.created", "on-failure.created", "unless-stopped.created"}
    assert not any(os.path.exists(f"/proc/{pid}/root/usr") for pid in pids.values())
    for name in ("no.paused", "unless-stopped.paused", "unless-stopped.ran"):
        state = client.state(name)
        assert (state["Status"], state["Paused"], state["ExitCode"]) == ("exited", False, 0)
    assert client.state("unless-stopped.stubborn")["ExitCode"] == 137


def test_after_such_a_stop_unless_stopped_stays_down_over_clean_restarts(engine, client):
    up(client, make(client, "web", "unless-stopped"))
    engine.kill()
    engine.start()
    assert client.state("web")["Status"] == "exited"
    engine.restart()
    assert client.state("web")["Status"] == "exited"
    up(client, "web")
    engine.restart()
    assert client.state("web")["Status"] == "running"


def test_kill_of_everything_obeys_the_policies(engine, client):
    """As after a power failure: no container has outlived the engine."""
    bring_up_all(client)
    engine.kill(containers=True)
    engine.start()
    found = statuses(client)
    assert {name for name, state in found.items() if state == "running"} == {
        f"{policy}.{what}" for policy in ("on-failure", "unless-stopped") for what in ("ran", "paused", "stubborn")}
    assert client.state("no.ran")["ExitCode"] == 255
    assert client.state("no.stopped")["ExitCode"] == 0
    assert client.state("no.created")["Status"] == "created"


def test_policy_no_set_before_a_kill_keeps_it_down(engine, client):
    ident = up(client, make(client, "web", "unless-stopped"))
    client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "no"}})
    engine.kill(containers=True)
    engine.start()
    state = client.state(ident)
    assert (state["Status"], state["ExitCode"]) == ("exited", 255)
    assert client.inspect(ident)["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_policy_put_back_on_a_stopped_container_does_not_start_it_until_the_engine_does(engine, client):
    """A container that was stopped by hand stays down, whatever its policy becomes."""
    ident = up(client, make(client, "web", "no"))
    client.stop(ident, 5)
    client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "unless-stopped"}})
    assert client.state(ident)["Status"] == "exited"
    engine.restart()
    assert client.state(ident)["Status"] == "exited"


def test_a_container_that_ended_by_itself_is_started_by_unless_stopped(engine, client):
    ident = client.run("small:1", ["true"], "web")
    client.wait_state(ident, "exited")
    client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "unless-stopped"}})
    engine.restart()
    wait_for(lambda: client.inspect(ident)["RestartCount"] > 0, 10, "a start by policy")


def test_a_crash_loop_goes_on_after_a_restart(engine, client):
    ident = client.run("crash:1", None, "web", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}})
    client.wait_state(ident, "restarting")
    engine.restart()
    before = client.state(ident)["StartedAt"]
    wait_for(lambda: client.state(ident)["StartedAt"] != before, 10, "another start")


def test_everything_else_survives_a_kill(engine, client):
    client.volume_create("data1", Labels={"cairn": "1"})
    network = client.post("/networks/create", {"Name": "kept", "Labels": {"cairn": "1"}}).json()["Id"]
    ident = make(client, "web", "no", Binds=["data1:/data"])
    up(client, ident)
    client.exec(ident, ["sh", "-c", "echo layer > /root/x; echo volume > /data/x"])
    client.post(f"/containers/{ident}/rename", name="renamed")
    engine.kill()
    engine.start()
    try:
        assert client.get("/volumes/data1").json()["Labels"] == {"cairn": "1"}
        assert client.get("/networks/kept").json()["Id"] == network
        assert client.inspect("renamed")["Id"] == ident
        up(client, ident)
        assert client.exec(ident, ["cat", "/root/x", "/data/x"])[1] == b"layer\nvolume\n"
    finally:
        client.remove(ident)
        client.delete("/networks/kept")


def test_logs_are_kept_while_the_engine_is_down_or_lost_but_not_garbled(engine, client):
    ident = client.run("small:1", ["sh", "-c", "echo one; trap 'exit 0' TERM; while :; do usleep 1000; done"], "web")
    wait_for(lambda: client.logs(ident)[0], 5, "output")
    engine.kill()
    engine.start()
    assert client.logs(ident)[0].startswith(b"one\n")


def test_a_killed_engine_does_not_answer(engine, client):
    engine.kill()
    with pytest.raises(OSError):
        client.get("/_ping")
    engine.start()
    assert client.get("/_ping").status == 200


def test_health_after_a_restart_begins_anew(engine, client):
    ident = client.run("health:1", None, "web", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}})
    client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy")
    engine.restart()
    client.wait_state(ident, lambda s: s["Running"] and s["Health"]["Status"] == "healthy")


def test_binds_are_resolved_anew_when_the_engine_restarts_a_container(engine, client, tmp_path):
    live = tmp_path / "live"
    live.mkdir()
    (live / "name").write_text("old")
    ident = up(client, make(client, "web", "unless-stopped", Binds=[f"{live}:/data"]))
    live.rename(tmp_path / "aside")
    live.mkdir()
    (live / "name").write_text("new")
    assert client.exec(ident, ["cat", "/data/name"])[1] == b"old"
    engine.restart()
    client.wait_state(ident, "running")
    assert client.exec(ident, ["cat", "/data/name"])[1] == b"new"
