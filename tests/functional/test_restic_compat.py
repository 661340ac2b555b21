"""The repository engine alone against Debian's restic, both ways, entry by entry."""

import json
import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from lib.trees import diff_trees

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("CAIRN_BIN", ROOT / "build/release/bin")) / "cairn_repo_tool"
PASSWORD = "a password of tests"


class Repo:
    """One repository directory, driven by our tool and by restic."""

    def __init__(self, base: Path, maker: str):
        self.path = base / "repo"
        self.scratch = base / "scratch"
        self.scratch.mkdir()
        self.env = {
            **os.environ,
            "CAIRN_REPO_PASSWORD": PASSWORD,
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(base / "cache"),
        }
        if maker == "cairn":
            self.tool("init", self.path)
        else:
            self.restic("init")

    def run(self, *argv, ok=True):
        done = subprocess.run([str(one) for one in argv], env=self.env, capture_output=True, text=True, timeout=300)
        assert (done.returncode == 0) == ok, (argv, done.stdout, done.stderr)
        return done.stdout if ok else done.stderr

    def tool(self, verb, *arguments, ok=True):
        return self.run(TOOL, verb, *arguments, ok=ok)

    def restic(self, *arguments, ok=True):
        return self.run("restic", "-r", self.path, *arguments, ok=ok)

    def archive(self, *roots):
        return self.tool("capture", self.path, self.scratch, *roots).split()[-1]

    def backup(self, root):
        self.restic("backup", root)
        return json.loads(self.restic("snapshots", "--json", "--latest", "1", "--path", root))[-1]["id"]

    def check(self):
        assert "no errors were found" in self.restic("check", "--read-data")
        assert self.tool("check-data", self.path).strip().endswith("clean")


@pytest.fixture(params=["cairn", "restic"])
def repo(request, tmp_path):
    return Repo(tmp_path, request.param)


def odd_bytes(seed, size):
    return random.Random(seed).randbytes(size)


@pytest.fixture
def source(tmp_path):
    """Everything that a snapshot keeps, in one tree."""
    root = tmp_path / "source"
    for directory in ("a/b/c", "empty", "many", "acl"):
        (root / directory).mkdir(parents=True)
    for number in range(400):
        (root / "many" / f"{number:03}").write_bytes(odd_bytes(number, number * 11))
    (root / "noise").write_bytes(odd_bytes(1, 9_000_001))
    (root / "text").write_bytes(b"the same line again\n" * 200_000)
    (root / "pages").write_bytes((odd_bytes(2, 5000) + bytes(3192)) * 1000)
    (root / "nothing").touch()
    with open(root / "sparse", "wb") as file:
        file.seek(30_000_000)
        file.write(b"middle")
        file.truncate(50_000_000)
    for name in (b"line\nfeed", b"quote\"back\\slash", b"\xff\xfe not utf-8", "é ü 漢 \u2028".encode(), b"<&>", b"x" * 255):
        (root / os.fsdecode(name)).write_bytes(name)
    os.link(root / "noise", root / "a" / "same")
    (root / "a" / "dangling").symlink_to("/nowhere/<é>")
    os.utime(root / "a" / "dangling", ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)
    (root / "a" / "far").symlink_to("/" + "t/" * 2047)
    for name, when in (("1901", -2_147_483_648_000_000_001), ("2106", 4_294_967_296_123_456_789)):
        (root / "a" / name).write_text(name)
        os.utime(root / "a" / name, ns=(when, when))
        (root / "a" / f"to-{name}").symlink_to(name)
        os.utime(root / "a" / f"to-{name}", ns=(when, when), follow_symlinks=False)
    os.mkfifo(root / "a" / "pipe", 0o640)
    os.mknod(root / "a" / "null", 0o20666, os.makedev(1, 3))
    os.mknod(root / "a" / "disk", 0o60660, os.makedev(259, 300_000))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    os.chown(root / "text", 1234, 4_000_000_000)
    os.chmod(root / "text", 0o6755)
    os.setxattr(root / "text", "user.note", b"\0\xff bytes")
    os.setxattr(root / "text", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    access = "0200000001000700ffffffff02000600e803000004000500ffffffff10000700ffffffff20000500ffffffff"
    os.setxattr(root / "acl", "system.posix_acl_access", bytes.fromhex(access))
    os.setxattr(root / "acl", "system.posix_acl_default", bytes.fromhex(access))
    os.chmod(root / "empty", 0o3771)
    os.utime(root / "many", ns=(0, -1_000_000_001))
    os.chmod(root, 0o1700)
    return root


def assert_same(source, copy):
    assert diff_trees(source, copy, skip=["socket"]) == []


def test_restic_reads_what_cairn_wrote(repo, source, tmp_path):
    ident = repo.archive(source)
    repo.check()
    repo.restic("restore", ident, "--target", tmp_path / "out")
    assert (tmp_path / "out/manifest.json").exists()
    assert_same(source, tmp_path / "out/volumes/0")


def test_cairn_restores_what_cairn_wrote(repo, source, tmp_path):
    ident = repo.archive(source, source / "many")
    (tmp_path / "out").mkdir()
    (tmp_path / "many").mkdir()
    repo.tool("restore", repo.path, ident, "/volumes/0", tmp_path / "out", "/volumes/1", tmp_path / "many")
    assert_same(source, tmp_path / "out")
    assert_same(source / "many", tmp_path / "many")
    held = sum(path.lstat().st_blocks for path in (tmp_path / "out").rglob("sparse"))
    assert held * 512 < 2_000_000


@pytest.mark.parametrize("repo", ["cairn"], indirect=True)
def test_a_large_file_the_disk_does_not_take_ends_its_restore(repo, tmp_path):
    """Its syncs while it is written tell of a write that was lost; the sync at the end need not do so again."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    (source / "large").write_bytes(odd_bytes(7, 5 << 20) * 32)
    ident = repo.archive(source)
    told = repo.run("strace", "-f", "-q", "-o", "/dev/null", "-P", out / "large", "-e", "inject=fdatasync:error=EIO",
                    TOOL, "restore", repo.path, ident, "/volumes/0", out, ok=False)
    assert "Input/output error" in told
    assert (out / "large").exists(), "ended before it was written"


def test_cairn_restores_what_restic_backed_up(repo, source, tmp_path):
    ident = repo.backup(source)
    (tmp_path / "out").mkdir()
    repo.tool("restore", repo.path, ident, source, tmp_path / "out")
    assert_same(source, tmp_path / "out")
    assert repo.tool("verify", repo.path, ident).strip() == "clean"


def test_both_write_into_one_repository_and_either_prunes(repo, source, tmp_path):
    first = repo.archive(source)
    second = repo.backup(source)
    (source / "noise").write_bytes(odd_bytes(9, 5_000_000))
    third = repo.archive(source)
    repo.check()
    repo.tool("forget", repo.path, first)
    repo.tool("prune", repo.path)
    repo.check()
    repo.restic("forget", second, "--prune")
    repo.check()
    repo.tool("prune", repo.path)
    repo.check()
    (tmp_path / "out").mkdir()
    repo.tool("restore", repo.path, third, "/volumes/0", tmp_path / "out")
    assert_same(source, tmp_path / "out")
    repo.restic("restore", third, "--target", tmp_path / "restic")
    assert_same(source, tmp_path / "restic/volumes/0")


def test_restic_diff_sees_only_what_changed(repo, source):
    first = repo.archive(source)
    (source / "nothing").write_text("something")
    second = repo.archive(source)
    changed = [line for line in repo.restic("diff", first, second).splitlines() if line[:2] in ("M ", "+ ", "- ")]
    assert {line.split()[-1] for line in changed} <= {"/volumes/0/nothing", "/manifest.json"}


def test_restics_exclusive_lock_is_respected(repo, source):
    repo.archive(source)
    # restic's own lock file is written by restic: a backup that waits for its standard input.
    with subprocess.Popen(
        ["restic", "-r", str(repo.path), "backup", "--stdin"], env=repo.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as waiting:
        locks = repo.path / "locks"
        while not list(locks.iterdir()):
            assert waiting.poll() is None
        assert "locked by" in repo.tool("prune", repo.path, ok=False)
        repo.archive(source)
        waiting.stdin.write(b"at last")
        waiting.stdin.close()
        assert waiting.wait(60) == 0
    repo.tool("prune", repo.path)
    repo.check()


def test_raw_link_targets_and_hard_linked_links_are_kept(repo, tmp_path):
    """restic before 0.16 restores these otherwise; Cairn reads back what it wrote, and restic checks it."""
    source, copy = tmp_path / "raw", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    os.symlink(b"\xff\xfe/raw\n", os.fsencode(source / "link"))
    os.link(source / "link", source / "same", follow_symlinks=False)
    ident = repo.archive(source)
    repo.check()
    repo.tool("restore", repo.path, ident, "/volumes/0", copy)
    assert_same(source, copy)


def test_a_capture_after_a_parent_is_the_same_tree(repo, source, tmp_path):
    """Unchanged files are taken over without being opened; what changed is read."""
    repo.archive(source)
    (source / "text").write_bytes(b"changed\n" * 200_000)
    os.chmod(source / "noise", 0o600)
    (source / "many" / "new").symlink_to("/new")
    again = repo.archive(source)
    repo.check()
    (tmp_path / "out").mkdir()
    repo.tool("restore", repo.path, again, "/volumes/0", tmp_path / "out")
    assert_same(source, tmp_path / "out")
    repo.restic("restore", again, "--target", tmp_path / "restic")
    assert_same(source, tmp_path / "restic/volumes/0")
    (repo.scratch / "facts").unlink()
    assert not restic_diff(repo, again, repo.archive(source))


def restic_diff(repo, one, two):
    lines = repo.restic("diff", one, two).splitlines()
    return {line.split()[-1] for line in lines if line[:2] in ("M ", "+ ", "- ", "U ", "T ")} - {"/manifest.json"}


def test_the_label_of_the_target_wins_over_the_stored_one(repo, tmp_path):
    source, labelled, plain = tmp_path / "labels", tmp_path / "labelled", tmp_path / "plain"
    for directory in (source, source / "below", labelled, plain):
        directory.mkdir()
    (source / "below" / "file").write_text("x")
    (source / "below" / "link").symlink_to("file")
    for path in (source, source / "below", source / "below" / "file"):
        os.setxattr(path, "security.selinux", b"system_u:object_r:stored_t:s0\0")
    os.setxattr(labelled, "security.selinux", b"system_u:object_r:live_t:s0\0")
    ident = repo.archive(source)
    repo.tool("restore", repo.path, ident, "/volumes/0", labelled)
    repo.tool("restore", repo.path, ident, "/volumes/0", plain)

    def labels(root):
        paths = [root, *root.rglob("*")]
        return {os.getxattr(path, "security.selinux", follow_symlinks=False)
                if "security.selinux" in os.listxattr(path, follow_symlinks=False) else None for path in paths}

    assert labels(labelled) == {b"system_u:object_r:live_t:s0\0"}
    assert labels(plain) == {None}


def test_one_percent_of_a_databases_pages_stores_a_fraction(repo, tmp_path):
    """64 KiB pieces: a page in each of 1 % of them must not store the file again."""
    source = tmp_path / "db"
    source.mkdir()
    pages = 8192
    with open(source / "base", "wb") as file:
        for number in range(pages):
            file.write(odd_bytes(number, 8192))

    def size():
        return sum(path.stat().st_size for path in (repo.path / "data").rglob("*") if path.is_file())

    repo.archive(source)
    before = size()
    with open(source / "base", "r+b") as file:
        for number in random.Random(1).sample(range(pages), pages // 100):
            file.seek(number * 8192)
            file.write(odd_bytes(pages + number, 8192))
    repo.archive(source)
    assert size() - before < before // 10
    repo.check()
