"""Snapshots as archives: out as a tar.gz that others read, and in again by the strictest of readers."""

import os
import subprocess
import tarfile

import pytest

from lib.jobs import deploy, place, snapshot, workload
from lib.trees import diff_trees, read_tree

HOLE = 8 << 20
LONG = "n" * 255
TWO = [{"source": "one", "target": "/one", "scope": "stage"}, {"source": "two", "target": "/two", "scope": "project"}]


def posix_acl(*entries) -> bytes:
    """A POSIX ACL as the kernel stores it: (tag, permissions, id)."""
    out = (2).to_bytes(4, "little")
    for tag, perm, ident in entries:
        out += tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + ident.to_bytes(4, "little")
    return out


NOBODY = 0xFFFFFFFF
ACCESS = posix_acl((1, 6, NOBODY), (2, 4, 1234), (4, 4, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY))


def make_everything(root, special=True):
    """One of each that an archive must keep."""
    (root / "plain").write_bytes(b"some words\n" * 5000)
    (root / "empty").write_text("")
    (root / "dir" / "below").mkdir(parents=True)
    (root / "dir" / LONG).write_text("a long name")
    deep = root
    for _ in range(12):
        deep = deep / ("d" * 100)
        deep.mkdir()
    (deep / "leaf").write_text("far down")
    fd = os.open(os.fsencode(root) + b"/not-utf8-\xff\xfe\nx", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"bytes")
    os.close(fd)
    with open(root / "holes", "wb") as file:
        file.seek(HOLE)
        file.write(os.urandom(100_000))
        file.seek(2 * HOLE)
        file.write(b"end")
        file.truncate(3 * HOLE)
    with open(root / "all-hole", "wb") as file:
        file.truncate(HOLE)
    (root / "link").symlink_to("../../outside")
    (root / "long-link").symlink_to("t" * 3000)
    os.link(root / "link", root / "link-again")
    os.link(root / "plain", root / "dir" / "plain-again")
    os.chown(root / "empty", 3_000_000_000, 2_999_999_999)
    os.chmod(root / "empty", 0o6755)
    os.setxattr(root / "plain", "user.note", b"bytes \x00\xff=%")
    os.setxattr(root / "plain", "user.odd=name%", b"1")
    os.setxattr(root / "dir", "user.note", b"of a directory")
    os.setxattr(root / "plain", "system.posix_acl_access", ACCESS)
    os.setxattr(root / "dir", "system.posix_acl_default", ACCESS)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(root / "empty", "security.capability", capability)
    os.utime(root / "plain", ns=(5, -1_750_000_000))
    os.utime(root / "empty", ns=(5, 9_000_000_000_123_456_789))
    os.utime(root / "dir" / "below", ns=(7, 1_234_567_890_987_654_321))
    os.utime(root / "link", ns=(7, 999_999_999), follow_symlinks=False)
    os.chmod(root, 0o1751)
    os.chown(root, 70, 71)
    if special:
        os.mkfifo(root / "fifo", 0o640)
        os.mknod(root / "null", 0o20666, os.makedev(1, 3))
        os.mknod(root / "disk", 0o60660, os.makedev(7, 300))


def download(cairn, ident, file):
    done = cairn.ok("snapshot", "download", ident, "-o", file)
    assert done["status"] == "downloaded" and done["bytes"] == os.path.getsize(file)
    return file


@pytest.fixture
def everything(cairn, tmp_path):
    """A snapshot of a tree with one of each, its archive, and the tree itself."""
    deploy(cairn, workload())
    data = place(cairn)
    make_everything(data)
    ident = snapshot(cairn)
    return ident, download(cairn, ident, tmp_path / "all.tar.gz"), data


def test_gnu_tar_unpacks_a_download_to_the_same_tree(everything, tmp_path):
    ident, archive, data = everything
    out = tmp_path / "out"
    out.mkdir()
    listed = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True).stdout.split(b"\n")
    assert listed[0] == b"manifest.json" and listed[1] == b"volumes/0/"
    subprocess.run(["tar", "-xpf", archive, "-C", out, "--xattrs", "--xattrs-include=*", "--numeric-owner"], check=True)
    want, got = read_tree(data), read_tree(out / "volumes" / "0")
    # GNU tar keeps no times of symbolic links' second names apart and sets no ACL from an attribute.
    for tree in (want, got):
        for entry in tree.values():
            for name in [n for n in entry.xattrs if n.startswith("system.posix_acl")]:
                del entry.xattrs[name]
    assert diff_trees(want, got) == []
    holes = os.stat(out / "volumes" / "0" / "holes")
    assert holes.st_size == 3 * HOLE and holes.st_blocks * 512 < HOLE


def test_python_reads_what_a_download_says(everything):
    ident, archive, data = everything
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar}
        assert tar.next() is None
        plain = members["volumes/0/plain"] if members["volumes/0/plain"].isreg() else members["volumes/0/dir/plain-again"]
        assert plain.pax_headers["mtime"] == "-1.750000000"
        assert plain.pax_headers["SCHILY.xattr.user.odd%3Dname%25"] == "1"
        assert "SCHILY.xattr.system.posix_acl_access" in plain.pax_headers
        holes = members["volumes/0/holes"]
        assert holes.issparse() and holes.size == 3 * HOLE
        assert tar.extractfile(holes).read() == (data / "holes").read_bytes()
        assert members["volumes/0/empty"].uid == 3_000_000_000
        assert members["volumes/0/link-again"].islnk() and members["volumes/0/link"].issym()
        assert members["volumes/0/null"].ischr() and members["volumes/0/fifo"].isfifo()
        assert any(name.endswith("/" + LONG) for name in members)


def test_a_download_to_standard_output_is_the_same_archive(cairn, everything, tmp_path):
    ident, archive, data = everything
    child = cairn.popen("snapshot", "download", ident, "-o", "-", text=False)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, b"") and out == archive.read_bytes()


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(cairn, everything, tmp_path):
    ident, archive, data = everything
    old = tmp_path / "old.tar.gz"
    old.write_text("what was there")
    problem = cairn.fails("snapshot", "download", ident[:-1] + ("x" if ident[-1] != "x" else "y"), "-o", old, code=3)
    assert problem["code"] == "not_found" and old.read_text() == "what was there"
    download(cairn, ident, old)
    assert old.read_bytes() == archive.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["all.tar.gz", "old.tar.gz"]


def test_a_damaged_blob_cuts_the_download_off(cairn, tmp_path):
    deploy(cairn, workload())
    (place(cairn) / "file").write_bytes(os.urandom(1 << 20))
    ident = snapshot(cairn)
    packs = sorted((cairn.data / "repo" / "data").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    pack = packs[-1]
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    cairn.fails("snapshot", "download", ident, "-o", tmp_path / "bad.tar.gz")
    assert os.listdir(tmp_path) == [], "nothing that looks like an archive is left"
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
