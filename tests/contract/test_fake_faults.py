"""The fake engine's own abilities: faults on demand, and surviving a kill at any moment."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest

from lib.dockerapi import wait_for
from lib.engines import FakeDocker, make_empty_image, make_small_image


@pytest.fixture(scope="module")
def shared():
    with FakeDocker() as engine:
        make_small_image(engine, "small:1")
        make_empty_image(engine, "empty:1")
        yield engine


@pytest.fixture
def engine(shared):
    yield shared
    if not shared.daemon.alive():
        shared.daemon.process.wait()
        shared.start()
    shared.clear_faults()
    for container in shared.client.containers():
        shared.client.remove(container["Id"])


def test_the_nth_call_fails_and_only_it(engine):
    engine.client.create("small:1", None, "web")
    engine.fault("status", "POST", "/start$", nth=2, status=503, message="out of order")
    assert engine.client.post("/containers/web/start").status == 204
    answer = engine.client.post("/containers/web/start")
    assert (answer.status, answer.message) == (503, "out of order")
    assert engine.client.post("/containers/web/start").status == 304


def test_a_dropped_call_has_no_effect_and_a_lost_answer_has(engine):
    engine.client.create("small:1", None, "web")
    engine.fault("drop", "POST", "/start$")
    with pytest.raises(OSError):
        engine.client.post("/containers/web/start")
    assert engine.client.state("web")["Status"] == "created"
    engine.fault("drop_after", "POST", "/start$")
    with pytest.raises(OSError):
        engine.client.post("/containers/web/start")
    assert engine.client.state("web")["Status"] == "running"


def test_a_stalled_call_has_its_effect_and_answers_when_the_faults_are_cleared(engine):
    engine.client.create("small:1", None, "web")
    engine.fault("stall_after", "POST", "/start$")
    answers = []
    caller = threading.Thread(target=lambda: answers.append(engine.client.post("/containers/web/start").status))
    caller.start()
    wait_for(lambda: engine.client.state("web")["Status"] == "running", 10, "the effect")
    assert answers == []
    engine.clear_faults()
    caller.join(10)
    assert answers == [204]


def test_a_hanging_call_leaves_the_others_alone(engine):
    engine.client.create("small:1", None, "web")
    engine.fault("hang", "POST", "/start$")
    with pytest.raises(TimeoutError):
        engine.client.post("/containers/web/start", timeout=0.2)
    assert engine.client.state("web")["Status"] == "created"


def test_a_delay(engine):
    engine.fault("delay", "GET", "/info$", seconds=0.2)
    began = time.monotonic()
    assert engine.client.get("/info").status == 200
    assert time.monotonic() - began >= 0.2


def test_a_fault_may_last(engine):
    engine.fault("status", path="/info$", times=0, status=500)
    assert [engine.client.get("/info").status for _ in range(3)] == [500, 500, 500]
    engine.clear_faults()
    assert engine.client.get("/info").status == 200


def test_the_engine_dies_before_or_after_a_call(engine):
    engine.client.create("small:1", None, "web")
    for action, status in (("exit", "created"), ("exit_after", "exited")):
        engine.fault(action, "POST", "/start$")
        with pytest.raises(OSError):
            engine.client.post("/containers/web/start")
        engine.daemon.process.wait()
        engine.start()
        assert engine.client.state("web")["Status"] == status


def test_calls_are_recorded(engine):
    before = len(engine.calls())
    engine.client.get("/containers/nope/json")
    assert engine.calls()[before:] == [{"method": "GET", "path": "/containers/nope/json", "status": 404}]


def test_faults_can_wait_for_the_next_start(engine):
    file = engine.data_root / "faults.json"
    file.write_text(json.dumps([{"action": "status", "path": "/info$", "status": 418}]))
    engine.restart()
    file.unlink()
    assert engine.client.get("/info").status == 418


def test_a_pull_may_fail_inside_its_stream(engine):
    folder = engine.data_root / "registry" / "registry.test%3A5000%2Fbroken"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps({"digest": "sha256:0", "error": "disk on fire"}))
    answer = engine.client.post("/images/create", fromImage="registry.test:5000/broken", tag="1")
    assert answer.status == 200
    assert answer.ndjson()[-1]["error"] == "disk on fire"


def test_a_kill_at_any_moment_leaves_nothing_running_that_it_does_not_know(engine):
    """Kills the engine while starts, stops and removes are under way; nothing may be lost or left."""
    for round in range(8):
        names = [f"r{round}.{n}" for n in range(4)]

        def churn(name):
            try:
                engine.client.create("small:1", None, name, StopTimeout=1)
                while True:
                    engine.client.post(f"/containers/{name}/start")
                    engine.client.post(f"/containers/{name}/kill")
            except OSError:
                pass

        threads = [threading.Thread(target=churn, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        time.sleep(0.05 + round * 0.011)
        engine.kill()
        for thread in threads:
            thread.join()
        engine.start()
        assert not [c for c in engine.client.containers() if c["State"] == "running"]
        wait_for(lambda: not engine.container_pids(), 5, "end of all containers")


def test_a_start_that_was_under_way_at_a_kill_is_found_by_the_next_engine(engine):
    """The spawner is held still over the kill, so that it makes the container for an engine that is gone."""
    ident = engine.client.create("small:1", None, "late")
    spawner = int((engine.data_root / "spawner.pid").read_text())
    os.kill(spawner, signal.SIGSTOP)

    def start():
        with contextlib.suppress(OSError):
            engine.client.post(f"/containers/{ident}/start")

    starting = threading.Thread(target=start)
    starting.start()
    time.sleep(0.3)
    engine.kill()
    starting.join()
    waking = threading.Timer(1.0, os.kill, (spawner, signal.SIGCONT))
    waking.start()
    engine.start()
    waking.join()
    wait_for(lambda: not os.path.exists(f"/proc/{spawner}"), 5, "end of the first spawner, with its last container")
    assert [c["State"] for c in engine.client.containers()] == ["exited"]
    assert not engine.container_pids()


def test_an_engine_that_cannot_start_fails_with_its_log(tmp_path):
    with (
        pytest.raises(AssertionError, match="unrecognized arguments: --absurd"),
        FakeDocker(tmp_path, extra_args=["--absurd"]),
    ):
        pass


def test_a_reset_leaves_only_images(engine):
    engine.client.run("small:1", None, "web", HostConfig={"Binds": ["data1:/data"]})
    engine.client.post("/networks/create", {"Name": "cairn"})
    engine.fault("status", path="/info$")
    engine.reset()
    assert engine.client.containers() == []
    assert engine.client.volume_names() == set()
    assert {n["Name"] for n in engine.client.get("/networks").json()} == {"bridge", "host", "none"}
    assert engine.client.get("/info").status == 200
    assert engine.client.get("/images/small:1/json").status == 200


def test_a_rewind_forgets_what_was_made_since(engine, tmp_path):
    (tmp_path / "volumes").mkdir()  # as saved: no volumes
    for _ in range(2):
        engine.client.run("small:1", None, "web", HostConfig={"Binds": ["data1:/data"]})
        engine.client.post("/networks/create", {"Name": "cairn"})
        assert engine.client.volume_names() == {"data1"} and (engine.volumes_root / "data1" / "_data").is_dir()
        engine.rewind(tmp_path)
        assert engine.client.containers() == [] and engine.client.volume_names() == set()
        assert {n["Name"] for n in engine.client.get("/networks").json()} == {"bridge", "host", "none"}


def test_many_containers_at_once(engine):
    def run(number):
        ident = engine.client.run("small:1", ["sh", "-c", f"echo {number}"], f"many.{number}")
        engine.client.wait_state(ident, "exited")
        results.append((number, engine.client.logs(ident)[0]))

    results = []
    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, f"{number}\n".encode()) for number in range(20)]
