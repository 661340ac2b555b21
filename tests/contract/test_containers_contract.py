"""What Cairn relies on in an engine: containers. One suite, the fake and the real engine."""

import json
import threading
import time
import urllib.parse

import pytest

from lib.dockerapi import EngineClient, unix_request, wait_for


def running(client, name="web", cmd=("app", "idle"), policy="no", image="small:1", **host):
    """A started container whose program has set its signal handlers up (it has begun to sleep)."""
    ident = client.create(image, list(cmd) if cmd else None, name, HostConfig={"RestartPolicy": {"Name": policy}, **host})
    client.start(ident)
    if cmd == ("app", "idle"):
        wait_for(lambda: client.exec(ident, ["sh", "-c", "grep SigCgt /proc/1/status | grep -v 0000000000000000"])[0] == 0,
                 5, "the program")
    return ident


# -- version and errors ------------------------------------------------------------------


def test_ping_names_the_newest_version(client):
    answer = unix_request(client.socket_path, "GET", "/_ping")
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["Api-Version"] == "1.41"
    head = unix_request(client.socket_path, "HEAD", "/_ping")
    assert (head.status, head.body, head.headers["Api-Version"]) == (200, b"", "1.41")
    assert client.get("/version").json()["MinAPIVersion"] == "1.12"


def test_a_newer_version_is_refused(client):
    answer = EngineClient(client.socket_path, "1.52").get("/info")
    assert answer.status == 400
    assert answer.message == "client version 1.52 is too new. Maximum supported API version is 1.41"


def test_info_tells_the_root(engine, client):
    info = client.get("/info").json()
    assert info["DockerRootDir"] == str(engine.data_root)
    assert info["OSType"] == "linux"
    assert isinstance(info["SecurityOptions"], list)


def test_unknown_container_is_404(client):
    for method, path in [("POST", "start"), ("POST", "stop"), ("GET", "json"), ("POST", "pause"), ("GET", "logs?stdout=1")]:
        answer = client.call(method, f"/containers/nope/{path}")
        assert (answer.status, answer.message) == (404, "No such container: nope")


def test_create_of_a_missing_image_is_404(client):
    answer = client.post("/containers/create", {"Image": "nope:1"})
    assert (answer.status, answer.message) == (404, "No such image: nope:1")


def test_a_taken_name_is_409_and_names_the_holder(client):
    ident = client.create("small:1", name="web")
    answer = client.post("/containers/create", {"Image": "small:1"}, name="web")
    assert answer.status == 409
    assert ident in answer.message


def test_names_of_one_letter_are_refused(client):
    assert client.post("/containers/create", {"Image": "small:1"}, name="a").status == 400


# -- start and stop ----------------------------------------------------------------------


def test_created_container_has_never_started(client):
    client.create("small:1", name="web")
    state = client.state("web")
    assert (state["Status"], state["Pid"], state["StartedAt"]) == ("created", 0, "0001-01-01T00:00:00Z")


def test_start_is_304_when_running_and_stop_when_stopped(client):
    ident = running(client)
    assert client.post(f"/containers/{ident}/start").status == 304
    assert client.stop(ident, 5).status == 204
    assert client.stop(ident, 5).status == 304
    state = client.state(ident)
    assert (state["Status"], state["ExitCode"], state["Running"]) == ("exited", 0, False)


def test_stop_kills_after_its_grace(client):
    ident = running(client, cmd=("app", "stubborn"))
    began = time.monotonic()
    client.stop(ident, 1)
    assert time.monotonic() - began >= 0.95
    assert client.state(ident)["ExitCode"] == 137


def test_stop_signal_of_the_container_is_used(client):
    ident = client.create("small:1", ["sh", "-c", "trap 'exit 42' USR1; echo up; while :; do usleep 1000; done"], "web",
                          StopSignal="SIGUSR1")
    client.start(ident)
    wait_for(lambda: client.logs(ident)[0], 5, "trap")
    client.stop(ident, 5)
    assert client.state(ident)["ExitCode"] == 42


def test_the_containers_own_grace_is_the_default_and_zero_kills_at_once(client):
    ident = client.create("small:1", ["app", "stubborn"], "web", StopTimeout=1)
    client.start(ident)
    began = time.monotonic()
    assert client.post(f"/containers/{ident}/stop").status == 204
    assert time.monotonic() - began >= 0.95
    client.start(ident)
    assert client.post(f"/containers/{ident}/stop", t=0).status == 204
    assert client.state(ident)["ExitCode"] == 137


def test_an_unknown_user_is_told_at_start(client):
    ident = client.create("small:1", None, "web", User="nobodyhere")
    answer = client.post(f"/containers/{ident}/start")
    assert (answer.status, "unable to find user nobodyhere" in answer.message) == (500, True)
    assert client.state(ident)["Running"] is False


def test_missing_program_is_400_and_stays_created(client):
    ident = client.create("small:1", ["nonexistent"], "web")
    answer = client.post(f"/containers/{ident}/start")
    assert answer.status == 400
    assert 'exec: "nonexistent": executable file not found in $PATH' in answer.message
    state = client.state(ident)
    assert (state["Status"], state["ExitCode"], state["Running"]) == ("created", 127, False)
    assert "nonexistent" in state["Error"]


def test_init_is_the_program_and_the_pid_is_the_hosts(client):
    ident = running(client)
    with open(f"/proc/{client.state(ident)['Pid']}/cmdline", "rb") as file:
        assert b"app\0idle" in file.read()


def test_restart_call_gives_a_new_process(client):
    ident = running(client)
    before = client.state(ident)["Pid"]
    assert client.post(f"/containers/{ident}/restart", t=5).status == 204
    assert client.state(ident)["Pid"] not in (0, before)


def test_kill_of_a_stopped_container_is_409(client):
    client.create("small:1", name="web")
    answer = client.post("/containers/web/kill")
    assert (answer.status, "is not running" in answer.message) == (409, True)


def test_kill_of_init_kills_all_and_is_137(client):
    ident = running(client, cmd=("sh", "-c", "sleep 1000 & sleep 1000"))
    assert client.post(f"/containers/{ident}/kill").status == 204
    assert client.wait_state(ident, "exited")["ExitCode"] == 137


def test_writable_layer_survives_stop_and_start(client):
    ident = running(client)
    client.exec(ident, ["sh", "-c", "echo kept > /root/file"])
    client.stop(ident, 5)
    client.start(ident)
    assert client.exec(ident, ["cat", "/root/file"])[1] == b"kept\n"


def test_wait_answers_with_the_code(client):
    ident = client.run("small:1", ["sh", "-c", "sleep 0.2; exit 9"])
    assert client.post(f"/containers/{ident}/wait").json()["StatusCode"] == 9


def test_remove_of_a_running_container_needs_force(client):
    ident = running(client)
    answer = client.delete(f"/containers/{ident}")
    assert (answer.status, "cannot remove a running container" in answer.message) == (409, True)
    assert client.delete(f"/containers/{ident}", force=1).status == 204
    assert client.get(f"/containers/{ident}/json").status == 404


def test_rename_frees_the_old_name(client):
    first, second = client.create("small:1", name="one"), client.create("small:1", name="two")
    assert client.post(f"/containers/{first}/rename", name="two").status == 409
    assert client.post(f"/containers/{first}/rename", name="three").status == 204
    assert client.inspect("three")["Id"] == first
    assert client.get("/containers/one/json").status == 404
    assert client.post(f"/containers/{second}/rename", name="one").status == 204


def test_list_filters(client):
    plain = client.create("small:1", name="plain")
    marked = client.create("small:1", name="marked", Labels={"cairn.kind": "x", "other": "y"},
                           HostConfig={"Binds": ["data1:/data"]})
    client.start(marked)

    def ids(**filters):
        return {c["Id"] for c in client.containers(**filters)}

    assert ids() == {plain, marked}
    assert ids(label="cairn.kind") == {marked}
    assert ids(label=["cairn.kind=x", "other=y"]) == {marked}
    assert ids(label="cairn.kind=z") == set()
    assert ids(volume="data1") == {marked}
    assert ids(volume="/data") == {marked}
    assert ids(name="plain") == {plain}
    assert ids(status="running") == {marked}
    assert ids(status=["created"]) == {plain}
    assert {c["Id"] for c in client.containers(all=False)} == {marked}
    entry = [c for c in client.containers() if c["Id"] == marked][0]
    assert abs(entry["Created"] - time.time()) < 60
    assert (entry["Names"], entry["State"], entry["Labels"]["other"]) == (["/marked"], "running", "y")


def test_config_of_image_and_container_are_merged(client):
    ident = client.create("filled:1", None, "web", Env=["B=3", "C=4"], Labels={"mine": "1"})
    config = client.inspect(ident)["Config"]
    assert {"A=1", "B=3", "C=4"} <= set(config["Env"])
    assert config["Labels"] == {"one": "two", "mine": "1"}
    assert config["Cmd"] == ["app", "idle"]


def test_a_user_without_rights(client):
    ident = client.run("small:1", ["id"], "web", User="nobody")
    client.wait_state(ident, "exited")
    assert b"uid=65534(nobody)" in client.logs(ident)[0]


# -- pause -------------------------------------------------------------------------------


def test_pause_freezes_the_whole_tree(client, tmp_path):
    ident = running(client, cmd=("app", "counter", "/data"), Binds=[f"{tmp_path}:/data"])
    wait_for(lambda: (tmp_path / "b").exists(), 5, "counter")
    assert client.post(f"/containers/{ident}/pause").status == 204
    state = client.state(ident)
    assert (state["Status"], state["Running"], state["Paused"]) == ("paused", True, True)

    def read():  # a is replaced by rename, so it is there at every moment
        return (tmp_path / "a").read_bytes()

    before = read()
    time.sleep(0.1)
    assert read() == before
    assert client.post(f"/containers/{ident}/unpause").status == 204
    wait_for(lambda: read() != before, 5, "progress")


def test_paused_container_refuses(client):
    ident = running(client)
    client.post(f"/containers/{ident}/pause")
    refused = [
        client.post(f"/containers/{ident}/pause"),
        client.post(f"/containers/{ident}/start"),
        client.post(f"/containers/{ident}/exec", {"Cmd": ["true"]}),
        client.delete(f"/containers/{ident}"),
    ]
    assert [answer.status for answer in refused] == [409, 409, 409, 409]
    assert client.state(ident)["Status"] == "paused"


def test_unpause_of_a_running_container_is_500(client):
    ident = running(client)
    answer = client.post(f"/containers/{ident}/unpause")
    assert (answer.status, "is not paused" in answer.message) == (500, True)


def test_pause_of_a_stopped_container_is_409(client):
    client.create("small:1", name="web")
    assert client.post("/containers/web/pause").status == 409
    assert client.post("/containers/web/exec", {"Cmd": ["true"]}).status == 409


def test_stop_of_a_paused_container_thaws_it(client):
    ident = running(client)
    client.post(f"/containers/{ident}/pause")
    assert client.stop(ident, 5).status == 204
    state = client.state(ident)
    assert (state["Status"], state["ExitCode"], state["Paused"]) == ("exited", 0, False)


def test_kill_of_a_paused_container(client):
    ident = running(client)
    client.post(f"/containers/{ident}/pause")
    assert client.post(f"/containers/{ident}/kill").status == 204
    assert client.wait_state(ident, "exited")["ExitCode"] == 137


def test_a_paused_container_is_updated_renamed_and_restarted(client):
    ident = running(client)
    client.post(f"/containers/{ident}/pause")
    assert client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "unless-stopped"}}).status == 200
    assert client.post(f"/containers/{ident}/rename", name="other").status == 204
    assert client.state(ident)["Status"] == "paused"
    assert client.post(f"/containers/{ident}/restart", t=5).status == 204
    assert client.state(ident)["Status"] == "running"


def test_forced_remove_of_a_paused_container(client):
    ident = running(client)
    client.post(f"/containers/{ident}/pause")
    assert client.delete(f"/containers/{ident}", force=1).status == 204


# -- restart policy within one life of the engine -----------------------------------------


def test_crash_loop_is_running_and_restarting_in_between(client):
    ident = client.run("crash:1", None, "web", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}})
    state = client.wait_state(ident, "restarting")
    assert (state["Running"], state["Restarting"], state["Pid"], state["ExitCode"]) == (True, True, 0, 3)
    wait_for(lambda: client.inspect(ident)["RestartCount"] >= 2, 10, "restarts")
    client.wait_state(ident, "restarting")
    assert client.post(f"/containers/{ident}/start").status == 304
    assert client.post(f"/containers/{ident}/pause").status == 409
    assert client.post(f"/containers/{ident}/exec", {"Cmd": ["true"]}).status == 409
    assert client.stop(ident, 5).status == 204
    assert client.state(ident)["Status"] == "exited"


def test_policy_no_does_not_restart(client):
    ident = client.run("crash:1", None, "web")
    assert client.wait_state(ident, "exited")["ExitCode"] == 3
    assert client.inspect(ident)["RestartCount"] == 0


def test_on_failure_gives_up_after_its_count(client):
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    ident = client.run("crash:1", None, "web", HostConfig={"RestartPolicy": policy})
    client.wait_state(ident, "exited")
    assert client.inspect(ident)["RestartCount"] == 2


def test_on_failure_leaves_success_alone(client):
    ident = client.run("small:1", ["true"], "web", HostConfig={"RestartPolicy": {"Name": "on-failure"}})
    client.wait_state(ident, "exited")
    assert client.inspect(ident)["RestartCount"] == 0


def test_a_killed_init_is_restarted_by_policy(client):
    import os

    ident = running(client, policy="unless-stopped")
    before = client.state(ident)["Pid"]
    os.kill(before, 9)
    client.wait_state(ident, lambda s: s["Status"] == "running" and s["Pid"] not in (0, before))
    assert client.inspect(ident)["RestartCount"] == 1


def test_a_stopped_or_killed_container_is_not_restarted(client):
    for verb in ("stop", "kill"):
        ident = running(client, f"web-{verb}", policy="unless-stopped")
        assert client.post(f"/containers/{ident}/{verb}").status == 204
        client.wait_state(ident, "exited")
        time.sleep(0.3)
        assert client.state(ident)["Status"] == "exited"


def test_any_signal_by_the_kill_call_ends_the_restart_policy(client):
    """Even one that the program ignores: a crash long after it is taken for a stop by hand."""
    import os

    ident = running(client, policy="unless-stopped")
    assert client.post(f"/containers/{ident}/kill", signal="USR2").status == 204
    assert client.state(ident)["Status"] == "running"
    os.kill(client.state(ident)["Pid"], 9)
    client.wait_state(ident, "exited")
    time.sleep(0.3)
    assert client.state(ident)["Status"] == "exited"


def test_auto_remove(client):
    host = {"AutoRemove": True, "RestartPolicy": {"Name": "unless-stopped"}}
    assert client.post("/containers/create", {"Image": "small:1", "HostConfig": host}).status == 400
    ident = client.run("small:1", ["true"], "web", HostConfig={"AutoRemove": True})
    wait_for(lambda: client.get(f"/containers/{ident}/json").status == 404, 10, "removal")


def test_update_of_the_policy_is_seen_and_obeyed(client):
    import os

    ident = running(client, policy="unless-stopped")
    assert client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "no"}}).status == 200
    assert client.inspect(ident)["HostConfig"]["RestartPolicy"]["Name"] == "no"
    os.kill(client.state(ident)["Pid"], 9)
    assert client.wait_state(ident, "exited")["ExitCode"] == 137
    client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "unless-stopped"}})
    time.sleep(0.3)
    assert client.state(ident)["Status"] == "exited"


def test_update_of_a_crash_loop_to_no_ends_it(client, tmp_path):
    """The restart that was waiting still happens, then the container stays down."""
    ident = client.run("small:1", ["sh", "-c", "echo x >> /data/starts; exit 3"], "web",
                       HostConfig={"RestartPolicy": {"Name": "unless-stopped"}, "Binds": [f"{tmp_path}:/data"]})
    wait_for(lambda: client.inspect(ident)["RestartCount"] == 3, 10, "the third restart to be planned")
    client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "no"}})
    client.wait_state(ident, "exited")
    assert len((tmp_path / "starts").read_text().split()) == 4
    assert client.inspect(ident)["RestartCount"] == 3


def test_policy_no_takes_no_count(client):
    ident = client.create("small:1", name="web")
    body = {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 3}}
    assert client.post(f"/containers/{ident}/update", body).status == 400


def test_start_resets_the_restart_count(client):
    ident = client.run("crash:1", None, "web", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}})
    wait_for(lambda: client.inspect(ident)["RestartCount"] >= 2, 10, "restarts")
    client.stop(ident, 2)
    client.post(f"/containers/{ident}/update", {"RestartPolicy": {"Name": "no"}})
    client.start(ident)
    client.wait_state(ident, "exited")
    assert client.inspect(ident)["RestartCount"] == 0


# -- exec and logs -----------------------------------------------------------------------


def test_exec_gives_streams_and_code(client):
    ident = running(client)
    assert client.exec(ident, ["sh", "-c", "echo out; echo err >&2; exit 7"]) == (7, b"out\n", b"err\n")
    code, out, _ = client.exec(ident, ["sh", "-c", "echo $X $(pwd) $(id -u)"], Env=["X=y"], WorkingDir="/tmp", User="nobody")
    assert (code, out) == (0, b"y /tmp 65534\n")


def test_exec_of_a_missing_program_is_126(client):
    ident = running(client)
    code, out, _ = client.exec(ident, ["nonexistent"])
    assert (code, b"executable file not found" in out) == (126, True)


def test_exec_by_upgrade_carries_standard_input(client):
    import socket

    ident = running(client)
    body = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Cmd": ["cat"]}
    run = client.post(f"/containers/{ident}/exec", body).json()["Id"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(client.socket_path)
        payload = b'{"Detach":false,"Tty":false}'
        sock.sendall(
            f"POST /v1.41/exec/{run}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload
        )
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(4096)
        head, rest = data.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101")
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        while chunk := sock.recv(4096):
            rest += chunk
    assert rest == b"\x01\0\0\0\0\0\0\x05hello"
    wait_for(lambda: not client.get(f"/exec/{run}/json").json()["Running"], 5, "the end")
    assert client.get(f"/exec/{run}/json").json()["ExitCode"] == 0


def test_a_detached_exec_goes_on(client):
    ident = running(client)
    run = client.post(f"/containers/{ident}/exec", {"Cmd": ["sh", "-c", "sleep 0.2; exit 5"]}).json()["Id"]
    assert client.post(f"/exec/{run}/start", {"Detach": True}).status == 200
    info = wait_for(lambda: (lambda i: i if not i["Running"] else None)(client.get(f"/exec/{run}/json").json()), 5, "end")
    assert info["ExitCode"] == 5


def test_a_container_tells_its_execs_until_they_end(client):
    ident = running(client)
    assert client.inspect(ident)["ExecIDs"] is None
    wait = "while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 3"
    run = client.post(f"/containers/{ident}/exec", {"Cmd": ["sh", "-c", wait]}).json()["Id"]

    def view():
        told = client.get(f"/exec/{run}/json").json()
        return told["Running"], told["Pid"], told["ExitCode"]

    assert client.inspect(ident)["ExecIDs"] == [run] and view() == (False, 0, None), "made, and not started"
    assert client.post(f"/exec/{run}/start", {"Detach": True}).status == 200
    pid = wait_for(lambda: view()[1], 5, "the start")
    assert client.inspect(ident)["ExecIDs"] == [run] and view() == (True, pid, None)
    client.exec(ident, ["touch", "/tmp/go"])
    wait_for(lambda: not view()[0], 5, "the end")
    assert view()[2] == 3
    wait_for(lambda: client.inspect(ident)["ExecIDs"] is None, 5, "the end of what is told of it")


def test_exec_dies_with_its_container(client):
    ident = running(client)
    run = client.post(f"/containers/{ident}/exec", {"Cmd": ["sleep", "1000"]}).json()["Id"]
    client.post(f"/exec/{run}/start", {"Detach": True})
    pid = wait_for(lambda: client.get(f"/exec/{run}/json").json()["Pid"], 5, "pid")
    client.stop(ident, 2)

    def gone():
        try:
            with open(f"/proc/{pid}/stat") as file:
                return " Z " in file.read()
        except OSError:
            return True

    wait_for(gone, 5, "end of the exec")


def test_unknown_exec_is_404(client):
    assert client.get("/exec/nope/json").status == 404


def test_logs_are_framed_and_keep_both_streams(client):
    ident = client.run("small:1", ["sh", "-c", "echo one; echo two >&2; printf three"], "web")
    client.wait_state(ident, "exited")
    assert client.logs(ident) == (b"one\nthree", b"two\n")
    assert client.logs(ident, stderr=0)[1] == b""
    assert client.logs(ident, tail=1)[0] == b"three"
    assert client.get("/containers/web/logs").status == 400


def test_followed_logs_end_with_the_container(client):
    ident = client.run("small:1", ["sh", "-c", "echo one; sleep 0.3; echo two"], "web")
    assert client.logs(ident, follow=1)[0] == b"one\ntwo\n"


def test_logs_of_all_starts_are_kept(client):
    ident = client.run("small:1", ["echo", "hello"], "web")
    client.wait_state(ident, "exited")
    client.start(ident)
    client.wait_state(ident, "exited")
    assert client.logs(ident)[0] == b"hello\nhello\n"


# -- health ------------------------------------------------------------------------------


def test_health_goes_from_starting_to_healthy_to_unhealthy(client):
    ident = client.create("health:1", None, "web")
    assert "Health" not in client.state(ident)
    client.start(ident)
    assert client.state(ident)["Health"]["Status"] == "starting"
    client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy")
    client.exec(ident, ["touch", "/tmp/sick"])
    state = client.wait_state(ident, lambda s: s["Health"]["Status"] == "unhealthy")
    assert state["Health"]["FailingStreak"] >= 2
    assert state["Health"]["Log"][-1]["ExitCode"] == 1
    assert state["Running"]


def test_a_pause_makes_a_healthy_container_unhealthy_until_the_next_probe(client):
    ident = client.run("health:1", None, "web", Healthcheck={"Interval": 700_000_000})
    client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy")
    client.post(f"/containers/{ident}/pause")
    health = client.state(ident)["Health"]
    assert (health["Status"], health["FailingStreak"]) == ("unhealthy", 0)
    client.post(f"/containers/{ident}/unpause")
    assert client.state(ident)["Health"]["Status"] == "unhealthy"
    client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy")


def test_a_stopped_container_is_unhealthy_and_a_started_one_starting(client):
    ident = client.run("health:1", None, "web")
    client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy")
    client.stop(ident, 5)
    assert client.state(ident)["Health"]["Status"] == "unhealthy"
    client.start(ident)
    assert client.state(ident)["Health"]["Status"] == "starting"


def test_health_can_be_turned_off_by_the_container(client):
    ident = client.run("health:1", None, "web", Healthcheck={"Test": ["NONE"]})
    assert "Health" not in client.state(ident)


# -- ports and events ----------------------------------------------------------------------


def test_a_published_port_is_free_again_when_its_container_stops(client):
    ports = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "28080"}]}}
    first = client.create("small:1", None, "one", ExposedPorts={"80/tcp": {}}, HostConfig=ports)
    second = client.create("small:1", None, "two", ExposedPorts={"80/tcp": {}}, HostConfig=ports)
    client.start(first)
    answer = client.post(f"/containers/{second}/start")
    assert (answer.status, "port is already allocated" in answer.message) == (500, True)
    assert client.state(second)["Status"] == "created"
    client.stop(first, 1)
    client.start(second)


def test_http_from_outside(engine, client, tmp_path):
    (tmp_path / "index.html").write_text("hello")
    ident = client.run("small:1", ["app", "http", "8088", "/data"], "web", HostConfig={"Binds": [f"{tmp_path}:/data"]})
    address = client.inspect(ident)["NetworkSettings"]["IPAddress"]

    def fetch():
        try:
            with engine.connect(address, 8088) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                while chunk := sock.recv(4096):
                    data += chunk
                return data
        except OSError:
            return b""

    assert wait_for(fetch, 5, "the server").endswith(b"hello")


def test_events_tell_start_and_die(client):
    seen = []
    since = int(time.time())
    filters = urllib.parse.quote(json.dumps({"type": ["container"], "label": ["watched=1"]}))
    target = f"/v1.41/events?since={since}&until={since + 6}&filters={filters}"

    def read():
        seen.extend(unix_request(client.socket_path, "GET", target, timeout=20).ndjson())

    thread = threading.Thread(target=read)
    thread.start()
    ident = client.create("small:1", ["true"], "web", Labels={"watched": "1"})
    client.start(ident)
    client.wait_state(ident, "exited")
    thread.join()
    assert [e["Action"] for e in seen if e["Actor"]["ID"] == ident][:3] == ["create", "start", "die"]
    assert [e for e in seen if e["Action"] == "die"][0]["Actor"]["Attributes"]["exitCode"] == "0"


@pytest.mark.parametrize("body", [b"{", b'{"Image": 5}'])
def test_malformed_create_changes_nothing(client, body):
    headers = {"Content-Type": "application/json"}
    assert client.call("POST", "/containers/create", None, body, headers).status in (400, 500)
    assert client.containers() == []
