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
        return self.tool("archive", self.path, *roots).split()[-1]

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
