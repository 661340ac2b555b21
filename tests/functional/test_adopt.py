"""Snapshots that restic wrote into Cairn's repository become snapshots of a workload."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess

import pytest

from lib.dockerapi import wait_for
from lib.jobs import deploy, fill, place, reasons, restore, running, settle, snapshot, workload
from lib.trees import diff_trees, read_tree

TWO = [{"source": "data", "target": "/data", "scope": "project"},
       {"source": "more", "target": "/more", "scope": "project"}]


class Restic:
    """The real restic on the daemon's repository, with the exported key."""

    def __init__(self, cairn):
        self.kit = cairn.ok("repo", "key", "export")
        self.env = {**os.environ, "RESTIC_PASSWORD": self.kit["password"],
                    "RESTIC_REPOSITORY": self.kit["repository"], "RESTIC_CACHE_DIR": str(cairn.base / "cache")}

    def __call__(self, *arguments, **options):
        return subprocess.run(["restic", *map(str, arguments)], env=self.env, capture_output=True, text=True,
                              check=True, timeout=300, **options).stdout

    def backup(self, *paths, **options):
        """The id of a new snapshot."""
        found = re.search(r"snapshot ([0-9a-f]{8}) saved", self("backup", *paths, **options))
        return next(ident for ident in self.ids() if ident.startswith(found[1]))

    def snapshots(self):
        return {one["id"]: one for one in json.loads(self("snapshots", "--json"))}

    def ids(self):
        return set(self.snapshots())

    def check(self):
        assert "no errors were found" in self("check", "--read-data")


def make_source(root, mark="from elsewhere"):
    """What restic keeps, all of it."""
    root.mkdir(parents=True)
    fill(root, mark)
    (root / "random").write_bytes(os.urandom(3 << 20))
    with open(root / "sparse", "wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    (root / os.fsdecode(b"not utf-8 \xff\xfe")).write_text("odd")
    (root / "many").mkdir()
    for number in range(200):
        (root / "many" / f"{number}").write_text(str(number))
    os.chmod(root / "random", 0o4711)
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("/nowhere/at all")
    os.utime(root / "dangling", ns=(1, 2), follow_symlinks=False)
    os.utime(root / "many", ns=(3, 4))
    return root


def adopt(cairn, ident, *maps, name="web"):
    options = [word for one in maps for word in ("--map", one)]
    return cairn.ok("snapshot", "adopt", name, ident, *options)


@pytest.fixture
def restic(cairn):
    deploy(cairn, workload())
    return Restic(cairn)


@pytest.fixture
def source(cairn):
    return make_source(cairn.base / "elsewhere" / "srv" / "data")


# -- what must work --------------------------------------------------------------------------------


def test_what_restic_made_is_restored_onto_a_workload(cairn, restic, source):
    ident = restic.backup("--time", "2021-02-03 04:05:06", source)
    theirs = restic.snapshots()[ident]
    want = read_tree(source)
    data = place(cairn)
    fill(data, "live")
    before = read_tree(data)
    packs = sorted((cairn.data / "repo" / "data").rglob("*"))

    made = adopt(cairn, ident[:8], f"{source}=/data")
    assert made["state"] == "stored" and made["reason"] == "adopted" and made["adopted_from"] == ident
    assert made["created_at"].startswith("2021-02-03T") and made["stored_at"] and made["hold_ms"] == 0
    assert [(one["index"], one["target"]) for one in made["volumes"]] == [(0, "/data")]
    regular = [entry.size for entry in want.values() if entry.kind == "file"]
    assert made["bytes"] == made["volumes"][0]["bytes"] == sum(regular)
    assert made["files"] == sum(entry.kind != "dir" for entry in want.values())
    assert diff_trees(before, data) == [], "an adoption touches no volume"
    new = set(sorted((cairn.data / "repo" / "data").rglob("*"))) - set(packs)
    assert sum(path.stat().st_size for path in new if path.is_file()) < 10_000, "the blobs are shared"

    assert made in cairn.ok("snapshot", "ls", "web")["snapshots"]
    assert cairn.ok("snapshot", "verify", "web", made["id"])["verified_at"]
    result = restore(cairn, made["id"])
    assert diff_trees(want, data) == [] and running(cairn)
    settle(cairn, result)
    restic.check()
    # restic sees both, each with what it holds.
    both = restic.snapshots()
    assert both[ident] == theirs
    ours = both[made["repository_snapshot"]]
    assert ours["original"] == ident and ours["time"] == "2021-02-03T04:05:06Z" == theirs["time"][:19] + "Z"
    assert ours["hostname"] == "web" and made["id"] in ours["tags"]
    out = cairn.base / "out"
    restic("restore", ours["id"], "--target", out)
    assert diff_trees(want, out / "volumes" / "0") == []


def test_removing_the_adopted_one_leaves_restics_own(cairn, restic, source):
    ident = restic.backup(source)
    made = adopt(cairn, ident, f"{source}=/data")
    cairn.ok("snapshot", "rm", "web", made["id"], "--yes")
    assert restic.ids() == {ident}
    restic.check()
    # And the other way: what was adopted does not need restic's any more.
    again = adopt(cairn, ident, f"{source}=/data")
    restic("forget", ident, "--prune")
    assert restic.ids() == {again["repository_snapshot"]}
    restic.check()
    assert cairn.ok("snapshot", "verify", "web", again["id"])["verified_at"]
    settle(cairn, restore(cairn, again["id"]))
    assert diff_trees(source, place(cairn)) == []


def test_download_and_import_take_it_like_any_other(cairn, restic, source, tmp_path):
    made = adopt(cairn, restic.backup(source), f"{source}=/data")
    file = tmp_path / "out.tar.gz"
    cairn.ok("snapshot", "download", made["id"], "-o", file)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "out", "--xattrs", "--xattrs-include=*", "-xpf", file], check=True)
    assert diff_trees(source, tmp_path / "out" / "volumes" / "0") == []
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["snapshot"] == made["id"] and manifest["volumes"][0]["target"] == "/data"
    again = cairn.ok("snapshot", "import", "web", file, "--allow", "links,owners,xattrs", "--skip", "fifos,devices")
    assert again["bytes"] == made["bytes"]


def test_two_volumes_of_one_snapshot(cairn):
    deploy(cairn, workload(volumes=TWO))
    restic = Restic(cairn)
    base = cairn.base / "elsewhere"
    one, two = make_source(base / "a=b" / "one"), make_source(base / "two", "other")
    os.link(one / "random", two / "same")  # names of one inode, in two volumes
    ident = restic.backup(one, two)
    made = adopt(cairn, ident, f"{two}=/data", f"{one}/=/more")
    assert [(v["index"], v["target"]) for v in made["volumes"]] == [(0, "/data"), (1, "/more")]
    settle(cairn, restore(cairn, made["id"]))
    assert diff_trees(two, place(cairn)) == []
    assert diff_trees(one, place(cairn, target="/more")) == []


def test_a_whole_snapshot_is_a_directory_too(cairn, restic, source):
    ident = restic.backup(".", cwd=source)
    made = adopt(cairn, ident, "/=/data")
    assert len(made["warnings"]) == 1 and "mode 0755" in made["warnings"][0]
    settle(cairn, restore(cairn, made["id"]))
    assert [line for line in diff_trees(source, place(cairn)) if not line.startswith("b'.':")] == []
    root = place(cairn).stat()
    assert (root.st_mode & 0o7777, root.st_uid, root.st_gid) == (0o755, 0, 0)


def test_a_time_before_1970_is_kept(cairn, restic, source):
    made = adopt(cairn, restic.backup("--time", "1960-01-02 03:04:05", source), f"{source}=/data")
    assert made["created_at"] == "1960-01-02T03:04:05.000Z"
    assert restic.snapshots()[made["repository_snapshot"]]["time"] == "1960-01-02T03:04:05Z"
    assert cairn.ok("snapshot", "show", made["id"]) == made


def test_a_target_that_has_no_data_yet(cairn):
    cairn.apply(workload("fresh"))
    source = make_source(cairn.base / "elsewhere")
    made = adopt(cairn, Restic(cairn).backup(source), f"{source}=/data", name="fresh")
    assert made["workload"] == "fresh"


def test_what_cairn_wrote_can_be_rescued_where_its_row_is_lost(cairn, restic, source):
    shutil.copytree(source, place(cairn), dirs_exist_ok=True, symlinks=True,
                    ignore=lambda *_: ["pipe"])
    (place(cairn) / "pipe").unlink(missing_ok=True)
    want = read_tree(place(cairn))
    lost = cairn.ok("snapshot", "show", snapshot(cairn))
    cairn.stop()
    with sqlite3.connect(cairn.data / "catalog.db") as catalog:
        catalog.execute("DELETE FROM snapshots")
    cairn.start()
    made = adopt(cairn, lost["repository_snapshot"], "/volumes/0=/data")
    fill(place(cairn), "changed")
    settle(cairn, restore(cairn, made["id"]))
    assert diff_trees(want, place(cairn)) == []
    restic("forget", lost["repository_snapshot"])  # or fsck asks whose it is


def test_dry_run_makes_nothing(cairn, restic, source):
    ident = restic.backup(source)
    plan = cairn.ok("snapshot", "adopt", "web", ident[:10], "--map", f"{source}=/data", "--dry-run")
    assert plan["status"] == "planned" and plan["adopted_from"] == ident
    assert [(one["target"], one["path"]) for one in plan["volumes"]] == [("/data", str(source))]
    assert plan["bytes"] == plan["volumes"][0]["bytes"] > 3 << 20 and plan["files"] > 200
    assert restic.ids() == {ident} and cairn.ok("snapshot", "ls")["snapshots"] == []
    shown = cairn.cli("snapshot", "adopt", "web", ident, "--map", f"{source}=/data", "--dry-run", json_output=False)
    assert shown.returncode == 0 and "/data" in shown.stdout and ident in shown.stdout


def test_over_http(cairn, restic, source):
    ident = restic.backup(source)
    body = {"snapshot": ident, "map": [{"path": str(source), "target": "/data"}]}
    path = "/api/workloads/web/snapshots/adopt"
    assert cairn.http("POST", path + "?dryRun=1", body=body).json()["status"] == "planned"
    answer = cairn.http("POST", path, body=body)
    assert answer.status == 201, answer
    where = {name.lower(): value for name, value in dict(answer.headers).items()}["location"]
    assert where.endswith("/snapshots/" + answer.json()["id"])
    assert cairn.http("GET", where).json()["adopted_from"] == ident
    later = cairn.http("POST", path, headers={"Prefer": "respond-async"}, body=body)
    assert later.status == 202 and cairn.wait_operation(later.json()["id"])["state"] == "done"
    events = [one["kind"] for one in cairn.ok("events", "ls")["events"]]
    assert events.count("snapshot.adopted") == 2


# -- what is refused -------------------------------------------------------------------------------


def test_every_refusal_names_the_field_and_changes_nothing(cairn):
    volumes = [*TWO, {"source": "", "target": "/scratch", "scope": "ephemeral"},
               {"source": "/outside/of/what/is/allowed", "target": "/skipped", "scope": "absolute"}]
    cairn.apply(workload(volumes=volumes))
    restic = Restic(cairn)
    source = make_source(cairn.base / "elsewhere" / "data")
    (source.parent / "way").symlink_to("data")
    ident = restic.backup(source.parent)
    good = f"{source}=/data"
    seen = restic.ids()

    def refused(*maps, snapshot=ident, code=1):
        options = [word for one in maps for word in ("--map", one)]
        problem = cairn.fails("snapshot", "adopt", "web", snapshot, *options, code=code)
        dry = cairn.fails("snapshot", "adopt", "web", snapshot, *options, "--dry-run", code=code)
        assert (dry["code"], dry.get("reasons")) == (problem["code"], problem.get("reasons"))
        assert restic.ids() == seen and cairn.ok("snapshot", "ls")["snapshots"] == []
        assert problem["reasons"], problem
        return {(one["target"], one["code"]) for one in problem["reasons"]}

    assert refused(f"{source}/none=/data") == {("map[0].path", "no_such_path")}
    assert refused(f"{source}/file=/data") == {("map[0].path", "not_a_directory")}
    assert refused(f"{source.parent}/way=/data") == {("map[0].path", "symbolic_link")}
    assert refused(f"{source.parent}/way/deep=/data") == {("map[0].path", "symbolic_link")}
    assert refused(f"{source}/../data=/data") == {("map[0].path", "invalid_path")}
    assert refused(f"{source}/.=/data") == {("map[0].path", "invalid_path")}
    assert refused("data=/data") == {("map[0].path", "invalid_path")}
    assert refused(f"{source}=/other") == {("map[0].target", "not_declared")}
    assert refused(f"{source}=/data/") == {("map[0].target", "invalid")}
    assert refused(good, f"{source}/deep=/data") == {("map[1].target", "mapped_twice")}
    assert refused(f"{source}=/scratch") == {("map[0].target", "not_capturable")}
    assert refused(f"{source}=/skipped") == {("map[0].target", "outside_allowed_paths")}
    assert refused(f"{source}/none=/data", f"{source}=/other") == \
        {("map[0].path", "no_such_path"), ("map[1].target", "not_declared")}, "all at once"
    other = ("0" if ident[0] != "0" else "1") + ident[1:]
    assert refused(good, snapshot=other, code=3) == {("snapshot", "not_found")}
    for digits in (ident[:7], ident.upper()[:8] + "g", "latest", ident + "0", "../" + ident):
        assert refused(good, snapshot=digits) == {("snapshot", "invalid")}, digits
    assert cairn.fails("snapshot", "adopt", "nobody", ident, "--map", good, code=3)["code"] == "not_found"
    for words in ([], ["--map", "no target"], ["--map", f"{source}="], ["--map", "=/data"]):
        assert cairn.cli("snapshot", "adopt", "web", ident, *words).returncode == 2, words
    cairn.ok("snapshot", "adopt", "web", ident, "--map", good, "--dry-run")


def test_bodies_that_are_wrong_are_400_with_every_fault(cairn, restic, source):
    ident = restic.backup(source)
    mapping = {"path": str(source), "target": "/data"}
    for body, fields in (({}, {"snapshot", "map"}), ({"snapshot": 1, "map": [mapping]}, {"snapshot"}),
                         ({"snapshot": ident, "map": []}, {"map"}), ({"snapshot": ident, "map": "x"}, {"map"}),
                         ({"snapshot": ident, "map": [1, {}]}, {"map[0]", "map[1].path", "map[1].target"}),
                         ({"snapshot": ident, "map": [{**mapping, "more": 1}]}, {"map[0].more"}),
                         ({"snapshot": ident, "map": [mapping], "wait": True}, {"wait"}),
                         ({"snapshot": ident, "map": [mapping] * 65}, {"map"})):
        answer = cairn.http("POST", "/api/workloads/web/snapshots/adopt", body=body)
        assert answer.status == 400, (body, answer)
        assert {one["target"] for one in answer.json()["reasons"]} == fields, body
    assert cairn.ok("snapshot", "ls")["snapshots"] == []


def test_a_snapshot_that_cairn_has_a_row_of(cairn, restic, source):
    fill(place(cairn), "live")
    own = cairn.ok("snapshot", "show", snapshot(cairn))
    problem = cairn.fails("snapshot", "adopt", "web", own["repository_snapshot"], "--map", "/volumes/0=/data")
    assert reasons(problem) == {"known"} and own["id"] in problem["detail"]
    made = adopt(cairn, restic.backup(source), f"{source}=/data")
    problem = cairn.fails("snapshot", "adopt", "web", made["repository_snapshot"], "--map", "/volumes/0=/data")
    assert reasons(problem) == {"known"} and made["id"] in problem["detail"]


def test_digits_of_several_snapshots(cairn, restic, source):
    ident = restic.backup(source)
    twin = cairn.data / "repo" / "snapshots" / (ident[:8] + "0" * 56)
    twin.write_bytes(b"whatever it holds")
    try:
        problem = cairn.fails("snapshot", "adopt", "web", ident[:8], "--map", f"{source}=/data")
        assert problem["reasons"][0]["target"] == "snapshot" and "several" in problem["detail"]
        assert adopt(cairn, ident[:12], f"{source}=/data")["adopted_from"] == ident
    finally:
        twin.unlink()


def test_a_snapshot_that_lacks_something_below_the_path(cairn, restic, source):
    """Trees and blobs are looked for before anything is made; what is whole can still be had."""
    whole = make_source(source.parent / "whole", "whole")
    ident = restic.backup(whole)
    packs = set((cairn.data / "repo" / "index").iterdir())
    both = restic.backup(source, whole)
    gone = [path for path in (cairn.data / "repo" / "index").iterdir() if path not in packs]
    kept = cairn.base / "kept"
    kept.mkdir()
    # The trees of both lie in the packs of the second backup: hide them, then only the first's are known.
    for path in gone:
        shutil.move(path, kept)
    try:
        problem = cairn.fails("snapshot", "adopt", "web", both, "--map", f"{source}=/data")
        assert reasons(problem) == {"damaged"} and problem["reasons"][0]["target"] == "map[0].path"
        assert adopt(cairn, ident, f"{whole}=/data")["state"] == "stored"
    finally:
        for path in kept.iterdir():
            shutil.move(path, cairn.data / "repo" / "index")
    assert adopt(cairn, both, f"{source}=/data")["state"] == "stored"


def test_a_repository_that_somebody_holds_alone_is_busy(cairn, restic, source):
    ident = restic.backup(source)
    for number in range(2000):
        (source / "many" / f"more-{number}").write_bytes(os.urandom(100))
    with subprocess.Popen(["restic", "check", "--read-data"], env=restic.env, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as alone:
        def locked():  # a name that is written in full
            return [name for name in os.listdir(cairn.data / "repo" / "locks") if len(name) == 64]

        wait_for(lambda: locked() or alone.poll() is not None, 60, "restic's lock")
        os.kill(alone.pid, signal.SIGSTOP)
        try:
            assert alone.poll() is None and locked(), "restic ended before it could be stopped"
            problem = cairn.fails("snapshot", "adopt", "web", ident, "--map", f"{source}=/data", code=4)
            assert problem["code"] == "busy"
        finally:
            os.kill(alone.pid, signal.SIGCONT)
    assert adopt(cairn, ident, f"{source}=/data")["state"] == "stored"


# -- crashes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 20, 60, 120, 200, 260, 320])
def test_a_daemon_that_is_killed_leaves_all_or_nothing(cairn, restic, source, delay_ms):
    ident = restic.backup(source)
    child = cairn.popen("snapshot", "adopt", "web", ident, "--map", f"{source}=/data")
    wait_for(lambda: "snapshot.adopt" in operations(cairn), 30, "the operation")
    subprocess.run(["sleep", str(delay_ms / 1000)], check=True)
    cairn.kill()
    child.communicate()
    cairn.start()
    cairn.assert_clean()
    restic("unlock")  # what the dead daemon left
    rows = cairn.ok("snapshot", "ls")["snapshots"]
    assert len(rows) <= 1 and restic.ids() == {ident, *(one["repository_snapshot"] for one in rows)}
    for row in rows:
        assert row["state"] == "stored" and row["adopted_from"] == ident and row["volumes"]
        settle(cairn, restore(cairn, row["id"]))
        assert diff_trees(source, place(cairn)) == []
    restic.check()


def operations(cairn):
    with sqlite3.connect(f"file:{cairn.data}/catalog.db?mode=ro", uri=True) as catalog:
        return [row[0] for row in catalog.execute("SELECT kind FROM operations")]
