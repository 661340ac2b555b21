"""Kills of the daemon, of the real engine and of both in named phases: old or new, running, nothing left behind."""

import json
import os
import threading

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, restore, running, settle, snapshot, workload
from lib.trees import diff_trees, read_tree

KILLS = ["cairnd", "dockerd", "both"]


SLOW_STOP = "trap 'usleep 600000; exit 0' TERM; while :; do sleep 3600 & wait $!; done"


@pytest.fixture(scope="module")
def manor(real_session):
    """The real engine, a daemon, and a workload that is slow enough to be killed in each phase."""
    with Cairnd(real_session) as cairn:
        cairn.slow = workload(healthcheck="exec:test -e /data/.slow && usleep 700000; true",
                              command=["sh", "-c", SLOW_STOP], stop_timeout=5)
        deploy(cairn, cairn.slow)
        data = place(cairn)
        (data / ".slow").write_text("")
        fill(data, "first")
        for number in range(8):
            (data / f"big{number}").write_bytes(bytes([number]) * (2 << 20))
        cairn.first = read_tree(data)
        cairn.ident = snapshot(cairn)
        yield cairn
        cairn.ok("workload", "rm", "web", "--yes", "--wait")


@pytest.fixture
def house(manor):
    """The manor with other live data than the snapshot's; whole again afterwards."""
    data = place(manor)
    (data / "file").write_text("second")
    (data / "big0").write_bytes(b"other")
    manor.second = read_tree(data)
    yield manor
    if not manor.engine.daemon.alive():
        manor.engine.start()
    if not manor.alive():
        manor.start()
    recovered(manor)


def journal_states(cairn) -> set:
    """The states that the journals of running operations have reached."""
    found = set()
    for file in (cairn.data / "journal").iterdir():
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        found |= {word for word in ("PLANNED", "STAGED", "QUIESCED", "EXCHANGING", "COMMITTED", "HEALTHY", "CAPTURING")
                  if word.encode() in content}
    return found


def phase_of(cairn) -> str:
    newest = cairn.http("GET", "/api/operations?limit=5").json()["operations"]
    going = [one["phase"] for one in newest if one["state"] == "running"]
    return going[0] if going else ""


def kill(cairn, what: str, order: str = "engine first") -> None:
    """Kills and starts again; the engine's containers go on meanwhile, as with a real crash of the engine."""
    engine = cairn.engine
    if what in ("cairnd", "both"):
        cairn.kill()
    if what in ("dockerd", "both"):
        engine.kill()
    if order == "cairnd first" and what == "both":
        cairn.start(wait=False)
        wait_for(lambda: served(cairn), 30, "the daemon without an engine")
        engine.start()
        return
    if what in ("dockerd", "both"):
        engine.start()
    if what in ("cairnd", "both"):
        cairn.start()


def served(cairn) -> bool:
    try:
        return cairn.http("GET", "/healthz", timeout=5).status == 200
    except OSError:
        return False


def recovered(cairn) -> None:
    """Waits until nothing is recovering, no operation runs and the workload's container is up."""
    wait_for(lambda: served(cairn) and cairn.ready(), 60, "recovery")

    def quiet():
        listed = cairn.http("GET", "/api/operations?limit=50").json()["operations"]
        return all(one["state"] != "running" for one in listed)

    wait_for(quiet, 90, "the end of all operations")
    wait_for(lambda: running(cairn), 60, "the workload's container")


def assert_sound(cairn) -> str:
    """Old or new, byte for byte; running once, on these very data; nothing left behind. Which it is."""
    recovered(cairn)
    data = place(cairn)
    live = read_tree(data)
    state = "first" if (data / "file").read_text() == "first" else "second"
    expected = cairn.first if state == "first" else cairn.second
    assert diff_trees(expected, live) == []
    (one,) = running(cairn)
    seen = cairn.engine.client.inspect(one["container_id"])
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped" and not seen["State"]["Paused"]
    code, out, err = cairn.engine.client.exec(one["container_id"], ["cat", "/data/file"])
    assert (code, out.decode()) == (0, state), err
    cairn.assert_clean()
    return state


@pytest.mark.parametrize("what", KILLS)
@pytest.mark.parametrize("phase", ["STAGED", "QUIESCED", "COMMITTED"])
def test_a_restore_that_is_killed(house, phase, what):
    """STAGED: while the container stops. QUIESCED: right at the exchange. COMMITTED: while health is awaited."""
    asked = house.popen("snapshot", "restore", "web", house.ident, "--yes", "--json")
    wait_for(lambda: phase in journal_states(house) or asked.poll() is not None, 60, phase, pause=0.001)
    kill(house, what)
    out, _ = asked.communicate(timeout=120)
    state = assert_sound(house)
    if what == "dockerd" and asked.returncode == 0:
        assert json.loads(out)["status"] == "restored" and state == "first"
    if what != "dockerd" and asked.returncode != 0:
        kinds = {one["kind"] for one in house.ok("events", "ls", "--limit", "200")["events"]}
        assert any("restore" in kind or "recover" in kind for kind in kinds), kinds
    if state == "second" and what == "both":  # what comes next works as ever
        settle(house, restore(house, house.ident, "--wait"))
        assert assert_sound(house) == "first"


@pytest.mark.parametrize("what", KILLS)
def test_a_capture_that_is_killed_in_its_pause(house, what):
    before = [one["id"] for one in house.ok("snapshot", "ls", "web")["snapshots"]]
    more = place(house) / f"more-{what}"
    more.write_bytes(os.urandom(256 << 20))
    house.second = read_tree(place(house))
    container = running(house)[0]["container_id"]
    touched = os.stat(more)
    over = threading.Event()

    def touch():
        # Its change time is always fresh, so the cut must put it aside: the pause takes a while.
        while not over.wait(0.001):
            os.utime(more, ns=(touched.st_atime_ns, touched.st_mtime_ns))

    toucher = threading.Thread(target=touch)
    toucher.start()
    asked = house.popen("snapshot", "create", "web", "--json")

    def paused():
        return asked.poll() is not None or house.engine.client.state(container)["Paused"]

    wait_for(paused, 60, "the pause", pause=0.002)
    kill(house, what)
    over.set()
    toucher.join()
    asked.communicate(timeout=120)
    assert assert_sound(house) == "second"
    after = house.ok("snapshot", "ls", "web")["snapshots"]
    for one in after:
        if one["id"] not in before:
            assert one["state"] == "stored" and house.ok("snapshot", "verify", one["id"])
    more.unlink()


@pytest.mark.parametrize("what", KILLS)
@pytest.mark.parametrize("phase", ["stop", "health"])
def test_a_deploy_that_is_killed(house, phase, what):
    old = house.ok("workload", "show", "web")["release"]["id"]
    house.slow["config"]["env"] = {"NEW": f"{phase}-{what}"}
    house.apply(house.slow)
    asked = house.popen("workload", "deploy", "web", "--json")
    wait_for(lambda: phase_of(house) == phase or asked.poll() is not None, 60, phase, pause=0.002)
    kill(house, what)
    asked.communicate(timeout=120)
    assert assert_sound(house) == "second"
    shown = house.ok("workload", "show", "web")
    seen = house.engine.client.inspect(running(house)[0]["container_id"])
    is_new = f"NEW={phase}-{what}" in seen["Config"]["Env"]
    assert (shown["release"]["id"] == old) is not is_new
    assert len(house.engine.client.containers(label="cairn.workload.id")) == 1
    assert house.ok("workload", "deploy", "web", "--wait")["status"] == ("unchanged" if is_new else "deployed")


def test_while_docker_is_down_the_workload_is_locked_and_the_rest_is_served(house):
    """Docker killed in the hold, the daemon, too; the daemon comes back alone."""
    asked = house.popen("snapshot", "restore", "web", house.ident, "--yes", "--json")
    wait_for(lambda: "COMMITTED" in journal_states(house) or asked.poll() is not None, 60, "COMMITTED", pause=0.001)
    house.kill()
    house.engine.kill()
    asked.communicate(timeout=60)
    house.start(wait=False)
    wait_for(lambda: served(house), 30, "the daemon without an engine")

    waiting = house.http("GET", "/readyz")
    assert waiting.status == 503 and waiting.json()["reasons"][0]["code"] == "recovering"
    shown = house.ok("workload", "show", "web")
    assert shown["state"] == "recovering" and shown["holder"] == "recovering"
    assert house.ok("snapshot", "ls", "web")["snapshots"] and house.ok("system", "info")["engine"]["state"] == "down"
    for arguments in (("snapshot", "restore", "web", house.ident, "--yes"), ("workload", "stop", "web"),
                      ("snapshot", "create", "web")):
        problem = house.fails(*arguments, code=4)
        assert problem["status"] == 409 and problem["holder"] == "recovering", problem
    # Definitions of others are taken meanwhile.
    house.apply(workload("other", volumes=[]))

    house.engine.start()
    assert_sound(house)
    house.ok("workload", "rm", "other", "--yes")


def test_docker_restarted_before_cairnd_with_the_volume_half_exchanged(house):
    """The engine is back first and must not start the container beside the exchange: its policy was "no"."""
    container = running(house)[0]["container_id"]
    asked = house.popen("snapshot", "restore", "web", house.ident, "--yes", "--json")

    def policy():
        return house.engine.client.inspect(container)["HostConfig"]["RestartPolicy"]["Name"]

    # From here on the data may be exchanged; stopping the container takes a while.
    wait_for(lambda: policy() == "no" or asked.poll() is not None, 60, "the policy", pause=0.001)
    house.kill()
    asked.communicate(timeout=60)
    house.engine.kill(containers=True)
    house.engine.start()
    states = {one["State"] for one in house.engine.client.containers(label="cairn.workload.id")}
    if "COMMITTED" not in journal_states(house):
        assert "running" not in states
    house.start()
    assert_sound(house)


def test_a_clean_restart_of_everything_in_any_order(house):
    house.stop()
    house.engine.restart()
    house.start()
    assert assert_sound(house) == "second"
    house.engine.restart()
    assert assert_sound(house) == "second"


def test_a_removal_that_is_killed_goes_on(house):
    deploy(house, workload("going", command=["sh", "-c", SLOW_STOP], stop_timeout=5))
    data = place(house, "going")
    fill(data, "first")
    kept = read_tree(data)
    asked = house.popen("workload", "rm", "going", "--yes")
    wait_for(lambda: phase_of(house) == "remove" or asked.poll() is not None, 30, "the removal", pause=0.002)
    house.kill()
    asked.communicate(timeout=60)
    house.start()
    recovered(house)
    names = [one["name"] for one in house.ok("workload", "ls")["workloads"]]
    if "going" in names:  # not yet durable when it was killed: it is as it was
        assert running(house, "going")
        house.ok("workload", "rm", "going", "--yes", "--wait")
    assert len(house.engine.client.containers(label="cairn.workload.id")) == 1
    assert diff_trees(kept, read_tree(data)) == []


def test_events_say_what_recovery_did(house):
    asked = house.popen("snapshot", "restore", "web", house.ident, "--yes", "--json")
    wait_for(lambda: "QUIESCED" in journal_states(house) or asked.poll() is not None, 60, "QUIESCED", pause=0.001)
    house.kill()
    asked.communicate(timeout=60)
    house.start()
    state = assert_sound(house)
    events = house.ok("events", "ls", "--workload", "web", "--limit", "200")["events"]
    assert any("recover" in one["kind"] or "recover" in one["message"] or "restore." in one["kind"] for one in events), (
        state, [one["kind"] for one in events])
    ended = {one["state"] for one in house.ok("operation", "ls")["operations"] if one["kind"] == "snapshot.restore"}
    assert "running" not in ended


def test_a_socket_path_that_is_somebodys_file_is_left_alone(fake):
    with Cairnd(fake) as cairn:
        cairn.stop()
        cairn.socket.write_text("somebody's file")
        cairn.start(wait=False)
        assert cairn.daemon.process.wait(30) == 1 and cairn.socket.read_text() == "somebody's file"
        cairn.socket.unlink()
        cairn.start()
