"""Registries that ask for a login: a pull with it, without it, with a wrong one, and where it must not be seen."""

import base64
import json

import pytest

from lib.cairnd import Cairnd
from lib.engines import Registry
from lib.jobs import running, workload
from test_terminal import Terminal

USER = "robot-7731"
SECRET = "correct-horse-battery-staple-7731"
WRONG = "wrong-horse-battery-staple-7731"
ROTATED = "rotated-horse-battery-staple-7731"


def set_registry(cairn, url, password, name="hub") -> dict:
    return cairn.ok("registry", "set", name, "--url", url, "--user", USER, "--password-stdin", input=password + "\n")


def document(image="team/app", name="web", **config) -> dict:
    return workload(name=name, image=image, volumes=[], **{"registry_name": "hub", "pull": "always", **config})


@pytest.fixture
def registry(real):
    with Registry(real, login=(USER, SECRET)) as registry:
        yield registry


def login_refused(problem) -> str:
    """The refusal's words, once it is known to be one of the login."""
    assert problem["code"] == "refused", problem
    assert [(one["target"], one["code"]) for one in problem["reasons"]] == [("config.registry_name", "login_refused")]
    return problem["detail"]


def test_a_workload_is_pulled_with_the_stored_login(real, registry):
    digest = registry.publish("small:1", "team/app", "1")
    with Cairnd(real, extra_args=["--log-level", "debug"]) as cairn:
        # Without a login the registry refuses, and the answer says where one is named.
        cairn.apply(document(registry.image("team/app", "1").rpartition(":")[0], name="bare", registry_name=""))
        assert "config.registry_name" in login_refused(cairn.fails("workload", "deploy", "bare"))

        set_registry(cairn, registry.address, WRONG)
        cairn.apply(document())
        words = login_refused(cairn.fails("workload", "deploy", "web"))
        assert "registry hub" in words and registry.address in words and f"user {USER}" in words
        assert running(cairn) == []

        set_registry(cairn, registry.address, SECRET)
        answer = cairn.ok("workload", "deploy", "web")
        assert answer["status"] == "deployed" and answer["release"]["digest"] == digest
        assert answer["release"]["image"] == f"{registry.address}/team/app"

        # The registry takes another password from now on; what runs goes on.
        registry.login = (USER, ROTATED)
        registry.restart()
        newer = registry.publish("counter:1", "team/app", "1")
        login_refused(cairn.fails("workload", "deploy", "web"))
        assert len(running(cairn)) == 1
        set_registry(cairn, registry.address, ROTATED)
        assert cairn.ok("workload", "deploy", "web")["release"]["digest"] == newer
        assert cairn.ok("workload", "deploy", "web")["status"] == "unchanged"

        paths = ["/api/registries", "/api/workloads", "/api/workloads/web", "/api/operations", "/api/events",
                 "/api/audit", "/api/system/info", "/metrics"]
        said = "".join(cairn.http("GET", path).body.decode() for path in paths)
        cairn.stop()
        stored = b"".join(file.read_bytes() for file in cairn.data.rglob("*") if file.is_file())
        log = cairn.log.read_text()
        for secret in (SECRET, WRONG, ROTATED):
            forms = [secret, base64.b64encode(secret.encode()).decode().rstrip("="),
                     base64.urlsafe_b64encode(json.dumps({"password": secret}).encode()).decode()]
            for form in forms:
                assert form not in said and form not in log and form.encode() not in stored


# -- what needs no registry --------------------------------------------------------------


def test_a_registry_is_kept_while_a_workload_names_it(cairn):
    shown = set_registry(cairn, "hub.test:5000", SECRET)
    assert (shown["name"], shown["url"], shown["user"]) == ("hub", "hub.test:5000", USER) and "password" not in shown
    cairn.apply(document("hub.test:5000/team/app"))
    problem = cairn.fails("registry", "rm", "hub")
    assert problem["code"] == "conflict" and "web" in problem["detail"]
    listed = cairn.ok("registry", "ls")["registries"]
    assert [(one["name"], one["workloads"]) for one in listed] == [("hub", ["web"])]
    cairn.ok("workload", "rm", "web", "--yes")
    cairn.ok("registry", "rm", "hub")
    assert cairn.fails("registry", "rm", "hub", code=3)["code"] == "not_found"
    assert cairn.ok("registry", "ls") == {"registries": []}
    actions = {one["action"] for one in cairn.ok("system", "audit")["audit"]}
    assert {"registry.set", "registry.remove"} <= actions
    kinds = {one["kind"] for one in cairn.ok("events", "ls")["events"]}
    assert {"registry.set", "registry.removed"} <= kinds


def test_what_is_wrong_is_said_by_field_and_without_the_password(cairn):
    body = {"url": "https://hub.test", "user": "", "password": SECRET + "\nmore"}
    answer = cairn.http("PUT", "/api/registries/hub", body=body)
    assert answer.status == 400 and SECRET not in answer.body.decode()
    assert {one["target"] for one in answer.json()["reasons"]} == {"url", "user", "password"}
    answer = cairn.http("PUT", "/api/registries/hub", body={"url": "hub.test", "colour": "red"})
    assert {one["target"] for one in answer.json()["reasons"]} == {"user", "password", "colour"}
    assert cairn.ok("registry", "ls") == {"registries": []}
    refused = cairn.cli("registry", "set", "hub", "--url", "hub.test", "--user", USER)
    assert refused.returncode == 1 and "--password-stdin" in refused.stdout

    file = cairn.base / "web.json"
    file.write_text(json.dumps(document()))
    problem = cairn.fails("workload", "apply", "-f", file)
    assert [one["target"] for one in problem["reasons"]] == ["config.registry_name"]
    set_registry(cairn, "hub.test", SECRET)
    file.write_text(json.dumps(document("other.test/team/app")))
    problem = cairn.fails("workload", "apply", "-f", file)
    assert [one["target"] for one in problem["reasons"]] == ["config.image"]
    assert cairn.ok("workload", "ls") == {"workloads": []}


def test_a_password_is_typed_unseen(cairn):
    terminal = Terminal(cairn, "registry", "set", "hub", "--url", "hub.test", "--user", USER)
    terminal.read_until("Password of")
    terminal.type(SECRET)
    assert terminal.finish() == 0 and SECRET not in terminal.text
    assert [one["user"] for one in cairn.ok("registry", "ls")["registries"]] == [USER]
