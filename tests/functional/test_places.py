"""Where volumes lie, and where none may ever lie."""

import json
import os
import stat

import pytest

from lib.cairnd import Cairnd
from lib.jobs import deploy, fill, place, reasons, restore, settle, snapshot, workload


def absolute(path, target="/data") -> dict:
    return {"source": str(path), "target": target, "scope": "absolute"}


def allow(cairn, *paths) -> None:
    cairn.ok("system", "settings", "set", "allowed_volume_paths", ":".join(map(str, paths)))


def refused_codes(problem) -> dict:
    assert problem["status"] == 400, problem
    return {one["target"]: one["code"] for one in problem["reasons"]}


def nothing_made(cairn) -> None:
    assert cairn.engine.client.containers(label="cairn.workload.id") == []


def test_each_scope_has_its_place(cairn, tmp_path):
    allow(cairn, tmp_path)
    deploy(cairn, workload(volumes=[
        {"source": "deep/er", "target": "/stage", "scope": "stage"},
        {"source": "plain", "target": "/project", "scope": "project"},
        absolute(tmp_path / "host", "/absolute"),
        {"target": "/scratch", "scope": "ephemeral"},
    ]))
    ident = cairn.ok("workload", "show", "web")["id"]
    base = cairn.data / "volumes" / ident
    places = {one["target"]: one["place"] for one in cairn.ok("volume", "ls", "web")["volumes"]}
    assert places == {"/stage": str(base / "deep/er"), "/project": str(base / "plain"),
                      "/absolute": str(tmp_path / "host"), "/scratch": None}
    container = cairn.ok("workload", "show", "web")["instances"][0]["container_id"]
    seen = cairn.engine.client.inspect(container)
    kinds = {one["Destination"]: one["Type"] for one in seen["Mounts"]}
    assert {kinds[target] for target in ("/stage", "/project", "/absolute")} == {"bind"}
    code, out, _ = cairn.engine.client.exec(container, ["grep", " /scratch ", "/proc/self/mounts"])
    assert code == 0 and b"tmpfs" in out
    for one in (base, base / "deep/er", tmp_path / "host"):
        made = one.stat()
        assert stat.S_IMODE(made.st_mode) == 0o755 and (made.st_uid, made.st_gid) == (0, 0)


def test_absolute_places_lie_in_the_allowed_paths(cairn, tmp_path):
    (tmp_path / "yes").mkdir()
    allow(cairn, tmp_path / "yes")
    cairn.apply(workload(volumes=[absolute(tmp_path / "yes-not", "/a"), absolute(tmp_path, "/b"),
                                  absolute(tmp_path / "yes" / "in", "/c")]))
    assert refused_codes(cairn.fails("workload", "deploy", "web")) == {
        "/a": "outside_allowed_paths", "/b": "outside_allowed_paths"}
    nothing_made(cairn)
    assert not (tmp_path / "yes-not").exists() and not (tmp_path / "yes" / "in").exists()


def test_forbidden_places(fake):
    with Cairnd(fake) as cairn:
        allow(cairn, "/")
        forbidden = ["/etc", "/etc/some", "/usr", "/usr/local/data", "/boot", "/proc/1", "/sys/fs", "/dev/shm", "/run",
                     "/run/x", "/bin", "/lib/x", "/var", fake.data_root, fake.data_root / "volumes", fake.data_root.parent,
                     cairn.data, cairn.data / "journal", cairn.data / "repo" / "data", cairn.data.parent,
                     cairn.data / "volumes", fake.socket.parent]
        # /var/run is /run, so /var contains nothing forbidden by itself; Docker's root decides there.
        forbidden.remove("/var")
        for number, path in enumerate(forbidden):
            cairn.apply(workload(f"w{number}", volumes=[absolute(path)]))
            codes = refused_codes(cairn.fails("workload", "deploy", f"w{number}"))
            assert codes == {"/data": "forbidden_place"}, path
            cairn.ok("workload", "rm", f"w{number}", "--yes")
        nothing_made(cairn)
        file = cairn.base / "root.json"
        file.write_text(json.dumps(workload("root", volumes=[absolute("/")])))
        assert cairn.fails("workload", "apply", "-f", file)["status"] == 400


def test_forbidden_by_another_path(fake, tmp_path):
    """A place is known by its directory, not by its name."""
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to(tmp_path)
    with Cairnd(fake) as cairn:
        allow(cairn, tmp_path)
        for number, path in enumerate(["link", "link/inner", "sub/link/data"]):
            cairn.apply(workload(f"w{number}", volumes=[absolute(tmp_path / path)]))
            codes = refused_codes(cairn.fails("workload", "deploy", f"w{number}"))
            assert codes["/data"] in ("forbidden_place", "unresolved"), path
        assert not os.path.exists("/etc/inner") and not (tmp_path / "data").exists()
        nothing_made(cairn)


def test_a_link_swapped_in_later_is_not_followed(cairn, tmp_path):
    """The directory above a volume becomes a link: neither deploy, capture nor restore goes there."""
    allow(cairn, tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "else" / "data").mkdir(parents=True)
    (tmp_path / "else" / "data" / "private").write_text("not yours")
    deploy(cairn, workload(volumes=[absolute(tmp_path / "own" / "data")]))
    fill(tmp_path / "own" / "data", "first")
    ident = snapshot(cairn)
    (tmp_path / "own").rename(tmp_path / "moved")
    (tmp_path / "own").symlink_to("else")
    for arguments in (("snapshot", "create", "web"), ("snapshot", "restore", "web", ident, "--yes"),
                      ("workload", "deploy", "web", "--force")):
        problem = cairn.fails(*arguments)
        assert problem["status"] == 400, problem
    assert (tmp_path / "else" / "data" / "private").read_text() == "not yours"
    assert os.listdir(tmp_path / "else") == ["data"]
    (tmp_path / "own").unlink()
    (tmp_path / "moved").rename(tmp_path / "own")


@pytest.mark.parametrize("sources", [("data", "data"), ("data", "data/inner"), ("a/b/c", "a")],
                         ids=["same", "inside", "outside"])
def test_two_targets_never_share_or_nest_their_places(cairn, sources):
    cairn.apply(workload(volumes=[
        {"source": sources[0], "target": "/one", "scope": "project"},
        {"source": sources[1], "target": "/two", "scope": "project"},
    ]))
    problem = cairn.fails("workload", "deploy", "web")
    assert reasons(problem) == {"shared_place"}
    nothing_made(cairn)


def test_shared_by_a_bind_mount_is_still_shared(cairn, tmp_path):
    """Two paths of one directory: known by its identity."""
    import subprocess
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "one", tmp_path / "two"], check=True)
    try:
        allow(cairn, tmp_path)
        cairn.apply(workload(volumes=[absolute(tmp_path / "one", "/one"), absolute(tmp_path / "two", "/two")]))
        assert "shared_place" in reasons(cairn.fails("workload", "deploy", "web"))
    finally:
        subprocess.run(["umount", tmp_path / "two"], check=True)


def test_a_parent_that_everyone_may_write_refuses_the_restore(cairn, tmp_path):
    allow(cairn, tmp_path)
    shared = tmp_path / "shared"
    shared.mkdir()
    deploy(cairn, workload(volumes=[absolute(shared / "data")]))
    fill(shared / "data", "first")
    ident = snapshot(cairn)
    os.chmod(shared, 0o777)
    problem = cairn.fails("snapshot", "restore", "web", ident, "--yes")
    assert problem["status"] == 400 and "everyone" in json.dumps(problem)
    assert not (shared / ".cairn").exists()
    os.chmod(shared, 0o755)
    settle(cairn, restore(cairn, ident))


def test_a_place_is_written_down_at_its_first_use(cairn, tmp_path):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    cairn.ok("system", "settings", "set", "base_volume_path", str(tmp_path / "elsewhere"))
    assert place(cairn) == data
    cairn.ok("workload", "deploy", "web", "--force")
    settle(cairn, restore(cairn, ident))
    assert (data / "file").read_text() == "first" and place(cairn) == data
    # What is new goes to the new base.
    deploy(cairn, workload("next"))
    assert place(cairn, "next").parent.parent == tmp_path / "elsewhere"


def test_staging_is_for_root_only(cairn):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    settle(cairn, restore(cairn, snapshot(cairn)))
    staging = data.parent / ".cairn"
    for directory in (staging, *staging.iterdir()):
        seen = directory.stat()
        assert stat.S_IMODE(seen.st_mode) == 0o700 and (seen.st_uid, seen.st_gid) == (0, 0)
    assert stat.S_IMODE(cairn.data.stat().st_mode) == 0o700
    for key in (cairn.data / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o400


def test_a_staging_directory_of_others_is_not_used(cairn):
    """Somebody made `.cairn` before, writable for themselves."""
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "first")
    ident = snapshot(cairn)
    staging = data.parent / ".cairn"
    staging.mkdir()
    os.chown(staging, 1000, 1000)
    os.chmod(staging, 0o777)
    answer = cairn.cli("snapshot", "restore", "web", ident, "--yes")
    if answer.returncode == 0:  # taken over: it must be root's alone by then
        settle(cairn, json.loads(answer.stdout))
        assert stat.S_IMODE(staging.stat().st_mode) == 0o700 and staging.stat().st_uid == 0
    else:
        assert "cannot_exchange" in reasons(json.loads(answer.stdout))
        assert (data / "file").read_text() == "first"


def test_a_plan_removes_only_the_staging_directory_that_it_made(cairn, tmp_path):
    allow(cairn, tmp_path)
    deploy(cairn, workload(volumes=[absolute(tmp_path / "data")]))
    fill(tmp_path / "data", "first")
    ident = snapshot(cairn)
    assert cairn.ok("snapshot", "restore", "web", ident, "--dry-run")["status"] == "planned"
    assert sorted(os.listdir(tmp_path)) == ["data"]
    (tmp_path / ".cairn").mkdir(mode=0o700)
    made = (tmp_path / ".cairn").stat().st_ino
    assert cairn.ok("snapshot", "restore", "web", ident, "--dry-run")["status"] == "planned"
    assert (tmp_path / ".cairn").stat().st_ino == made


def test_a_file_behind_a_link_is_where_the_link_leads(cairn, tmp_path):
    (tmp_path / "link").symlink_to("/etc/ssl")
    allow(cairn, tmp_path / "link")
    cairn.apply(workload(volumes=[absolute(tmp_path / "link" / "openssl.cnf", "/a"),
                                  absolute(tmp_path / "link" / "not-there-yet", "/b")]))
    assert refused_codes(cairn.fails("workload", "deploy", "web")) == {"/a": "forbidden_place", "/b": "forbidden_place"}
    nothing_made(cairn)
