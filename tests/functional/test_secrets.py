"""Who may call, and that secrets stay where they are sealed."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lib.cairnd import Cairnd, bin_dir
from lib.dockerapi import wait_for
from lib.engines import make_small_image
from lib.jobs import deploy, fill, place, restore, running, settle, snapshot, workload

NOBODY = 65534
SECRET = "correct-horse-battery-staple-7731"
ASK = """
import http.client, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
connection = Unix("localhost")
connection.request(sys.argv[2], sys.argv[3])
print(connection.getresponse().status)
"""


def ask_as(cairn, credentials, method="GET", path="/api/workloads"):
    """The status of a call by a process with these credentials; None where it cannot even connect."""
    os.chmod(cairn.base, 0o755)
    done = subprocess.run(["setpriv", *credentials, "--", sys.executable, "-c", ASK, cairn.socket, method, path],
                          capture_output=True, text=True)
    return int(done.stdout) if done.returncode == 0 else None


def test_the_group_cairn_administers_and_others_do_not(fake, tmp_path):
    group = tmp_path / "group"
    group.write_text(Path("/etc/group").read_text().rstrip("\n") + "\ncairn:x:4242:\n")
    # The daemon alone sees this group file. It lets go of the mounts of the tests beside this one first, or their volumes
    # would stay in use, by its copy of the mounts.
    script = ("awk '$5 ~ \"^/tmp/\" {print $5}' /proc/self/mountinfo | tac | xargs -r umount -l;"
              f' mount --bind {group} /etc/group && exec "$@"')
    wrap = ["unshare", "--mount", "sh", "-c", script, "sh"]
    nobody = [f"--reuid={NOBODY}", f"--regid={NOBODY}"]
    with Cairnd(fake, wrap=wrap) as cairn:
        info = cairn.socket.stat()
        assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (0, 4242, 0o660)
        assert ask_as(cairn, [*nobody, "--groups=4242"]) == 200
        assert ask_as(cairn, [f"--reuid={NOBODY}", "--regid=4242", "--clear-groups"]) == 200
        assert ask_as(cairn, [*nobody, "--clear-groups"]) is None  # the socket's mode
        os.chmod(cairn.socket, 0o666)
        for method, path in (("GET", "/api/workloads"), ("POST", "/api/workloads"), ("DELETE", "/api/workloads/web"),
                             ("POST", "/api/repository/key-export"), ("GET", "/api/audit"),
                             ("POST", "/api/workloads/web/snapshots/x/restore")):
            assert ask_as(cairn, [*nobody, "--clear-groups"], method, path) == 403
        assert cairn.http("GET", "/api/audit").json()["audit"] == []


def test_the_command_line_says_whose_socket_it_is(cairn):
    os.chmod(cairn.base, 0o755)
    cairn_copy = cairn.base / "cairn"
    cairn_copy.write_bytes((bin_dir() / "cairn").read_bytes())
    cairn_copy.chmod(0o755)
    done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", cairn_copy,
                           "--socket", cairn.socket, "workload", "ls"], capture_output=True, text=True)
    assert done.returncode == 1 and "group cairn" in done.stderr


def test_env_values_are_sealed_at_rest_and_shown_nowhere(fake):
    with Cairnd(fake, extra_args=["--log-level", "debug"]) as cairn:
        document = workload(env={"PASSWORD": SECRET}, healthcheck="exec:false")
        cairn.ok("system", "settings", "set", "health_timeout_s", "1")
        cairn.apply(document)
        cairn.fails("workload", "deploy", "web")
        deploy(cairn, workload(env={"PASSWORD": SECRET}))
        fill(place(cairn), "first")
        settle(cairn, restore(cairn, snapshot(cairn)))
        seen = fake.client.inspect(running(cairn)[0]["container_id"])
        assert f"PASSWORD={SECRET}" in seen["Config"]["Env"]  # the container has it

        for path in ("/api/workloads", "/api/workloads/web", "/api/operations", "/api/events", "/api/audit",
                     "/api/snapshots", "/api/undos", "/api/settings", "/api/system/info", "/api/workloads/web/volumes",
                     "/metrics"):
            assert SECRET not in cairn.http("GET", path).body.decode(), path
        # A faulty definition is refused without repeating it.
        document["config"]["env"] = {"PASSWORD": SECRET, "BAD NAME": SECRET}
        answer = cairn.http("POST", "/api/workloads", body=document)
        assert answer.status == 400 and SECRET not in answer.body.decode()
        answer = cairn.http("POST", "/api/workloads", body=b'{"name":"x","config":{"env":{"A":"' + SECRET.encode())
        assert answer.status == 400 and SECRET not in answer.body.decode()

        # What "show" prints keeps the value when it is applied again.
        shown = cairn.ok("workload", "show", "web")
        assert SECRET not in str(shown)
        version = shown["env_version"]
        again = cairn.apply({key: shown[key] for key in ("name", "kind", "public_faces", "config")})
        assert again["env_version"] == version
        assert cairn.ok("workload", "deploy", "web")["status"] == "unchanged"

        password = cairn.ok("repo", "key", "export")["password"]
        cairn.stop()
        for file in cairn.data.rglob("*"):
            if not file.is_file() or file.parent.name == "keys":
                continue
            content = file.read_bytes()
            assert SECRET.encode() not in content, file
            assert password.encode() not in content, file
        log = cairn.log.read_text()
        assert SECRET not in log and password not in log
        assert any(password in file.read_text(errors="replace") for file in (cairn.data / "keys").iterdir())


def test_every_changing_call_leaves_an_audit_row(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    ident = snapshot(cairn)
    result = restore(cairn, ident)
    settle(cairn, result)
    cairn.ok("restore", "discard", result["undo"], "--yes")
    cairn.ok("volume", "set", "web", "/more", "--scope", "ephemeral")
    cairn.ok("volume", "unset", "web", "/more")
    cairn.ok("system", "settings", "set", "undo_keep", "1h")
    cairn.ok("workload", "stop", "web")
    cairn.ok("workload", "start", "web")
    cairn.ok("snapshot", "rm", ident, "--yes")
    cairn.ok("repo", "key", "export")
    cairn.ok("workload", "rm", "web", "--yes")
    rows = cairn.ok("system", "audit")["audit"]
    actions = {one["action"] for one in rows}
    assert actions >= {"workload.apply", "workload.deploy", "snapshot.create", "snapshot.restore", "restore.discard",
                       "volume.set", "volume.unset", "settings.set", "workload.stop", "workload.start",
                       "snapshot.remove", "repository.key_export", "workload.remove"}
    assert all(one["actor"] and one["time"] for one in rows)


# -- the daemon's own start ------------------------------------------------------------


def test_a_catalog_of_a_newer_cairn_is_refused_and_left_alone(fake):
    with Cairnd(fake) as cairn:
        cairn.apply(workload())
        cairn.stop()
        catalog = cairn.data / "catalog.db"
        connection = sqlite3.connect(catalog)
        known = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version={known + 1000}")
        connection.commit()
        connection.close()
        before = catalog.read_bytes()
        cairn.start(wait=False)
        assert cairn.daemon.process.wait(30) == 1
        assert "newer" in cairn.tail() and catalog.read_bytes() == before
        connection = sqlite3.connect(catalog)
        connection.execute(f"PRAGMA user_version={known}")
        connection.commit()
        connection.close()
        cairn.start()
        assert cairn.ok("workload", "show", "web")["name"] == "web"


def test_a_damaged_catalog_is_refused_and_left_alone(fake):
    with Cairnd(fake, check=False) as cairn:
        cairn.stop()
        catalog = cairn.data / "catalog.db"
        for name in ("catalog.db-wal", "catalog.db-shm"):
            (cairn.data / name).unlink(missing_ok=True)
        catalog.write_bytes(b"this is no database" * 1000)
        cairn.start(wait=False)
        assert cairn.daemon.process.wait(30) == 1
        assert "catalog" in cairn.tail() and catalog.read_bytes() == b"this is no database" * 1000


def test_a_lost_key_is_said_and_nothing_is_made_anew(fake):
    with Cairnd(fake, check=False) as cairn:
        deploy(cairn, workload(env={"A": SECRET}))
        fill(place(cairn), "first")
        snapshot(cairn)
        cairn.stop()
        kept = {file.name: file.read_bytes() for file in (cairn.data / "keys").iterdir()}
        for file in (cairn.data / "keys").iterdir():
            file.unlink()
        cairn.start(wait=False)
        assert cairn.daemon.process.wait(30) == 1, "it must not go on with new keys"
        assert len(os.listdir(cairn.data / "repo" / "keys")) == 1
        for name, content in kept.items():
            (cairn.data / "keys" / name).write_bytes(content)
        cairn.start()
        assert cairn.ok("snapshot", "ls", "web")["snapshots"]


def test_a_cancel_before_the_point_of_no_return(cairn, fake):
    cairn.ok("system", "settings", "set", "health_timeout_s", "60")
    deploy(cairn, workload())
    before = running(cairn)[0]["container_id"]
    cairn.apply(workload(healthcheck="exec:false"))
    started = cairn.http("POST", "/api/workloads/web/deploy", headers={"Prefer": "respond-async"}, body={})
    assert started.status == 202
    ident = started.json()["id"]
    wait_for(lambda: cairn.http("GET", f"/api/operations/{ident}").json()["phase"] == "health", 20, "the health wait")
    assert cairn.http("DELETE", f"/api/operations/{ident}").status == 202
    assert cairn.wait_operation(ident)["state"] == "cancelled"
    assert [one["container_id"] for one in running(cairn)] == [before]
    # Over is over.
    assert cairn.http("DELETE", f"/api/operations/{ident}").status == 409


def test_a_restore_is_cancelled_while_it_stages(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    for number in range(40):
        (data / f"big{number}").write_bytes(os.urandom(4 << 20))
    ident = snapshot(cairn)
    (data / "new").write_text("stays")
    started = cairn.http("POST", f"/api/workloads/web/snapshots/{ident}/restore", body={},
                         headers={"Prefer": "respond-async", "X-Confirm-Restore": ident})
    operation = started.json()["id"]
    cancelled = cairn.http("DELETE", f"/api/operations/{operation}")
    ended = cairn.wait_operation(operation)
    if cancelled.status == 202 and ended["state"] == "cancelled":
        assert (data / "new").read_text() == "stays" and running(cairn)
        assert not (data.parent / ".cairn").exists()
    else:  # it was quicker
        assert ended["state"] == "done" and not (data / "new").exists()
        settle(cairn, ended["result"])


@pytest.mark.parametrize("body", [{"consistency": "frozen"}, {"max_hold": "soon"}, {"pre": 3}, {"labels": {"": "x"}},
                                  {"labels": {"k": "v" * 300}},
                                  {"labels": []}, {"wait": 1}])
def test_capture_options_are_checked(cairn, body):
    deploy(cairn, workload())
    answer = cairn.http("POST", "/api/workloads/web/snapshots", body=body)
    assert answer.status == 400 and answer.json()["reasons"]


def test_the_document_and_the_routes_agree(cairn):
    """Every path of the document is answered by its handler, never by "there is no such path"."""
    document = cairn.http("GET", "/api/openapi.json").json()
    for path, methods in document["paths"].items():
        filled = path.replace("{id}", "nobody").replace("{sid}", "snap_x").replace("{uid}", "undo_x").replace("{key}", "x")
        for method in methods:
            if method not in ("get", "post", "put", "delete") or path == "/api/events":
                continue
            answer = cairn.http(method.upper(), filled)
            assert answer.status not in (405, 500, 501), (method, path, str(answer))
            if answer.status == 404:
                assert "there is no /" not in answer.json()["detail"], path


def test_an_image_with_its_own_secret_label_is_not_shown_in_events(cairn, fake):
    make_small_image(fake, "labelled:1", labels={"token": SECRET})
    deploy(cairn, workload(image="labelled"))
    assert SECRET not in str(cairn.ok("events", "ls")) and SECRET not in cairn.log.read_text()
