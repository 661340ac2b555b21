"""Deploys: what image it is, when it counts as healthy, who serves meanwhile, what a failure leaves."""

import json
import re
import subprocess
import urllib.parse

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.engines import make_registry, make_small_image
from lib.jobs import deploy, fill, place, reasons, restore, running, settle, snapshot, workload


def container_of(cairn, name="web"):
    """The engine's view of the only running container."""
    found = running(cairn, name)
    assert len(found) == 1, found
    return cairn.engine.client.inspect(found[0]["container_id"])


def ours(cairn):
    """Ids of all containers that carry Cairn's label."""
    return {one["Id"] for one in cairn.engine.client.containers(label="cairn.workload.id")}


def quick_failure(cairn, seconds=1):
    cairn.ok("system", "settings", "set", "health_timeout_s", seconds)


def calls_of(fake, verb, since):
    """Container ids in the order of the calls POST /containers/ID/<verb>."""
    pattern = re.compile(rf"/containers/([0-9a-f]+)/{verb}(\?|$)")
    found = [(index, pattern.search(call["path"])) for index, call in enumerate(fake.calls()[since:])]
    return {match.group(1): index for index, match in found if match}


# -- what a deploy makes ---------------------------------------------------------------


def test_the_container_carries_names_labels_and_the_restart_policy(cairn):
    document = workload(env={"COLOUR": "blue"}, user="0:0", stop_signal="SIGINT", stop_timeout=2, shm_size=32,
                        cpu_limit=0.5, memory_limit=64, entrypoint=["/usr/bin/app"], command=["idle"])
    answer = deploy(cairn, document)
    assert answer["status"] == "deployed" and answer["total_ms"] >= 0 and answer["warnings"] == []
    release = answer["release"]
    assert release["image"] == "small" and release["tag"] == "1" and release["data_generation"] == 0
    assert isinstance(release["env_version"], int) and release["created_at"].endswith("Z")

    shown = cairn.ok("workload", "show", "web")
    seen = container_of(cairn)
    short = shown["id"][-8:]
    assert re.fullmatch(rf"/cairn-web-{short}-1-[0-9a-f]+", seen["Name"]), seen["Name"]
    labels = seen["Config"]["Labels"]
    assert labels["cairn.workload.id"] == shown["id"] and labels["cairn.workload.name"] == "web"
    assert labels["cairn.kind"] == "image" and labels["cairn.role"] == "instance"
    assert labels["cairn.release"] == release["id"] and "/" + labels["cairn.instance"] == seen["Name"]

    host = seen["HostConfig"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["NanoCpus"] == 500_000_000 and host["Memory"] == 64 << 20 and host["ShmSize"] == 32 << 20
    assert seen["Config"]["StopSignal"] == "SIGINT" and seen["Config"]["StopTimeout"] == 2
    assert seen["Config"]["User"] == "0:0" and "COLOUR=blue" in seen["Config"]["Env"]
    network = seen["NetworkSettings"]["Networks"]["cairn"]
    assert "web" in network["Aliases"]
    data = cairn.data / "volumes" / shown["id"] / "data"
    mounts = [(one["Type"], one["Source"], one["Destination"]) for one in seen["Mounts"]]
    assert mounts == [("bind", str(data), "/data")]
    assert data.stat().st_mode & 0o7777 == 0o755 and data.stat().st_uid == 0


def test_the_real_engine_publishes_and_limits(real):
    port = 18080
    with Cairnd(real) as cairn:
        document = workload(image="web", port=8080, healthcheck="/index.html", cpu_limit=0.25, memory_limit=48,
                            publish=[f"127.0.0.1:{port}:8080"])
        cairn.apply(document)
        root = cairn.data / "volumes" / cairn.ok("workload", "show", "web")["id"] / "data"
        root.mkdir(parents=True)
        (root / "index.html").write_text("hello from outside")
        answer = cairn.ok("workload", "deploy", "web")
        assert answer["status"] == "deployed"
        page = subprocess.run(real.enter(["curl", "-fsS", f"http://127.0.0.1:{port}/index.html"]),
                              capture_output=True, text=True, check=True)
        assert page.stdout == "hello from outside"
        seen = container_of(cairn)
        assert seen["HostConfig"]["NanoCpus"] == 250_000_000 and seen["HostConfig"]["Memory"] == 48 << 20
        assert seen["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        # Another container of the network finds the workload by its name.
        code, out, err = real.client.exec(
            running(cairn)[0]["container_id"], ["wget", "-qO-", "http://web:8080/index.html"])
        assert (code, out) == (0, b"hello from outside"), err
        # The port forces stop-first: two containers cannot have it at once.
        again = cairn.ok("workload", "deploy", "web", "--force")
        assert again["hold_ms"] > 0
        cairn.ok("workload", "rm", "web", "--yes")


# -- which image it is -----------------------------------------------------------------


def forget(engine, *references):
    for reference in references:
        engine.client.delete(f"/images/{urllib.parse.quote(reference, safe='')}", force=1)


def test_pull_policies_and_digests(real):
    with make_registry(real) as registry, Cairnd(real) as cairn:
        repo = f"{registry.address}/web"
        make_small_image(real, "source:1", labels={"version": "one"})
        first = registry.publish("source:1", "web", "1")
        make_small_image(real, "source:2", labels={"version": "two"})
        forget(real, f"{repo}:1", "source:1")

        # never: what is not here is refused, and nothing is made.
        cairn.apply(workload(image=repo, pull="never"))
        problem = cairn.fails("workload", "deploy", "web")
        assert problem["status"] == 400 and reasons(problem) == {"image_missing"} and repo in problem["detail"]
        assert ours(cairn) == set()

        # missing: pulled once, named by its digest.
        cairn.apply(workload(image=repo, pull="missing"))
        release = cairn.ok("workload", "deploy", "web")["release"]
        assert release["digest"] == first and release["tag"] == "1" and release["image_id"].startswith("sha256:")
        assert container_of(cairn)["Config"]["Labels"]["version"] == "one"

        # The tag moves in the registry: missing keeps what is here, always follows.
        second = registry.publish("source:2", "web", "1")
        registry.publish("source:2", "web", "same-as-1")
        real.client.tag(container_of(cairn)["Image"], f"{repo}:1")  # the push moved the local tag, too
        assert first != second
        assert cairn.ok("workload", "deploy", "web")["status"] == "unchanged"
        cairn.apply(workload(image=repo, pull="always"))
        moved = cairn.ok("workload", "deploy", "web")
        assert moved["status"] == "deployed" and moved["release"]["digest"] == second
        assert container_of(cairn)["Config"]["Labels"]["version"] == "two"

        # Another tag of the same digest is the same image; a digest is a tag, too.
        assert cairn.ok("workload", "deploy", "web", "--tag", "same-as-1")["status"] == "unchanged"
        back = cairn.ok("workload", "deploy", "web", "--tag", first)
        assert back["status"] == "deployed" and back["release"]["digest"] == first
        assert container_of(cairn)["Config"]["Labels"]["version"] == "one"

        # A registry that is away, a tag that is not there: the old container serves on.
        before = ours(cairn)
        problem = cairn.fails("workload", "deploy", "web", "--tag", "nowhere")
        assert reasons(problem) == {"image_missing"}
        registry.stop()
        problem = cairn.fails("workload", "deploy", "web")
        assert reasons(problem) == {"pull_failed"}
        assert ours(cairn) == before and len(running(cairn)) == 1
        cairn.ok("workload", "rm", "web", "--yes")


def test_an_image_that_no_registry_knows_is_its_id(cairn, fake):
    release = deploy(cairn, workload())["release"]
    ident = fake.client.get("/images/small:1/json").json()["Id"]
    assert release["digest"] == release["image_id"] == ident


def test_unchanged_only_when_nothing_differs(cairn, fake):
    document = workload(env={"A": "1"})
    deploy(cairn, document)
    last = ours(cairn)

    def again(*options):
        nonlocal last
        status = cairn.ok("workload", "deploy", "web", *options)["status"]
        now = ours(cairn)
        assert (now == last) is (status == "unchanged")
        assert len(now) == 1
        last = now
        return status

    assert again() == "unchanged"
    cairn.apply(document)
    assert again() == "unchanged"

    document["config"]["env"] = {"A": "2"}
    cairn.apply(document)
    assert again() == "deployed"
    document["config"]["cpu_limit"] = 0.5
    cairn.apply(document)
    assert again() == "deployed"
    document["public_faces"] = [{"subdomain": "www", "domain": "example.test"}]
    cairn.apply(document)
    assert again() == "deployed"
    cairn.ok("volume", "set", "web", "/more", "--scope", "stage", "--source", "more")
    assert again() == "deployed"
    assert again() == "unchanged"
    make_small_image(fake, "small:2", labels={"other": "image"})
    assert again("--tag", "2") == "deployed"
    assert again("--tag", "2") == "unchanged"
    assert again("--tag", "2", "--force") == "deployed"

    # What does not run is not "unchanged".
    cairn.ok("workload", "stop", "web")
    assert cairn.ok("workload", "deploy", "web", "--tag", "2")["status"] == "deployed"
    assert running(cairn)


# -- health ----------------------------------------------------------------------------


def test_health_http_takes_200_to_399_from_outside(cairn):
    quick_failure(cairn)
    cairn.apply(workload(image="web", port=8080, healthcheck="/sub"))
    root = cairn.data / "volumes" / cairn.ok("workload", "show", "web")["id"] / "data"
    root.mkdir(parents=True)
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and problem["probe"] == "GET /sub: 404", problem
    assert "serving" in problem["log_tail"]
    (root / "sub").mkdir()  # a directory without its slash is redirected: 302
    assert cairn.ok("workload", "deploy", "web")["status"] == "deployed"
    cairn.apply(workload(image="web", port=8080, healthcheck="/page"))
    (root / "page").write_text("here")
    assert cairn.ok("workload", "deploy", "web")["status"] == "deployed"


def test_health_tcp(cairn):
    quick_failure(cairn)
    deploy(cairn, workload(image="web", port=8080, healthcheck="tcp"))
    cairn.apply(workload(image="web", port=8081, healthcheck="tcp"))
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and "refused" in problem["probe"].lower()
    assert running(cairn)


def test_health_exec_shows_what_the_command_said(cairn):
    quick_failure(cairn)
    deploy(cairn, workload(healthcheck="exec:test -d /data"))
    cairn.apply(workload(healthcheck="exec:echo not yet; exit 7"))
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and problem["probe"] == "exec: exit code 7: not yet"


def test_health_of_the_image_is_the_default_where_it_has_one(cairn, fake):
    make_small_image(fake, "checked:1", health="--interval=200ms --retries=2 CMD test -f /data/ok || { echo no file; false; }")
    cairn.apply(workload(image="checked", healthcheck=""))
    root = cairn.data / "volumes" / cairn.ok("workload", "show", "web")["id"] / "data"
    root.mkdir(parents=True)
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and "unhealthy" in problem["probe"] and "no file" in problem["probe"]
    (root / "ok").write_text("")
    assert cairn.ok("workload", "deploy", "web")["status"] == "deployed"
    assert running(cairn)[0]["health"] == "healthy"
    cairn.apply(workload(image="checked", healthcheck="image"))
    assert cairn.ok("workload", "deploy", "web")["status"] == "deployed"

    cairn.apply(workload(image="small", healthcheck="image"))
    problem = cairn.fails("workload", "deploy", "web")
    assert reasons(problem) == {"no_healthcheck"} and running(cairn)


def test_without_a_check_it_must_run_three_seconds(cairn):
    answer = deploy(cairn, workload(healthcheck=""))
    assert answer["total_ms"] >= 3000
    # It starts well and ends after a second: that is no deploy.
    cairn.apply(workload(healthcheck="", command=["app", "crash", "0", "1"]))
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and "exited with code 0" in problem["probe"]


# -- who serves meanwhile --------------------------------------------------------------


def test_auto_stops_first_where_two_would_write_one_volume(cairn, fake):
    deploy(cairn, workload())
    old = running(cairn)[0]["container_id"]
    since = len(fake.calls())
    answer = cairn.ok("workload", "deploy", "web", "--force")
    new = running(cairn)[0]["container_id"]
    assert calls_of(fake, "stop", since)[old] < calls_of(fake, "start", since)[new]
    assert answer["hold_ms"] > 0 and ours(cairn) == {new}


@pytest.mark.parametrize("document", [
    workload(volumes=[]),
    workload(volumes=[{"target": "/tmp/x", "scope": "ephemeral"}]),
    workload(handover="overlap"),
], ids=["no volume", "ephemeral", "asked"])
def test_overlap_keeps_the_old_one_until_the_new_one_is_healthy(cairn, fake, document):
    deploy(cairn, document)
    old = running(cairn)[0]["container_id"]
    since = len(fake.calls())
    answer = cairn.ok("workload", "deploy", "web", "--force")
    new = running(cairn)[0]["container_id"]
    assert calls_of(fake, "start", since)[new] < calls_of(fake, "stop", since)[old]
    assert answer["hold_ms"] == 0 and ours(cairn) == {new}


def test_stop_first_where_asked(cairn, fake):
    deploy(cairn, workload(volumes=[], handover="stop-first"))
    old = running(cairn)[0]["container_id"]
    since = len(fake.calls())
    cairn.ok("workload", "deploy", "web", "--force")
    new = running(cairn)[0]["container_id"]
    assert calls_of(fake, "stop", since)[old] < calls_of(fake, "start", since)[new]


def apply_fails(cairn, document, code=1):
    file = cairn.base / "wrong.json"
    file.write_text(json.dumps(document))
    return cairn.fails("workload", "apply", "-f", file, code=code)


def test_stop_first_with_several_instances_is_refused(cairn):
    for document in (workload(max_instances=2),
                     workload(volumes=[], handover="stop-first", max_instances=2),
                     workload(volumes=[], publish=["127.0.0.1:8080:80"], max_instances=2)):
        problem = apply_fails(cairn, document)
        assert problem["status"] == 400
        assert "max_instances" in json.dumps(problem) or "handover" in json.dumps(problem)
    assert cairn.ok("workload", "ls")["workloads"] == []
    # A volume that is set later would have the same effect.
    deploy(cairn, workload(volumes=[], max_instances=2))
    cairn.fails("volume", "set", "web", "/data", "--scope", "stage", "--source", "data")


def test_max_instances_trims_the_oldest(cairn):
    cairn.apply(workload(volumes=[], max_instances=2))
    made = []
    for _ in range(4):
        cairn.ok("workload", "deploy", "web", "--force")
        newest = {one["container_id"] for one in running(cairn)} - set(made)
        assert len(newest) == 1
        made += newest
        assert {one["container_id"] for one in running(cairn)} == set(made[-2:])
    assert ours(cairn) == set(made[-2:])


# -- what a failure leaves -------------------------------------------------------------


@pytest.mark.parametrize("handover", ["stop-first", "overlap"])
def test_a_failed_deploy_leaves_the_old_container_serving(cairn, fake, handover):
    deploy(cairn, workload(handover=handover))
    before = container_of(cairn)
    release = cairn.ok("workload", "show", "web")["release"]["id"]
    cairn.apply(workload(image="crash", handover=handover, healthcheck=""))
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and problem["code"] == "unhealthy"
    assert "exited with code 3" in problem["probe"] and "crashing" in problem["log_tail"]
    assert problem["operation"].startswith("op_")
    after = container_of(cairn)
    assert after["Id"] == before["Id"] and after["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert ours(cairn) == {before["Id"]}
    assert cairn.ok("workload", "show", "web")["release"]["id"] == release
    kinds = [event["kind"] for event in cairn.ok("events", "ls", "--workload", "web")["events"]]
    assert "deploy.failed" in kinds


def test_a_first_deploy_that_fails_leaves_nothing(cairn):
    problem = None
    cairn.apply(workload(image="crash", healthcheck=""))
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 422 and ours(cairn) == set()
    assert cairn.ok("workload", "show", "web")["release"] is None


def test_volumes_that_do_not_resolve_are_named_each(cairn):
    document = workload(volumes=[
        {"source": "/srv/outside", "target": "/outside", "scope": "absolute"},
        {"source": "data", "target": "/tagged", "scope": "instance"},
        {"name": "shared", "target": "/named", "scope": "named"},
        {"name": "shared", "target": "/again", "scope": "named"},
        {"source": "fine", "target": "/fine", "scope": "stage"},
    ])
    cairn.apply(document)
    problem = cairn.fails("workload", "deploy", "web")
    assert problem["status"] == 400 and problem["code"] == "refused"
    found = {one["target"]: one["code"] for one in problem["reasons"]}
    assert found == {"/outside": "outside_allowed_paths", "/named": "shared_place", "/again": "shared_place"}
    assert ours(cairn) == set() and list((cairn.data / "volumes").iterdir()) == []


def test_a_persisted_volume_wins_over_the_inline_one(cairn):
    deploy(cairn, workload())
    ident = cairn.ok("workload", "show", "web")["id"]
    shown = cairn.ok("volume", "set", "web", "/data", "--scope", "stage", "--source", "other")["volumes"]
    assert [(one["target"], one["source"], one["origin"], one["overrides"]) for one in shown] == [
        ("/data", "other", "set", True)]
    cairn.ok("workload", "deploy", "web")
    assert container_of(cairn)["Mounts"][0]["Source"] == str(cairn.data / "volumes" / ident / "other")
    cairn.ok("volume", "unset", "web", "/data")
    cairn.fails("volume", "unset", "web", "/data", code=3)
    cairn.ok("workload", "deploy", "web")
    assert container_of(cairn)["Mounts"][0]["Source"] == str(cairn.data / "volumes" / ident / "data")


# -- everything else of a workload -----------------------------------------------------


def test_containers_of_others_are_never_touched(cairn, fake):
    deploy(cairn, workload())
    ident = cairn.ok("workload", "show", "web")["id"]
    stranger = fake.client.run("small:1", name=f"cairn-web-{ident[-8:]}-1-0")
    before = fake.client.inspect(stranger)
    cairn.ok("workload", "deploy", "web", "--force")
    cairn.ok("workload", "stop", "web")
    cairn.restart()
    cairn.ok("workload", "rm", "web", "--yes")
    after = fake.client.inspect(stranger)
    assert after["State"]["Running"] and after["State"]["StartedAt"] == before["State"]["StartedAt"]
    assert after["HostConfig"]["RestartPolicy"] == before["HostConfig"]["RestartPolicy"]


def test_logs_and_follow(cairn):
    deploy(cairn, workload(command=["sh", "-c", "echo out; echo err >&2; exec app idle"]))
    lines = wait_for(lambda: (lambda found: found if len(found) == 2 else None)(
        cairn.ok("workload", "logs", "web")["lines"]), 10, "two log lines")
    assert sorted((one["stream"], one["text"]) for one in lines) == [("stderr", "err"), ("stdout", "out")]
    last = cairn.ok("workload", "logs", "web", "--tail", "1")["lines"]
    assert len(last) == 1
    plain = cairn.cli("workload", "logs", "web", json_output=False)
    assert plain.returncode == 0 and plain.stdout == "out\n" and plain.stderr == "err\n"

    counting = "n=0; while :; do n=$((n+1)); echo line $n; usleep 20000; done"
    cairn.apply(workload(command=["sh", "-c", counting]))
    cairn.ok("workload", "deploy", "web")
    follower = cairn.popen("workload", "logs", "-f", "web")
    try:
        seen = [follower.stdout.readline() for _ in range(20)]
        numbers = [int(line.split()[1]) for line in seen]
        assert numbers == list(range(numbers[0], numbers[0] + 20))
    finally:
        follower.terminate()
        follower.communicate()


def test_the_follower_ends_with_the_container(cairn):
    deploy(cairn, workload(command=["sh", "-c", "echo hello; exec app idle"]))
    follower = cairn.popen("workload", "logs", "-f", "web")
    assert follower.stdout.readline() == "hello\n"
    cairn.ok("workload", "stop", "web")
    follower.communicate(timeout=30)
    assert follower.returncode == 0


def test_stop_start_and_what_the_daemon_remembers(cairn):
    deploy(cairn, workload())
    first = container_of(cairn)["Id"]
    assert cairn.ok("workload", "stop", "web")["status"] == "stopped"
    assert cairn.ok("workload", "show", "web")["state"] == "stopped"
    cairn.ok("workload", "stop", "web")  # once more is no fault
    cairn.restart()
    assert not running(cairn) and cairn.ok("workload", "show", "web")["desired"] == "stopped"
    assert cairn.ok("workload", "start", "web")["status"] == "started"
    assert container_of(cairn)["Id"] == first
    cairn.stop()
    cairn.engine.client.stop(first)
    cairn.start()
    wait_for(lambda: running(cairn), 20, "the container that is to run")
    cairn.stop()
    cairn.engine.client.remove(first)
    cairn.start()
    wait_for(lambda: running(cairn), 20, "a container in its place")
    assert container_of(cairn)["Id"] != first


def test_rm_keeps_volumes_snapshots_and_undos(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    result = restore(cairn, ident)
    settle(cairn, result)
    assert cairn.ok("workload", "rm", "web", "--yes")["status"] == "removed"
    assert ours(cairn) == set() and (data / "file").read_text() == "first"
    cairn.fails("workload", "show", "web", code=3)
    kept = {one["id"] for one in cairn.ok("snapshot", "ls")["snapshots"]}
    assert ident in kept and cairn.ok("snapshot", "ls", "web")["snapshots"]
    assert [one["id"] for one in cairn.ok("restore", "ls")["undos"]] == [result["undo"]]
    cairn.ok("snapshot", "verify", ident)
    cairn.ok("restore", "discard", result["undo"], "--yes")
    cairn.ok("snapshot", "rm", ident, "--yes")
    # A new workload may take the name; it is another one.
    deploy(cairn, workload())
    assert list(place(cairn).iterdir()) == []


def test_a_host_port_that_is_taken_is_said_in_the_engines_words(real):
    with Cairnd(real) as cairn:
        deploy(cairn, workload("first", volumes=[], publish=["127.0.0.1:18081:8080"]))
        cairn.apply(workload("second", volumes=[], publish=["127.0.0.1:18081:8080"]))
        problem = cairn.fails("workload", "deploy", "second")
        assert problem["status"] == 422 and "18081" in problem["probe"] + problem["detail"], problem
        assert len(ours(cairn)) == 1 and running(cairn, "first")
        cairn.ok("workload", "rm", "first", "--yes")


def test_a_command_that_is_not_in_the_image_is_said(real):
    with Cairnd(real) as cairn:
        deploy(cairn, workload())
        before = ours(cairn)
        cairn.apply(workload(command=["/no/such/program"]))
        problem = cairn.fails("workload", "deploy", "web")
        assert "/no/such/program" in json.dumps(problem), problem
        assert ours(cairn) == before and running(cairn)
        cairn.ok("workload", "rm", "web", "--yes")
