"""The command line: exit codes, JSON, questions, and what each command says it did."""

import json
import os
import pty
import shutil
import signal
import subprocess

import pytest

from lib.cairnd import Cairnd, bin_dir
from lib.jobs import deploy, fill, place, restore, running, settle, snapshot, workload
from lib.process import scratch_dir, remove_tree
from lib.dockerapi import wait_for


def plain(cairn, *args, **options):
    """Without --json, as people use it."""
    return cairn.cli(*args, json_output=False, **options)


# -- exit codes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["workload"],
        ["workload", "bogus"],
        ["workload", "deploy"],
        ["workload", "ls", "--bogus"],
        ["snapshot", "create", "web", "--consistency", "wishful"],
        ["snapshot", "create", "web", "--label", "no-equals-sign"],
        ["snapshot", "restore", "web", "snap_x", "--on-failure", "shrug"],
        ["completion", "tcsh"],
    ],
)
def test_a_wrong_command_line_ends_with_2_and_needs_no_daemon(args):
    result = subprocess.run([bin_dir() / "cairn", *args, "--json"], capture_output=True, text=True)
    assert result.returncode == 2, result
    assert json.loads(result.stdout)["code"] == "invalid"
    assert result.stderr


def test_an_unknown_command_is_named():
    for args in (["bogus"], ["workload", "bogus"]):
        result = subprocess.run([bin_dir() / "cairn", *args], capture_output=True, text=True)
        assert result.returncode == 2 and "there is no command bogus" in result.stderr, result


def test_help_and_version_end_with_0():
    for args in (["--help"], ["snapshot", "restore", "--help"], ["--version"]):
        result = subprocess.run([bin_dir() / "cairn", *args], capture_output=True, text=True)
        assert result.returncode == 0 and result.stdout, result


def test_no_daemon_is_a_failure_that_says_where_it_looked(tmp_path):
    socket = tmp_path / "none.sock"
    for env in ({"CAIRN_SOCKET": str(socket)}, {}):
        args = [] if env else ["--socket", str(socket)]
        result = subprocess.run([bin_dir() / "cairn", "workload", "ls", "--json", *args], capture_output=True,
                                text=True, env={**os.environ, **env})
        assert result.returncode == 1
        problem = json.loads(result.stdout)
        assert problem["code"] == "unavailable" and str(socket) in problem["detail"]


def test_what_is_not_there_ends_with_3(cairn):
    for args in (["workload", "show", "nowhere"], ["workload", "deploy", "nowhere"],
                 ["snapshot", "ls", "nowhere"], ["snapshot", "create", "nowhere"],
                 ["snapshot", "show", "snap_00000000000000000000000000"],
                 ["restore", "show", "undo_x"], ["operation", "show", "op_x"],
                 ["system", "settings", "get", "nonsense"], ["workload", "rm", "nowhere", "--yes"]):
        problem = cairn.fails(*args, code=3)
        assert problem["code"] == "not_found", args


def test_refusals_end_with_1_and_name_every_field(cairn):
    file = cairn.base / "bad.json"
    file.write_text(json.dumps({"name": "Bad Name", "kind": "image", "surprise": 1,
                                "config": {"image": "small", "port": 99999,
                                           "volumes": [{"target": "data", "scope": "sideways"}]}}))
    problem = cairn.fails("workload", "apply", "-f", file)
    fields = {one["target"] for one in problem["reasons"]}
    assert {"name", "surprise", "config.port"} <= fields and any("volumes[0]" in one for one in fields)
    result = plain(cairn, "workload", "apply", "-f", file)
    assert result.returncode == 1 and result.stdout == "" and "config.port" in result.stderr


def test_a_lock_that_is_taken_ends_with_4_and_wait_waits(fake):
    with Cairnd(fake) as cairn:
        deploy(cairn, workload())
        fill(place(cairn), "first")
        fake.fault("delay", method="POST", path="/stop", seconds=3)
        stopping = cairn.popen("workload", "stop", "web")
        try:
            wait_for(lambda: cairn.ok("workload", "show", "web")["holder"], 10, "the lock")
            problem = cairn.fails("snapshot", "create", "web", code=4)
            assert problem["code"] == "busy" and problem["holder"].startswith("op_")
            assert cairn.ok("snapshot", "create", "web", "--wait")["state"] == "stored"
        finally:
            assert stopping.wait(60) == 0


# -- definitions -------------------------------------------------------------------------


def test_definitions_come_as_json_toml_and_standard_input(cairn):
    document = workload("one")
    assert cairn.apply(document)["status"] == "created"
    assert cairn.apply(document)["status"] == "unchanged"
    toml = cairn.base / "two.toml"
    toml.write_text('name = "two"\nkind = "image"\n[config]\nimage = "small"\ndefault_tag = "1"\n')
    assert cairn.ok("workload", "apply", "-f", toml)["name"] == "two"
    applied = cairn.ok("workload", "apply", "-f", "-", input=json.dumps(workload("three")))
    assert applied["name"] == "three" and applied["kind"] == "image"
    assert applied["config"]["image"] == "small"
    assert [one["name"] for one in cairn.ok("workload", "ls")["workloads"]] == ["one", "three", "two"]


def test_env_values_are_never_shown(cairn):
    cairn.apply(workload(env={"TOKEN": "hunter2-secret"}))
    for args in (["workload", "show", "web"], ["workload", "ls"], ["events", "ls"], ["system", "audit"]):
        assert "hunter2" not in json.dumps(cairn.ok(*args))
        assert "hunter2" not in plain(cairn, *args).stdout
    assert "TOKEN" in cairn.ok("workload", "show", "web")["config"]["env"]
    assert "hunter2" not in cairn.tail(1000)


def test_a_file_that_is_not_there_or_too_large_is_said(cairn):
    assert cairn.fails("workload", "apply", "-f", cairn.base / "none.json", code=3)["code"] == "not_found"
    huge = cairn.base / "huge.json"
    huge.write_text(json.dumps({"name": "x" * (10 << 20), "kind": "image"}))
    assert "1 MiB" in cairn.fails("workload", "apply", "-f", huge)["detail"]


# -- the contract of scripts ---------------------------------------------------------------


def test_the_shapes_that_scripts_rely_on(cairn):
    deployed = deploy(cairn, workload())
    assert deployed["status"] == "deployed" and deployed["total_ms"] >= 0 and deployed["warnings"] == []
    assert {"id", "image", "digest", "tag", "env_version", "data_generation", "created_at"} <= set(deployed["release"])
    assert cairn.ok("workload", "deploy", "web")["status"] == "unchanged"
    data = place(cairn)
    fill(data, "first")

    taken = cairn.ok("snapshot", "create", "web", "--label", "why=test", "--label", "n=1")
    assert taken["id"].startswith("snap_") and taken["state"] == "stored" and taken["hold_ms"] >= 0
    assert taken["labels"] == {"why": "test", "n": "1"} and taken["skipped"] == [] and taken["warnings"] == []
    assert len(taken["repository_snapshot"]) == 64 and int(taken["repository_snapshot"], 16)
    volume = taken["volumes"][0]
    assert (volume["index"], volume["target"], volume["scope"], volume["source"]) == (0, "/data", "project", "data")
    assert volume["files"] >= 3 and volume["bytes"] > 0

    ident = taken["id"]
    for args in ([ident], ["web", ident]):
        assert cairn.ok("snapshot", "show", *args)["id"] == ident
    assert cairn.ok("snapshot", "verify", "web", ident)["verified_at"]
    assert [one["id"] for one in cairn.ok("snapshot", "ls", "web")["snapshots"]] == [ident]
    assert [one["id"] for one in cairn.ok("snapshot", "ls")["snapshots"]] == [ident]

    result = restore(cairn, ident)
    assert result["status"] == "restored" and result["started"] is True and result["untouched"] == []
    assert result["undo"].startswith("undo_") and result["storing"].startswith("op_")
    assert 0 <= result["cairn_ms"] <= result["hold_ms"]
    settle(cairn, result)
    followed = cairn.cli("operation", "follow", result["storing"], json_output=False)
    assert (followed.returncode, followed.stdout) == (0, f"{result['storing']}: done\n")
    assert cairn.ok("restore", "ls")["undos"][0]["id"] == result["undo"]
    assert cairn.ok("restore", "ls", "web")["undos"][0]["state"] == "available"
    discarded = cairn.ok("restore", "discard", result["undo"], "--yes")
    assert discarded["status"] == "discarded" and discarded["undo"] == result["undo"]

    assert cairn.ok("system", "fsck") == {"status": "clean"}
    info = cairn.ok("system", "info")
    assert info["engine"]["state"] == "up" and info["recovering"] == []
    assert {"deploy.done", "restore.done"} & {one["kind"] for one in cairn.ok("events", "ls")["events"]}
    kinds = [one["kind"] for one in cairn.ok("operation", "ls", "--workload", "web")["operations"]]
    assert "snapshot.restore" in kinds and "workload.deploy" in kinds


def test_restic_opens_the_repository_with_the_recovery_kit(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    taken = snapshot(cairn)
    kit = cairn.ok("repo", "key", "export")
    assert len(bytes.fromhex(kit["sealing_key"])) == 32
    env = {**os.environ, "RESTIC_PASSWORD": kit["password"], "RESTIC_CACHE_DIR": str(cairn.base / "cache")}
    listed = subprocess.run(["restic", "-r", kit["repository"], "snapshots", "--json"], env=env, check=True,
                            capture_output=True, text=True)
    assert cairn.ok("snapshot", "show", taken)["repository_snapshot"] in [one["id"] for one in json.loads(listed.stdout)]
    assert "repository.key_export" in [one["action"] for one in cairn.ok("system", "audit")["audit"]]


# -- questions -------------------------------------------------------------------------------


def test_what_destroys_asks_for_the_name(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    (data / "file").write_text("second")

    for answer in ("", "no\n", "we\n", ident + "\n"):
        result = plain(cairn, "snapshot", "restore", "web", ident, input=answer)
        assert result.returncode == 1 and "nothing was changed" in result.stderr, result
        assert (data / "file").read_text() == "second"
    assert "/data" in result.stderr, "the question shows the plan"
    result = plain(cairn, "snapshot", "restore", "web", ident, input="web\n")
    assert result.returncode == 0 and "restored" in result.stdout
    assert (data / "file").read_text() == "first"

    undo = cairn.ok("restore", "ls", "web")["undos"][0]["id"]
    for operation in cairn.ok("operation", "ls")["operations"]:
        cairn.wait_operation(operation["id"])
    for args in (["restore", "undo", undo], ["restore", "discard", undo], ["snapshot", "rm", ident],
                 ["workload", "rm", "web"]):
        result = plain(cairn, *args, input="no\n")
        assert result.returncode == 1 and "nothing was changed" in result.stderr, args
    assert running(cairn)
    assert plain(cairn, "workload", "rm", "web", input="web\n").returncode == 0
    cairn.fails("workload", "show", "web", code=3)
    # Volumes, snapshots and undos stay.
    assert (data / "file").read_text() == "first"
    assert ident in [one["id"] for one in cairn.ok("snapshot", "ls", "web")["snapshots"]]
    assert undo in [one["id"] for one in cairn.ok("restore", "ls", "web")["undos"]]


# -- volumes and settings ----------------------------------------------------------------------


def test_persisted_volumes_win_over_inline_ones(cairn):
    cairn.apply(workload())
    listed = cairn.ok("volume", "set", "web", "/data", "--scope", "project", "--source", "elsewhere")["volumes"]
    assert [(one["target"], one["source"], one["origin"], one["overrides"]) for one in listed] == [
        ("/data", "elsewhere", "set", True)]
    problem = cairn.fails("volume", "set", "web", "relative", "--scope", "sideways")
    assert [one["target"] for one in problem["reasons"]] == ["scope"]
    problem = cairn.fails("volume", "set", "web", "relative", "--scope", "project")
    assert "target" in {one["target"] for one in problem["reasons"]}
    assert cairn.ok("volume", "unset", "web", "/data")["status"] == "unset"
    cairn.fails("volume", "unset", "web", "/data", code=3)
    assert cairn.ok("volume", "ls", "web")["volumes"][0]["origin"] == "config"


def test_settings_are_set_checked_and_forgotten(fake):
    with Cairnd(fake, config='[settings]\nstop_grace_s = 5\n') as cairn:
        assert cairn.ok("system", "settings", "get", "stop_grace_s")["source"] == "config"
        cairn.ok("system", "settings", "set", "stop_grace_s", "7")
        assert cairn.ok("system", "settings", "get", "stop_grace_s")["value"] == "7"
        cairn.fails("system", "settings", "set", "stop_grace_s", "soon")
        cairn.restart()
        assert cairn.ok("system", "settings", "get", "stop_grace_s")["value"] == "7"
        cairn.ok("system", "settings", "unset", "stop_grace_s")
        assert plain(cairn, "system", "settings", "get", "stop_grace_s").stdout == "5\n"
        keys = {one["key"] for one in cairn.ok("system", "settings", "ls")["settings"]}
        assert keys == {"network", "base_volume_path", "allowed_volume_paths", "stop_grace_s", "health_timeout_s",
                        "max_hold_s", "undo_keep"}


# -- for people ----------------------------------------------------------------------------------


def test_tables_and_no_escape_codes_in_pipes(cairn):
    deploy(cairn, workload())
    for args in (["workload", "ls"], ["workload", "show", "web"], ["snapshot", "ls"], ["restore", "ls"],
                 ["operation", "ls"], ["events", "ls"], ["system", "info"], ["system", "settings", "ls"],
                 ["volume", "ls", "web"], ["system", "fsck"]):
        result = plain(cairn, *args)
        assert result.returncode == 0 and result.stdout, args
        assert "\x1b" not in result.stdout + result.stderr, args
    assert plain(cairn, "workload", "ls").stdout.splitlines()[0].split()[:2] == ["NAME", "STATE"]


def test_progress_is_shown_on_a_terminal_only(cairn):
    deploy(cairn, workload())
    fill(place(cairn), "first")
    master, slave = pty.openpty()
    child = cairn.popen("snapshot", "create", "web", stderr=slave, stdout=subprocess.PIPE)
    os.close(slave)
    out, _ = child.communicate(timeout=60)
    seen = b""
    try:
        while piece := os.read(master, 4096):
            seen += piece
    except OSError:
        pass  # the other end is closed
    os.close(master)
    assert child.returncode == 0 and "snap_" in out
    assert b"snapshot web: " in seen


def test_ctrl_c_leaves_the_operation_running_and_says_so(fake):
    with Cairnd(fake) as cairn:
        deploy(cairn, workload())
        fake.fault("delay", method="POST", path="/stop", seconds=3)
        child = cairn.popen("workload", "stop", "web")
        holder = wait_for(lambda: cairn.ok("workload", "show", "web")["holder"], 10, "the operation")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert child.returncode == 1 and f"cairn operation show {holder}" in err
        assert cairn.wait_operation(holder)["state"] == "done"
        assert not running(cairn)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_every_command(shell):
    script = subprocess.run([bin_dir() / "cairn", "completion", shell], capture_output=True, text=True, check=True).stdout
    for word in ("workload", "snapshot", "restore", "deploy", "on-failure", "settings"):
        assert word in script
    if shell == "bash":
        check = ("source /dev/stdin; COMP_WORDS=(cairn snapshot re); COMP_CWORD=2; _cairn; echo ${COMPREPLY[@]}; "
                 "COMP_WORDS=(cairn snapshot restore --on-); COMP_CWORD=3; _cairn; echo ${COMPREPLY[@]}")
        done = subprocess.run(["bash", "-c", check], input=script, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["restore", "--on-failure"]
    elif shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


# -- the daemon's own command line ---------------------------------------------------------------


def test_check_config_and_unknown_keys(tmp_path):
    good = tmp_path / "good.toml"
    good.write_text('data = "/srv/x"\n[settings]\nundo_keep = "2h"\n')
    bad = tmp_path / "bad.toml"
    bad.write_text('dtaa = "/srv/x"\n[settings]\nundo_keep = "soon"\n')
    assert subprocess.run([bin_dir() / "cairnd", "check-config", good]).returncode == 0
    assert subprocess.run([bin_dir() / "cairnd", "check-config", "--config", good]).returncode == 0
    assert subprocess.run([bin_dir() / "cairnd", "check-config"]).returncode == 2
    refused = subprocess.run([bin_dir() / "cairnd", "check-config", bad], capture_output=True, text=True)
    assert refused.returncode == 1 and "dtaa" in refused.stderr and "undo_keep" in refused.stderr
    started = subprocess.run([bin_dir() / "cairnd", "--config", bad], capture_output=True, text=True, timeout=30)
    assert started.returncode == 1 and "dtaa" in started.stderr


def test_a_second_daemon_on_one_data_directory_is_refused(cairn):
    second = subprocess.run([bin_dir() / "cairnd", "--data", cairn.data, "--socket", cairn.base / "second.sock",
                             "--docker", "unix:///nonexistent"], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and "in use" in second.stderr
    assert cairn.alive() and cairn.ready()


def test_sigterm_ends_it_and_frees_the_socket(fake):
    with Cairnd(fake) as cairn:
        assert oct(cairn.socket.stat().st_mode & 0o777) == "0o660"
        assert cairn.stop() == 0
        assert not cairn.socket.exists()
        cairn.start()


def test_logs_can_be_json(fake):
    with Cairnd(fake, extra_args=["--log-format", "json"]) as cairn:
        for line in cairn.log.read_text().splitlines():
            assert {"time", "level", "message"} <= set(json.loads(line))


def test_without_an_engine_it_still_serves_what_it_knows():
    base = scratch_dir("no-engine")
    try:
        with Cairnd(None, base=base, check=False) as cairn:
            cairn.apply(workload())
            assert cairn.ok("workload", "show", "web")["name"] == "web"
            problem = cairn.fails("workload", "deploy", "web")
            assert problem["code"] == "unavailable" and problem["status"] == 503
            assert cairn.ok("system", "info")["engine"]["state"] == "down"
    finally:
        remove_tree(base)


# -- logs ------------------------------------------------------------------------------------------

TALKER = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; echo oops >&2; sleep 0.1; done"]


def test_logs_of_now_and_of_what_comes(real):
    with Cairnd(real) as cairn:
        deploy(cairn, workload(entrypoint=[], command=TALKER, volumes=[]))
        lines = cairn.ok("workload", "logs", "web")["lines"]
        assert {"stream": "stdout", "text": "line 1"} in lines and {"stream": "stderr", "text": "oops"} in lines
        assert len(cairn.ok("workload", "logs", "web", "--tail", "2")["lines"]) <= 4
        result = plain(cairn, "workload", "logs", "web")
        assert "line 1\n" in result.stdout and "oops\n" in result.stderr
        child = cairn.popen("workload", "logs", "web", "-f", "--tail", "0", stderr=subprocess.DEVNULL)
        first, second = (int(child.stdout.readline().split()[1]) for _ in range(2))
        assert second == first + 1
        # Whoever reads no more ends the command, as `| head` does.
        child.stdout.close()
        assert child.wait(30) != 0
        follower = cairn.popen("workload", "logs", "web", "-f", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        cairn.ok("workload", "stop", "web")
        assert follower.wait(60) == 0, "the stream ends with its container"
