"""The HTTP API over the socket: who may call, the order of the checks, streams, bounds."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading

from lib.cairnd import Cairnd
from lib.jobs import deploy, fill, place, snapshot, workload
from lib.dockerapi import wait_for

NOBODY = 65534


def as_nobody(cairn, method, path):
    """The status that somebody without rights gets, on a socket whose mode was widened by hand."""
    os.chmod(cairn.base, 0o755)
    os.chmod(cairn.socket, 0o666)
    script = (
        "import os, socket, sys\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(f'{sys.argv[2]} {sys.argv[3]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'.encode())\n"
        "print(s.makefile('rb').readline().split()[1].decode())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, cairn.socket, method, path], capture_output=True, text=True,
                          check=True)
    return int(done.stdout)


def confirm(ident):
    return {"X-Confirm-Restore": ident}


def test_unauthorised_restore_and_everything_else_is_403(cairn):
    for method, path in (("GET", "/api/workloads"), ("POST", "/api/workloads/web/snapshots/snap_x/restore"),
                         ("POST", "/api/workloads/web/snapshots/adopt"),
                         ("POST", "/api/repository/key-export"), ("DELETE", "/api/workloads/web"),
                         ("GET", "/api/events"), ("GET", "/metrics")):
        assert as_nobody(cairn, method, path) == 403, path
    for path in ("/healthz", "/readyz", "/api/openapi.json"):
        assert as_nobody(cairn, "GET", path) == 200, path
    assert not [one for one in cairn.ok("system", "audit")["audit"] if one["actor"] != "uid:0"]


def test_the_order_of_the_checks(cairn):
    deploy(cairn, workload("one"))
    deploy(cairn, workload("two"))
    fill(place(cairn, "one"), "first")
    ident = snapshot(cairn, "one")

    def status(path, headers=None, body=None):
        return cairn.http("POST", path, headers=headers, body=body).status

    assert status("/api/workloads/none/snapshots/snap_x/restore") == 400
    assert status("/api/workloads/none/snapshots/snap_x/restore", confirm("snap_y")) == 400
    assert status("/api/workloads/none/snapshots/snap_x/restore", confirm("snap_x")) == 404
    assert status("/api/workloads/one/snapshots/snap_x/restore", confirm("snap_x")) == 404
    assert status(f"/api/workloads/two/snapshots/{ident}/restore", confirm(ident)) == 400
    assert status(f"/api/workloads/one/snapshots/{ident}/restore", confirm(ident), {"surprise": 1}) == 400
    answer = cairn.http("POST", f"/api/workloads/one/snapshots/{ident}/restore", headers=confirm(ident))
    assert answer.status == 200 and answer.json()["status"] == "restored"
    cairn.wait_operation(answer.json()["storing"])


def test_create_answers_with_a_place_and_delete_with_nothing(cairn):
    created = cairn.http("POST", "/api/workloads", body=workload())
    assert created.status == 201
    assert cairn.http("POST", "/api/workloads", body=workload()).status == 200
    assert cairn.http("POST", "/api/workloads/web/deploy").status == 200
    fill(place(cairn), "first")
    taken = cairn.http("POST", "/api/workloads/web/snapshots", body={"labels": {"a": "b"}})
    assert taken.status == 201
    ident = taken.json()["id"]
    where = {name.lower(): value for name, value in dict(taken.headers).items()}["location"]
    assert where.endswith(f"/snapshots/{ident}") and cairn.http("GET", where).json()["id"] == ident
    gone = cairn.http("DELETE", where)
    assert gone.status == 204 and gone.body == b""
    assert cairn.http("GET", where).status == 404
    assert cairn.http("DELETE", "/api/workloads/web").status == 400
    assert cairn.http("DELETE", "/api/workloads/web", headers={"X-Confirm-Remove": "web"}).status == 204


def test_async_calls_and_their_events(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    started = cairn.http("POST", "/api/workloads/web/snapshots", headers={"Prefer": "respond-async"})
    assert started.status == 202
    ident = started.json()["id"]
    stream = cairn.http("GET", f"/api/operations/{ident}/events").body.decode()
    events = [block for block in stream.split("\n\n") if block.startswith("event: ")]
    assert events[-1].startswith("event: done\n")
    last = json.loads(events[-1].split("data: ", 1)[1])
    assert last["state"] == "done" and last["result"]["state"] == "stored"


def test_a_client_that_goes_away_cancels_nothing(fake):
    with Cairnd(fake) as cairn:
        deploy(cairn, workload())
        fake.fault("delay", method="POST", path="/stop", seconds=1)
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(cairn.socket))
        peer.sendall(b"POST /api/workloads/web/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        holder = wait_for(lambda: cairn.ok("workload", "show", "web")["holder"], 10, "the operation")
        peer.close()
        assert cairn.wait_operation(holder)["state"] == "done"


def test_many_streams_do_not_keep_calls_from_being_served(cairn):
    peers = []
    try:
        for _ in range(40):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(str(cairn.socket))
            peer.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 200"
            peers.append(peer)
        cairn.apply(workload())
        assert cairn.http("GET", "/api/workloads").status == 200
        assert cairn.stop() == 0, "open streams do not keep the daemon from ending"
    finally:
        for peer in peers:
            peer.close()


def test_events_arrive_as_they_happen(cairn):
    connection = http.client.HTTPConnection("cairn")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(cairn.socket))
    connection.request("GET", "/api/events", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    worker = threading.Thread(target=lambda: deploy(cairn, workload()))
    worker.start()
    kinds = []
    while "deploy.done" not in kinds:
        line = response.readline().decode().strip()
        if line.startswith("event: "):
            kinds.append(line[7:])
    worker.join()
    connection.close()


def test_bad_input_is_answered_clearly_and_changes_nothing(cairn):
    cairn.apply(workload())
    before = cairn.ok("workload", "ls")
    for body, headers in ((b"{", {}), (b"[]", {}), (b"\xff\xfe", {}), (b"[" * 100_000, {}),
                          (b"x = ", {"Content-Type": "application/toml"}),
                          (json.dumps({"name": "x" * 100_000, "kind": "image"}).encode(), {})):
        answer = cairn.http("POST", "/api/workloads", headers=headers, body=body)
        assert answer.status == 400, (body[:20], answer.status)
        assert answer.json()["code"] == "invalid" and answer.json()["detail"]
    big = cairn.http("POST", "/api/workloads", body=b"{" + b" " * (10 << 20))
    assert big.status == 413
    assert cairn.http("GET", "/api/workloads/" + "n" * 5000).status == 400
    assert cairn.http("GET", "/api/workloads/%00").status == 400
    assert cairn.http("GET", "/api/workloads/..%2f..%2fetc").status == 400
    assert cairn.http("GET", "/api/workloads?x=1", headers={"X-Big": "h" * 20_000}).status == 431
    assert cairn.http("PUT", "/api/workloads").status == 405
    assert cairn.http("GET", "/api/nothing").status == 404
    assert cairn.ok("workload", "ls") == before


def test_document_health_and_metrics(cairn):
    document = cairn.http("GET", "/api/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert "post" in document["paths"]["/api/workloads/{id}/snapshots/{sid}/restore"]
    assert cairn.http("GET", "/readyz").json() == {"status": "ready"}
    deploy(cairn, workload())
    text = cairn.http("GET", "/metrics").body.decode()
    assert "\ncairn_workloads 1\n" in text and "# TYPE cairn_workloads gauge" in text


def test_logs_as_json_and_as_a_stream(fake):
    with Cairnd(fake) as cairn:
        deploy(cairn, workload(image="web", healthcheck="tcp", port=8080))
        lines = cairn.http("GET", "/api/workloads/web/logs?tail=5")
        assert lines.status == 200 and isinstance(lines.json()["lines"], list)
        assert cairn.http("GET", "/api/workloads/web/logs?tail=many").status == 400
        assert cairn.http("GET", "/api/workloads/none/logs").status == 404
