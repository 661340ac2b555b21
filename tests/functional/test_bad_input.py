"""What is wrong is said clearly, and changes nothing."""

import contextlib
import json
import os
import socket
import subprocess
import threading

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.engines import make_small_image
from lib.jobs import deploy, fill, place, reasons, restore, running, set_base, settle, snapshot, workload
from lib.loopfs import LoopFs
from lib.trees import diff_trees, read_tree

BIG = 10 << 20


def view(cairn) -> dict:
    """What a person can see of the catalog, without what only moves with time."""
    names = [one["name"] for one in cairn.ok("workload", "ls")["workloads"]]
    return {
        "workloads": [{**cairn.ok("workload", "show", name), "updated_at": None} for name in names],
        "volumes": [cairn.ok("volume", "ls", name) for name in names],
        "snapshots": cairn.ok("snapshot", "ls"),
        "undos": cairn.ok("restore", "ls"),
        "settings": cairn.ok("system", "settings", "ls"),
    }


@contextlib.contextmanager
def nothing_changes(cairn, tree=None, engine=True):
    """Catalog, volumes, journal and containers are the same afterwards."""
    root = tree or cairn.data / "volumes"
    catalog, trees = view(cairn), read_tree(root)
    containers = {one["Id"]: one["State"] for one in cairn.engine.client.containers()} if engine else {}
    yield
    assert view(cairn) == catalog
    assert diff_trees(trees, read_tree(root), times=False) == []
    assert os.listdir(cairn.data / "journal") == []
    if engine:
        assert {one["Id"]: one["State"] for one in cairn.engine.client.containers()} == containers


def apply_text(cairn, text, kind="json") -> dict:
    file = cairn.base / f"wrong.{kind}"
    file.write_text(text)
    return cairn.fails("workload", "apply", "-f", file)


@pytest.fixture
def ready(cairn):
    """A daemon with a running workload that has data and a snapshot."""
    deploy(cairn, workload())
    fill(place(cairn), "first")
    cairn.ident = snapshot(cairn)
    (place(cairn) / "file").write_text("second")
    return cairn


def test_unknown_names(ready):
    with nothing_changes(ready):
        for arguments in (("workload", "show", "no"), ("workload", "deploy", "no"), ("workload", "stop", "no"),
                          ("workload", "start", "no"), ("workload", "rm", "no", "--yes"), ("workload", "logs", "no"),
                          ("volume", "ls", "no"), ("snapshot", "create", "no"), ("snapshot", "ls", "no"),
                          ("snapshot", "restore", "no", ready.ident, "--yes"),
                          ("snapshot", "restore", "web", "snap_none", "--yes"),
                          ("snapshot", "show", "snap_none"), ("snapshot", "rm", "snap_none", "--yes"),
                          ("restore", "show", "undo_none"), ("restore", "undo", "undo_none", "--yes"),
                          ("restore", "discard", "undo_none", "--yes"), ("operation", "show", "op_none"),
                          ("system", "settings", "get", "none"), ("system", "settings", "set", "none", "1")):
            problem = ready.fails(*arguments, code=3)
            assert problem["status"] == 404 and problem["detail"], arguments


def test_a_wrong_or_missing_confirmation(ready):
    path = f"/api/workloads/web/snapshots/{ready.ident}/restore"
    with nothing_changes(ready):
        for headers in ({}, {"X-Confirm-Restore": ""}, {"X-Confirm-Restore": "yes"},
                        {"X-Confirm-Restore": ready.ident + "0"}, {"X-Confirm-Restore": ready.ident.upper()}):
            answer = ready.http("POST", path, headers=headers, body={})
            assert answer.status == 400 and ready.ident in answer.json()["detail"]
        answer = ready.http("DELETE", "/api/workloads/web")
        assert answer.status == 400


def test_a_snapshot_of_another_workload(ready):
    deploy(ready, workload("other"))
    with nothing_changes(ready):
        problem = ready.fails("snapshot", "restore", "other", ready.ident, "--yes")
        assert problem["status"] == 400 and "another workload" in problem["detail"]
        assert ready.fails("snapshot", "rm", "other", ready.ident, "--yes")["status"] == 400
    ready.ok("snapshot", "restore", "web", ready.ident, "--dry-run")


@pytest.mark.parametrize("document, field", [
    ({"name": "x", "kind": "compose", "config": {"image": "small"}}, "kind"),
    ({"name": "x", "kind": "image"}, "config"),
    ({"name": "x", "kind": "image", "config": {}}, "config.image"),
    ({"name": "X", "kind": "image", "config": {"image": "small"}}, "name"),
    ({"name": "../x", "kind": "image", "config": {"image": "small"}}, "name"),
    ({"name": "x", "kind": "image", "colour": 1, "config": {"image": "small"}}, "colour"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "colour": 1}}, "config.colour"),
    ({"name": "x", "kind": "image", "config": {"image": "a b"}}, "config.image"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "port": 70000}}, "config.port"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "port": "80"}}, "config.port"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "pull": "sometimes"}}, "config.pull"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "handover": "now"}}, "config.handover"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "healthcheck": "maybe"}}, "config.healthcheck"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "healthcheck": "/x"}}, "config.port"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "publish": ["x:1"]}}, "config.publish[0]"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "memory_limit": 1}}, "config.memory_limit"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "stop_timeout": -1}}, "config.stop_timeout"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "env": {"A=B": "1"}}}, "config.env"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "volumes": [{"target": "/d", "scope": "galaxy"}]}},
     "config.volumes[0].scope"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "volumes": [
        {"target": "d", "scope": "stage", "source": "data"}]}}, "config.volumes[0].target"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "volumes": [
        {"target": "/d", "scope": "stage", "source": "../../etc"}]}}, "config.volumes[0].source"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "volumes": [
        {"target": "/d", "scope": "stage", "source": ".cairn/x"}]}}, "config.volumes[0].source"),
    ({"name": "x", "kind": "image", "config": {"image": "small", "volumes": [
        {"target": "/d", "scope": "stage", "source": "data", "mode": 1}]}}, "config.volumes[0].mode"),
    ({"name": "x", "kind": "image", "public_faces": [{"subdomain": "A B"}], "config": {"image": "small"}},
     "public_faces[0].subdomain"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_every_fault_of_a_definition_names_its_field(shared, document, field):
    problem = apply_text(shared, json.dumps(document))
    assert problem["status"] == 400
    assert any(one["target"].startswith(field) for one in problem["reasons"]), problem["reasons"]
    assert shared.ok("workload", "ls")["workloads"] == []


@pytest.fixture(scope="module")
def shared(fake_session):
    """One daemon for refusals that leave nothing anyway."""
    with Cairnd(fake_session) as daemon:
        yield daemon


def test_all_faults_at_once(shared):
    problem = apply_text(shared, json.dumps({"name": "_", "kind": "image", "config": {"port": -1, "pull": "no", "x": 1}}))
    assert {one["target"] for one in problem["reasons"]} >= {"name", "config.port", "config.pull", "config.x", "config.image"}


@pytest.mark.parametrize("text, kind", [
    ("", "json"), ("{", "json"), ("[]", "json"), ("null", "json"), ('{"name": "x",}', "json"), ("\x00\x01", "json"),
    ('{"name":' * 100_000, "json"), ("[" * 500_000, "json"), ('{"name":"x","name":"y"}', "json"),
    ('{"name":"\\ud800","kind":"image","config":{"image":"small"}}', "json"),
    ("name = ", "toml"), ("[config\n", "toml"), ("a = 1\na = 2\n", "toml"), ("= [" * 10_000, "toml"),
    ("x = " + "[" * 50_000, "toml"),
], ids=range(15))
def test_malformed_text(shared, text, kind):
    problem = apply_text(shared, text, kind)
    assert problem["status"] == 400 and problem["detail"]
    assert shared.alive() and shared.ok("workload", "ls")["workloads"] == []


@pytest.mark.parametrize("path, method", [
    ("/api/workloads/web/deploy", "POST"), ("/api/workloads/web/snapshots", "POST"),
    ("/api/workloads/web/stop", "POST"), ("/api/workloads/web/volumes", "PUT"), ("/api/settings/network", "PUT"),
])
def test_malformed_bodies(ready, path, method):
    with nothing_changes(ready):
        for body in (b"{", b"[1]", b"\xff\xfe", b'{"unknown":1}', b'{"wait":"yes"}', b"{" * 100_000):
            answer = ready.http(method, path, body=body, headers={"Content-Type": "application/json"})
            assert answer.status == 400, (body[:20], str(answer))
            assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_ten_mebibytes(ready):
    with nothing_changes(ready):
        document = workload("x" * BIG)
        file = ready.base / "big.json"
        file.write_text(json.dumps(document))
        assert ready.fails("workload", "apply", "-f", file)["status"] == 400
        answer = ready.http("POST", "/api/workloads", body=document)
        assert answer.status == 413 and answer.json()["detail"]
        answer = ready.http("POST", "/api/workloads/web/deploy", body={"tag": "x" * BIG})
        assert answer.status == 413
        answer = ready.http("GET", "/api/workloads/" + "x" * BIG)
        assert answer.status in (400, 414, 431)
        answer = ready.http("GET", "/api/workloads/web", headers={"X-Confirm-Restore": "x" * BIG})
        assert answer.status == 431
        # Beneath the body's limit, the fields' own limits count.
        for document in (workload("x" * 500_000), workload(image="x" * 500_000), workload(healthcheck="/" + "x" * 500_000),
                         workload(volumes=[{"target": "/" + "x" * 500_000, "source": "d", "scope": "stage"}]),
                         workload(env={"A": "x" * 500_000}), workload(env={"A" * 500_000: "x"})):
            problem = ready.http("POST", "/api/workloads", body=document)
            assert problem.status == 400 and len(problem.body) < 20_000
        problem = ready.fails("snapshot", "create", "web", "--label", "k=" + "v" * 100_000)
        assert problem["status"] == 400


def test_bytes_that_are_no_http(ready):
    with nothing_changes(ready):
        for raw in (b"\x16\x03\x01\x02\x00" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 4096,
                    b"POST /api/workloads HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                    b"POST /api/workloads HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                    b"GET /api/workloads/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET /api/workloads/%00 HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET /api/workloads/../settings HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(ready.socket))
                client.sendall(raw)
                client.shutdown(socket.SHUT_WR)
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    while block := client.recv(65536):
                        answer += block
            assert not answer or answer.split()[1] in (b"400", b"404", b"411", b"405", b"505"), (raw[:40], answer[:200])


def test_a_missing_image(ready):
    with nothing_changes(ready):
        problem = ready.fails("workload", "deploy", "web", "--tag", "none")
        assert reasons(problem) == {"image_missing"} and "small:none" in problem["detail"]
        assert ready.fails("workload", "deploy", "web", "--tag", "no tag")["status"] == 400
        ready.engine.client.create("small:1", name="keeper")  # an image in use cannot go by accident
        ready.engine.client.remove("keeper")


def test_an_image_that_is_gone_refuses_the_restore_only_if_it_is_needed(ready, fake):
    """The very containers start again; the image counts only where one has to be made."""
    make_small_image(fake, "gone:1", labels={"gone": "soon"})
    document = workload(image="gone")
    ready.apply(document)
    ready.ok("workload", "deploy", "web")
    container = running(ready)[0]["container_id"]
    ready.ok("workload", "stop", "web")
    fake.client.remove(container)
    fake.client.delete("/images/gone:1", force=1)
    with nothing_changes(ready, engine=False):
        ready.fails("workload", "start", "web")
    ready.apply(workload())
    ready.ok("workload", "deploy", "web")


def test_an_unhealthy_image_changes_nothing_but_tells(ready):
    document = workload(image="crash", healthcheck="")
    ready.apply(document)
    with nothing_changes(ready):
        problem = ready.fails("workload", "deploy", "web")
        assert problem["status"] == 422 and problem["probe"] and problem["log_tail"]
    ready.apply(workload())


def fill_up(path) -> None:
    """Writes until nothing more goes, in big and in small pieces."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\xa5" * size)


def test_a_full_disk_below_the_volumes(fake):
    with LoopFs("ext4", 64 << 20) as disk, Cairnd(fake, config=set_base(disk.path / "volumes")) as cairn:
        deploy(cairn, workload())
        data = place(cairn)
        fill(data, "first")
        (data / "big").write_bytes(os.urandom(8 << 20))
        ident = snapshot(cairn)
        fill_up(disk.path / "filler")
        before = read_tree(data)
        problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
        assert problem["status"] == 507 and reasons(problem) <= {"no_space", "no_inodes"}, problem
        assert diff_trees(before, data) == [] and running(cairn)
        # A capture reads only; a deploy that needs a new place is refused.
        cairn.ok("snapshot", "create", "web")
        cairn.ok("volume", "set", "web", "/more", "--scope", "stage", "--source", "more/" * 20 + "deep")
        problem = cairn.fails("workload", "deploy", "web")
        assert problem["status"] in (507, 400) and "space" in json.dumps(problem), problem
        assert running(cairn)
        (disk.path / "filler").unlink()
        settle(cairn, restore(cairn, ident)) if cairn.ok("volume", "unset", "web", "/more") else None
        cairn.ok("workload", "rm", "web", "--yes")


def test_a_full_disk_below_the_data_directory(fake, tmp_path):
    """Catalog, journal and repository have no room: a capture fails as a whole."""
    with LoopFs("ext4", 48 << 20) as disk:
        with Cairnd(fake, data=disk.path / "data", config=set_base(tmp_path / "volumes")) as cairn:
            deploy(cairn, workload())
            data = place(cairn)
            (data / "big").write_bytes(os.urandom(60 << 20))
            before = read_tree(data)
            problem = cairn.fails("snapshot", "create", "web")
            assert problem["status"] == 507, problem
            assert diff_trees(before, data) == [] and running(cairn)
            assert cairn.ok("snapshot", "ls", "web")["snapshots"] == []
            cairn.assert_clean()
            (data / "big").write_bytes(b"small")
            ident = snapshot(cairn)
            cairn.ok("snapshot", "verify", ident)
            cairn.ok("workload", "rm", "web", "--yes")


def test_a_volume_on_a_read_only_file_system(fake):
    with LoopFs("ext4", 64 << 20) as disk, Cairnd(fake, config=set_base(disk.path / "volumes")) as cairn:
        deploy(cairn, workload())
        fill(place(cairn), "first")
        ident = snapshot(cairn)
        cairn.ok("workload", "stop", "web")
        subprocess.run(["mount", "-o", "remount,ro", disk.path], check=True)
        try:
            with nothing_changes(cairn, tree=disk.path / "volumes"):
                problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
                assert problem["status"] == 400 and "ead-only" in json.dumps(problem), problem
            cairn.ok("snapshot", "create", "web")
        finally:
            subprocess.run(["mount", "-o", "remount,rw", disk.path], check=True)
        settle(cairn, restore(cairn, ident))
        cairn.ok("workload", "rm", "web", "--yes")


def test_a_vanished_engine(ready, fake):
    container = running(ready)[0]["container_id"]
    before = read_tree(place(ready))
    data = place(ready)
    fake.kill()
    for arguments in (("workload", "deploy", "web"), ("snapshot", "create", "web"), ("workload", "logs", "web"),
                      ("snapshot", "restore", "web", ready.ident, "--yes")):
        problem = ready.fails(*arguments)
        assert problem["status"] == 503 and problem["code"] == "unavailable", (arguments, problem)
        assert "engine" in problem["detail"].lower() or "docker" in problem["detail"].lower(), problem
    # What needs no engine is served.
    assert ready.ok("workload", "show", "web")["instances"][0]["state"] == "unknown"
    assert ready.ok("snapshot", "ls", "web")["snapshots"] and ready.ok("system", "info")["engine"]["state"] == "down"
    fake.start()
    wait_for(lambda: running(ready), 20, "the container that the engine starts again")
    assert diff_trees(before, data) == [] and len(ready.ok("snapshot", "ls", "web")["snapshots"]) == 1
    seen = fake.client.inspect(container)
    assert seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert os.listdir(ready.data / "journal") == []


def test_an_engine_that_fails_or_hangs_up_in_the_middle(ready, fake):
    data = place(ready)
    for path in ("/stop", "/start", "/update"):
        for action in ("status", "drop"):
            more = {"status": 500} if action == "status" else {}
            fake.fault(action, method="POST", path=path, **more)
            answer = ready.cli("snapshot", "restore", "web", ready.ident, "--yes")
            fake.clear_faults()
            if answer.returncode == 0:
                settle(ready, json.loads(answer.stdout))
            else:
                problem = json.loads(answer.stdout)
                assert problem.get("detail") or problem["operation"].startswith("op_"), problem
            wait_for(lambda: ready.ready() and running(ready), 30, f"the workload after {action} at {path}")
            assert (data / "file").read_text() in ("first", "second")


def test_calls_at_once_beyond_all_limits(ready):
    """Hundreds of connections that say nothing keep nobody from being served."""
    idle = []
    try:
        for _ in range(240):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(ready.socket))
            idle.append(client)
        assert ready.ok("workload", "show", "web")["name"] == "web"
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(ready.http("GET", "/healthz").status)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(answers) == {200}
    finally:
        for client in idle:
            client.close()
