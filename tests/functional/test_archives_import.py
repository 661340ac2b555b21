"""Archives from elsewhere: what comes in again, and every attack on the way in, by name.

Each attack is made here, sent to the real daemon, and must leave everything around the staging directory as it was.
"""

import gzip
import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import tarfile
import time

import pytest

from lib.cairnd import Cairnd
from lib.dockerapi import wait_for
from lib.loopfs import LoopFs
from lib.jobs import deploy, fill, place, restore, running, settle, snapshot, workload
from lib.trees import diff_trees, read_tree, tree_digest

from test_archives import TWO, download, make_everything

BLOCK = 512
ALL = ["--allow", "links,owners,xattrs"]
SKIP = ["--skip", "fifos,devices"]
MANIFEST = {"version": 1, "volumes": [{"index": 0, "target": "/data", "scope": "project", "source": "data"}]}


# -- archives by hand: what tarfile would not write -----------------------------------------------


def header(name, kind=b"0", size=0, link=b"", mode=0o644, uid=0, gid=0, magic=b"ustar\x0000", fields=()):
    """One header block; fields: (offset, bytes) put over it before the checksum."""
    name, link = (text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text for text in (name, link))
    block = bytearray(BLOCK)
    block[0 : len(name[:100])] = name[:100]
    for at, digits, value in ((100, 7, mode), (108, 7, uid), (116, 7, gid), (124, 11, size), (136, 11, 1_000_000)):
        block[at : at + digits] = b"%0*o" % (digits, value)
    block[156:157] = kind
    block[157 : 157 + len(link[:100])] = link[:100]
    block[257:265] = magic
    for at, content in fields:
        block[at : at + len(content)] = content
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content):
    return content + b"\0" * (-len(content) % BLOCK)


def record(key, value):
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest + len(str(rest))))
    return b"%d %s=%s\n" % (size, key, value)


def pax(*records, kind=b"x"):
    body = b"".join(record(key, value) for key, value in records)
    return header("pax", kind, len(body)) + padded(body)


def member(name, content=b"", **more):
    return header(name, size=len(content), **more) + padded(content)


END = b"\0" * 1024
ROOT = header("volumes/0/", b"5", mode=0o755)


def archive(*members, manifest=MANIFEST, root=ROOT, end=END):
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return member("manifest.json", text) + root + b"".join(members) + end


# -- the place under attack ------------------------------------------------------------------------


class Target:
    """A workload with a volume, and all that an attack could reach beside the staging directory."""

    def __init__(self, cairn, tmp_path):
        self.cairn, self.tmp = cairn, tmp_path
        deploy(cairn, workload())
        self.data = place(cairn)
        fill(self.data, "live")
        self.victims = [cairn.base / "victim", cairn.data / "victim", cairn.data / "import-victim"]
        for victim in self.victims:
            victim.mkdir()
            (victim / "file").write_text("untouched")
        self.before = self.look()

    def look(self):
        places = [*self.victims, self.data, self.cairn.data / "keys", self.cairn.data / "volumes"]
        seen = [tree_digest(one) for one in places]
        names = sorted(os.listdir(self.cairn.base)), sorted(set(os.listdir(self.cairn.data)) - {"import"})
        return seen, names, sorted(os.listdir("/etc")), os.stat("/etc/passwd").st_mtime_ns

    def write(self, content):
        file = self.tmp / "hostile.tar"
        file.write_bytes(content)
        return file

    def check(self):
        assert self.look() == self.before
        imports = self.cairn.data / "import"
        assert not imports.exists() or os.listdir(imports) == []

    def refused(self, content, *options, word=None):
        """The import ends in a refusal that says why; nothing beside staging has changed."""
        count = len(self.cairn.ok("snapshot", "ls")["snapshots"])
        problem = self.cairn.fails("snapshot", "import", "web", self.write(content), *options)
        assert problem["code"] in ("invalid", "refused"), problem
        assert word is None or word in problem["detail"], problem["detail"]
        assert len(self.cairn.ok("snapshot", "ls")["snapshots"]) == count
        self.check()
        return problem

    def taken(self, content, *options):
        made = self.cairn.ok("snapshot", "import", "web", self.write(content), *options)
        self.check()
        return made


@pytest.fixture
def target(cairn, tmp_path):
    return Target(cairn, tmp_path)


# -- what must work --------------------------------------------------------------------------------


def test_download_import_restore_gives_the_same_tree(cairn, tmp_path):
    deploy(cairn, workload())
    data = place(cairn)
    make_everything(data)
    want = read_tree(data)
    file = download(cairn, snapshot(cairn), tmp_path / "all.tar.gz")
    made = cairn.ok("snapshot", "import", "web", file, *ALL, *SKIP)
    assert made["reason"] == "import" and made["state"] == "stored"
    assert sorted(made["warnings"]) == [
        "1 block devices were skipped", "1 character devices were skipped", "1 fifos were skipped"]
    assert diff_trees(want, read_tree(data)) == [], "an import touches nothing"
    (data / "plain").write_text("changed")
    result = restore(cairn, made["id"])
    specials = {name for name, entry in want.items() if entry.kind in ("fifo", "char", "block")}
    assert len(specials) == 3
    want = {name: entry for name, entry in want.items() if name not in specials}
    assert diff_trees(want, read_tree(data)) == []
    assert os.stat(data / "holes").st_blocks * 512 < 8 << 20
    settle(cairn, result)
    assert cairn.ok("snapshot", "verify", made["id"])["verified_at"]


def test_several_volumes_go_where_their_targets_are(cairn, tmp_path):
    deploy(cairn, workload(volumes=TWO))
    one, two = place(cairn, target="/one"), place(cairn, target="/two")
    (one / "a").write_text("one")
    (two / "b").write_text("two")
    file = download(cairn, snapshot(cairn), tmp_path / "two.tar.gz")
    before = read_tree(one), read_tree(two)
    (one / "a").unlink()
    (two / "b").unlink()
    made = cairn.ok("snapshot", "import", "web", file)
    assert [(v["index"], v["target"], v["scope"], v["source"]) for v in made["volumes"]] == [
        (0, "/one", "stage", "one"), (1, "/two", "project", "two")]
    result = restore(cairn, made["id"])
    assert (diff_trees(before[0], one), diff_trees(before[1], two)) == ([], [])
    settle(cairn, result)


@pytest.mark.parametrize("form", ["gnu", "pax", "zstd", "sparse", "plain"])
def test_what_gnu_tar_writes_is_taken(target, form):
    tree = target.tmp / "tree"
    (tree / "volumes" / "0" / ("d" * 90) / ("e" * 90)).mkdir(parents=True)
    (tree / "manifest.json").write_text(json.dumps(MANIFEST))
    leaf = tree / "volumes" / "0" / ("d" * 90) / ("e" * 90) / ("f" * 200)
    leaf.write_text("content")
    with open(tree / "volumes" / "0" / "holes", "wb") as file:
        for at in range(40):
            file.seek(at << 20)
            file.write(b"data")
        file.truncate(41 << 20)
    os.utime(leaf, ns=(0, -5_000_000_000))
    out = target.tmp / "gnu.tar"
    flags = {"gnu": ["--format=gnu"], "pax": ["--format=pax"], "zstd": ["--zstd"], "plain": ["--format=ustar"],
             "sparse": ["--format=pax", "-S", "--sparse-version=1.0"]}[form]
    if form in ("gnu", "zstd"):
        flags.append("-S")
    if form == "plain":
        leaf.rename(leaf.with_name("f"))
        leaf = leaf.with_name("f")
        os.utime(leaf, ns=(0, 5_000_000_000))
    subprocess.run(["tar", "-cf", out, *flags, "-C", tree, "manifest.json", "volumes"], check=True)
    want = read_tree(tree / "volumes" / "0")
    made = target.taken(out.read_bytes())
    result = restore(target.cairn, made["id"])
    got = read_tree(target.data)
    for entries in (want, got):
        for entry in entries.values():
            entry.mtime_ns //= 1_000_000_000  # only pax keeps more
    assert diff_trees(want, got) == []
    settle(target.cairn, result)


def test_what_is_not_allowed_is_counted_by_type(target):
    members = [header(f"volumes/0/s{n}", b"2", link="x") for n in range(3)]
    members += [member("volumes/0/f"), header("volumes/0/h", b"1", link="volumes/0/f")]
    members += [header("volumes/0/p", b"6"), header("volumes/0/c", b"3"), header("volumes/0/b", b"4")]
    members += [member("volumes/0/o", uid=1000), member("volumes/0/suid", mode=0o4755)]
    members += [pax((b"SCHILY.xattr.user.a", b"1")) + member("volumes/0/x")]
    problem = target.refused(archive(*members), word="not allowed")
    assert {one["detail"] for one in problem["reasons"]} == {
        "3 symbolic links (--allow links)", "1 hard links (--allow links)", "1 fifos (--skip fifos)",
        "1 character devices (--skip devices)", "1 block devices (--skip devices)",
        "1 entries of other owners (--allow owners)", "1 files with setuid or setgid (--allow owners)",
        "1 entries with extended attributes (--allow xattrs)"}
    target.taken(archive(*members), *ALL, *SKIP)
    problem = target.refused(archive(*members), *ALL)
    assert {one["detail"].split(" (")[0] for one in problem["reasons"]} == {
        "1 fifos", "1 character devices", "1 block devices"}


def test_an_archive_of_another_workload_is_refused_by_target(target):
    manifest = {"version": 1, "volumes": [{"index": 0, "target": "/elsewhere"}]}
    problem = target.refused(archive(manifest=manifest))
    assert [(one["target"], one["code"]) for one in problem["reasons"]] == [("/elsewhere", "not_declared")]


# -- attacks: the manifest -------------------------------------------------------------------------


@pytest.mark.parametrize("index", [-1, 99, "word", "0", 0.5, None, 2**64, [0]])
def test_attack_manifest_index(target, index):
    manifest = {"version": 1, "volumes": [{"index": index, "target": "/data"}]}
    for root in (ROOT, header(f"volumes/{index}/", b"5")):
        target.refused(archive(member("volumes/0/f", b"x"), manifest=manifest, root=root))


@pytest.mark.parametrize("volume", [{"source": "../../etc"}, {"scope": "absolute", "source": "/etc"},
                                    {"scope": "absolute", "source": "../../../../etc"}, {"source": "/"}])
def test_attack_manifest_source_and_scope_decide_nothing(target, volume):
    manifest = {"version": 1, "volumes": [{"index": 0, "target": "/data", **volume}]}
    made = target.taken(archive(member("volumes/0/passwd", b"root::0:0"), manifest=manifest))
    assert [(one["scope"], one["source"]) for one in made["volumes"]] == [("project", "data")]
    passwd = open("/etc/passwd", "rb").read()
    result = restore(target.cairn, made["id"])
    assert (target.data / "passwd").read_bytes() == b"root::0:0" and open("/etc/passwd", "rb").read() == passwd
    settle(target.cairn, result)


@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b'{"version":2,"volumes":[{"index":0,"target":"/data"}]}',
    b'{"version":1,"volumes":[{"index":0,"target":"/data"},{"index":0,"target":"/other"}]}',
    b'{"version":1,"volumes":[{"index":0,"index":1,"target":"/data"}]}',
    b'{"version":1,"volumes":[{"index":0,"target":"/data/../../etc"}]}',
    b'{"version":1,"volumes":[{"index":0,"target":"/data","source":{}}]}', b"[" * 200_000, b" " * (2 << 20),
    b'{"version":1,"volumes":[{}' + b',{"index":1}' * 80_000 + b"]}"],
    ids=lambda text: f"{text[:20]!r}-{len(text)}")
def test_attack_malformed_manifest(target, text):
    target.refused(archive(manifest=text))


def test_attack_no_manifest_or_a_late_one(target):
    text = json.dumps(MANIFEST).encode()
    target.refused(ROOT + END, word="manifest.json")
    target.refused(END, word="manifest.json")
    target.refused(ROOT + member("manifest.json", text) + END, word="manifest.json")
    target.refused(archive(member("manifest.json", text)), word="manifest.json")
    target.refused(header("manifest.json", b"2", link="/etc/passwd") + ROOT + END, *ALL)
    target.refused(archive(root=b""), word="volumes/0")


# -- attacks: paths --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "/etc/evil", "//etc/evil", "../evil", "../../evil", "volumes/0/../../../evil", "volumes/0/a/../../../../evil",
    "volumes/../manifest.json", "volumes/0/./evil", "volumes//0/evil", "volumes/0//evil", "volumes/0/..", "..", "",
    "volumes/1/evil", "volumes/00/evil", "volumes/+0/evil", "volumes/-1/evil", "volumes/99/evil", "volumes/word/evil",
    "volumes/18446744073709551616/evil", ".", "./", "volumes/0/.", "volumes/0/evil/", "volumes/evil", "elsewhere/evil", "evil", "Volumes/0/evil"])
def test_attack_path(target, path):
    target.refused(archive(member(path, b"evil")), *ALL)
    named = path.encode()
    target.refused(archive(pax((b"path", named)) + member("volumes/0/innocent", b"evil")), *ALL)
    if named:
        longname = header("././@LongLink", b"L", len(named) + 1, magic=b"ustar  \0") + padded(named + b"\0")
        target.refused(archive(longname + member("volumes/0/innocent", b"evil")), *ALL)


def test_attack_nul_in_a_pax_path(target):
    target.refused(archive(pax((b"path", b"volumes/0/a\0/../../../evil")) + member("x", b"evil")), word="NUL")


def test_attack_long_names_and_deep_paths(target):
    target.refused(archive(pax((b"path", b"volumes/0/" + b"n" * 256)) + member("x")), word="255")
    target.refused(archive(pax((b"path", b"volumes/0" + b"/d" * 5000)) + member("x")), word="deeper")
    target.refused(archive(pax((b"path", b"volumes/0/" + b"n/" * 600_000)) + member("x")), word="longer")


def test_names_that_only_look_hostile_are_kept(target):
    # The last two look the same, and are one name to who folds them.
    names = [b"back\\slash\\..\\x", b"not\xffutf8", b"new\nline", b"CON", b"Case", b"case", b" ", b"...", b"-rf", b"~root",
             "\u00fc".encode(), "u\u0308".encode()]
    members = [pax((b"path", b"volumes/0/" + name)) + member("x", name) for name in names]
    made = target.taken(archive(*members))
    result = restore(target.cairn, made["id"])
    for name in names:
        with open(os.fsencode(target.data) + b"/" + name, "rb") as file:
            assert file.read() == name
    settle(target.cairn, result)


# -- attacks: links --------------------------------------------------------------------------------


def test_attack_symlink_then_write_through(target):
    victim = str(target.cairn.base / "victim")
    for link in (victim, "../../../../victim", "/etc", "..", ".", "../.."):
        sneaky = [header("volumes/0/out", b"2", link=link), member("volumes/0/out/file", b"evil")]
        target.refused(archive(*sneaky), *ALL)
        target.refused(archive(*reversed(sneaky)), *ALL)


def test_attack_symlink_chain(target):
    chain = [header("volumes/0/cur", b"2", link="."), header("volumes/0/up", b"2", link="cur/.."),
             header("volumes/0/out", b"2", link="up/../.."), member("volumes/0/out/victim/file", b"evil")]
    target.refused(archive(*chain), *ALL)


def test_attack_symlink_over_a_directory_and_back(target):
    target.refused(archive(header("volumes/0/d/", b"5"), header("volumes/0/d", b"2", link="/etc"),
                           member("volumes/0/d/evil", b"x")), *ALL, word="twice")
    target.refused(archive(header("volumes/0/d", b"2", link="/etc"), header("volumes/0/d/", b"5", mode=0o777)), *ALL)


def test_attack_volume_root_is_a_symlink(target):
    target.refused(archive(root=header("volumes/0", b"2", link="/etc")), *ALL)
    target.refused(archive(root=header("volumes", b"2", link="/etc") + ROOT), *ALL)


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../victim/file", "volumes/0/../../../victim/file", "manifest.json",
                                  "volumes/1/f", "volumes/0", "volumes/0/missing", "volumes/0/dir", "volumes/0/dir/none"])
def test_attack_hardlink(target, link):
    target.refused(archive(header("volumes/0/dir/", b"5"), header("volumes/0/h", b"1", link=link)), *ALL)
    target.refused(archive(header("volumes/0/dir/", b"5"), pax((b"linkpath", link.encode())) + header("volumes/0/h", b"1")),
                   *ALL)


def test_attack_hardlink_to_a_symlink_then_write(target):
    """The link gets a second name, which still leads nowhere for the importer."""
    victim = str(target.cairn.base / "victim" / "file")
    links = [header("volumes/0/s", b"2", link=victim), header("volumes/0/h", b"1", link="volumes/0/s")]
    target.refused(archive(*links, member("volumes/0/h", b"evil")), *ALL, word="twice")
    target.taken(archive(*links), *ALL)


def test_attack_metadata_through_a_symlink(target):
    """Mode, owner, time and attributes are of the link itself, never of what it names."""
    victim = str(target.cairn.base / "victim" / "file")
    target.taken(archive(pax((b"SCHILY.xattr.trusted.x", b"evil"), (b"mtime", b"1"), (b"uid", b"1234"))
                         + header("volumes/0/s", b"2", link=victim, mode=0o6777)), *ALL)


def test_attack_link_loop(target):
    made = target.taken(archive(header("volumes/0/a", b"2", link="b"), header("volumes/0/b", b"2", link="a")), *ALL)
    result = restore(target.cairn, made["id"])
    assert os.readlink(target.data / "a") == "b"
    settle(target.cairn, result)


# -- attacks: special files and attributes -----------------------------------------------------------


def test_attack_devices_fifos_and_unknown_types(target):
    for kind in (b"3", b"4", b"6"):
        target.refused(archive(header("volumes/0/x", kind)), *ALL, word="not allowed")
    for kind in (b"7", b"D", b"M", b"N", b"V", b"A", b"s", b" "):
        target.refused(archive(header("volumes/0/x", kind)), *ALL, *SKIP, word="unknown type")
    made = target.taken(archive(header("volumes/0/x", b"3", fields=[(329, b"0000001\0" b"0000003\0")])), *ALL, *SKIP)
    assert made["volumes"][0]["files"] == 0


@pytest.mark.parametrize("name", ["trusted.overlay.opaque", "user.overlay.redirect", "trusted.overlay.redirect",
                                  "security.ima", "security.evm", "system.nfs4_acl", "nonsense"])
def test_attack_attributes_of_other_layers(target, name):
    attack = pax((b"SCHILY.xattr." + name.encode(), b"y")) + header("volumes/0/d/", b"5")
    target.refused(archive(attack), *ALL, word=name)


def test_whiteouts_of_layers_are_files_like_any_other(target):
    names = [".wh..wh..opq", ".wh.", ".wh..", ".wh.file"]
    made = target.taken(archive(*(member("volumes/0/" + name) for name in names)))
    result = restore(target.cairn, made["id"])
    assert sorted(os.listdir(target.data)) == sorted(names)
    settle(target.cairn, result)


def test_attack_attributes_that_no_kernel_takes(target):
    for name in (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"):
        for value in (b"x", b"\xff" * 40):
            target.refused(archive(pax((b"SCHILY.xattr." + name, value)) + member("volumes/0/f")), *ALL)


def test_attack_textual_acl(target):
    target.refused(archive(pax((b"SCHILY.acl.access", b"user::rwx")) + member("volumes/0/f")), *ALL, word="ACL")


# -- attacks: two readers, two archives --------------------------------------------------------------


def test_attack_pax_size_against_header_size(target):
    hidden = member("volumes/0/hidden", b"evil")
    target.refused(archive(pax((b"size", b"%d" % len(hidden))) + header("volumes/0/outer"), hidden), word="contradicts")
    target.refused(archive(pax((b"size", b"0")) + header("volumes/0/outer", size=len(hidden)), hidden), word="contradicts")


@pytest.mark.parametrize("body", [b"9 a=b\n", b"6 a=b", b"6 abc\n", b"x a=b\n", b"-6 a=b\n", b"06 a=b\n", b"3 \n",
                                  b"99999999999999999999 a=b\n", b"6 a=b\n\0\0\0"])
def test_attack_malformed_pax_header(target, body):
    target.refused(archive(header("pax", b"x", len(body)) + padded(body) + member("volumes/0/f")), word="malformed")


def test_attack_headers_that_contradict(target):
    longname = header("././@LongLink", b"L", 14, magic=b"ustar  \0") + padded(b"volumes/0/two\0")
    target.refused(archive(longname + pax((b"path", b"volumes/0/one")) + member("x")), word="GNU and a pax")
    target.refused(archive(pax((b"mtime", b"1")) + pax((b"mtime", b"2")) + member("volumes/0/f")), word="two extended")
    target.refused(archive(pax((b"mtime", b"1"), (b"mtime", b"2")) + member("volumes/0/f")), word="twice")
    target.refused(archive(pax((b"path", b"volumes/0/all"), kind=b"g") + member("volumes/0/f")), word="global")
    target.refused(archive(pax((b"mtime", b"1"))), word="without an entry")
    target.taken(archive(pax((b"comment", b"harmless"), kind=b"g") + member("volumes/0/f")))


@pytest.mark.parametrize("size", [b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7,
                                  b"99999999999\0", b"-0000000001\0", b"0x000000010\0"])
def test_attack_numbers(target, size):
    target.refused(archive(header("volumes/0/f", fields=[(124, size)])))


def test_attack_checksum_and_magic(target):
    good = member("volumes/0/f", b"x")
    target.refused(archive(b"W" + good[1:]), word="checksum")
    target.refused(archive(member("volumes/0/f", magic=b"\0" * 8)), word="ustar")


def test_attack_ends(target):
    target.refused(archive(end=b""), word="end blocks")
    target.refused(archive(end=b"\0" * 512), word="end blocks")
    target.refused(archive(end=END + b"x" * 512), word="after the end")
    target.refused(archive(end=END + member("volumes/0/f", b"second archive") + END), word="after the end")
    target.refused(archive(end=END + b"\0" * (2 << 20)), word="after the end")
    target.refused(archive(member("volumes/0/f", b"x" * 5000))[:-3000], word="ends before")
    target.refused(b"", word="too short")
    target.refused(os.urandom(100_000))


def test_attack_duplicate_entries(target):
    target.refused(archive(member("volumes/0/f", b"1"), member("volumes/0/f", b"2")), word="twice")
    target.refused(archive(header("volumes/0/d/", b"5"), header("volumes/0/d/", b"5")), word="twice")
    target.refused(archive(ROOT), word="twice")
    target.refused(archive(member("volumes/0/f"), member("volumes/0/f/below")), word="twice")


def test_attack_concatenated_members_and_frames(target):
    whole = archive(member("volumes/0/f", b"x"))
    half = len(whole) // 2
    target.taken(gzip.compress(whole))
    target.refused(gzip.compress(whole[:half]) + gzip.compress(whole[half:]), word="after the end")
    target.refused(gzip.compress(whole) + b"\0" * 512, word="after the end")
    target.refused(gzip.compress(whole)[:-4], word="cut short")
    zstd = subprocess.run(["zstd", "-q", "-c"], input=whole, capture_output=True, check=True).stdout
    target.refused(zstd + zstd, word="after the end")
    target.refused(zstd[:-5])
    target.refused(gzip.compress(gzip.compress(whole)), word="")


def test_attack_declared_sizes_of_compressed_data(target):
    """Less than is there, more than is there."""
    whole = archive(member("volumes/0/f", b"x" * 70_000))
    file = target.write(whole)
    zstd = subprocess.run(["zstd", "-q", "-c", "--no-check", file], capture_output=True, check=True).stdout
    assert struct.unpack_from("<I", zstd, 5)[0] == len(whole), "a single segment with its size in four bytes"
    packed = gzip.compress(whole)
    for size in (0, 1024, len(whole) - 512, len(whole) + 512, 2**32 - 1):
        target.refused(packed[:-4] + struct.pack("<I", size))
        target.refused(zstd[:5] + struct.pack("<I", size) + zstd[9:])
    target.taken(packed)
    target.taken(zstd)


# -- attacks: resources ------------------------------------------------------------------------------


def sparse(real, mapping, data=b""):
    records = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"volumes/0/s"),
                  (b"GNU.sparse.realsize", b"%d" % real))
    body = padded(mapping) + data
    return records + header("volumes/0/GNUSparseFile.0/s", size=len(body)) + padded(body)


def test_attack_sparse_files(target):
    target.refused(archive(sparse(2**63 - 1, b"1\n%d\n0\n" % (2**63 - 1))), word="range")
    target.refused(archive(sparse(2**40 + 1, b"1\n%d\n0\n" % (2**40 + 1))))
    target.refused(archive(sparse(2**40, b"1\n%d\n0\n" % 2**40), sparse(2**40, b"0\n")), word="more bytes")
    target.refused(archive(sparse(1000, b"1\n0\n1000\n")), word="add up")
    target.refused(archive(sparse(1000, b"2\n600\n4\n100\n4\n", b"12345678")), word="out of order")
    target.refused(archive(sparse(1000, b"99999999\n")), word="holes")
    old = header("volumes/0/s", b"S", magic=b"ustar  \0", fields=[(483, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7)])
    target.refused(archive(old), word="larger")


def test_attack_large_headers(target):
    target.refused(archive(header("pax", b"x", 2_000_000_000)), word="larger than allowed")
    target.refused(archive(header("././@LongLink", b"L", 2_000_000_000, magic=b"ustar  \0")), word="larger than allowed")
    many = [(b"SCHILY.xattr.user.a%d" % n, b"x") for n in range(1025)]
    target.refused(archive(pax(*many) + member("volumes/0/f")), *ALL, word="larger")
    target.refused(archive(pax((b"SCHILY.xattr.user.a", b"x" * 65537)) + member("volumes/0/f")), *ALL, word="larger")


def bomb(kind):
    """A megabyte or so that unpacks to gigabytes of a file."""
    size = 4 << 30
    head = archive(end=b"") + header("volumes/0/bomb", size=size)
    if kind == "gzip":
        out = io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as file:
            file.write(head)
            for _ in range(512):
                file.write(b"\0" * (1 << 20))
        return out.getvalue()
    return subprocess.run(["zstd", "-q", "-c", "--long=27"], input=head + b"\0" * (512 << 20), capture_output=True,
                          check=True).stdout


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_attack_bomb(target, kind):
    target.refused(bomb(kind), word="250 times")


def test_attack_zstd_window(target):
    frame = struct.pack("<I", 0xFD2FB528) + bytes([0x00, (31 - 10) << 3]) + b"\1\0\0" + b"x"
    target.refused(frame, word="window")


def test_attack_a_million_directories_in_one_name(target):
    """Directories that no entry names count as entries do."""
    deep = [pax((b"path", b"volumes/0/%d" % n + b"/d" * 4200)) + member("x") for n in range(3)]
    problem = target.cairn.cli("snapshot", "import", "web", target.write(archive(*deep)))
    target.check()
    assert problem.returncode == 1, "deeper than a repository's tree may be"


@pytest.mark.parametrize("files, content, args", [(600, b"", ["-N", "300"]), (20, b"x" * (4 << 20), [])],
                         ids=["inodes", "bytes"])
def test_attack_more_than_the_disk_holds(fake, tmp_path, files, content, args):
    """Small files until the inodes are gone, or large ones until the blocks are: told, and nothing is left."""
    with LoopFs("ext4", 64 << 20, mkfs_args=args) as disk, Cairnd(fake, data=disk.path / "data") as cairn:
        deploy(cairn, workload())
        fill(place(cairn), "live")
        before = read_tree(place(cairn)), snapshot(cairn)
        free = os.statvfs(disk.path)
        file = tmp_path / "many.tar"
        file.write_bytes(gzip.compress(archive(*(member(f"volumes/0/f{n}", content + os.urandom(len(content) and 4096))
                                                 for n in range(files))), 1))
        problem = cairn.fails("snapshot", "import", "web", file)
        assert problem["status"] == 507, problem
        assert os.listdir(cairn.data / "import") == []
        assert diff_trees(before[0], read_tree(place(cairn))) == []
        assert [one["id"] for one in cairn.ok("snapshot", "ls")["snapshots"]] == [before[1]]
        os.sync()
        assert os.statvfs(disk.path).f_ffree >= free.f_ffree - 8
        snapshot(cairn)
        cairn.ok("workload", "rm", "web", "--yes")
        cairn.assert_clean()
        cairn.check = False  # the file system goes before the daemon is asked again


def test_a_body_without_an_archive_is_refused(target):
    for body in (b"", b"x", b"{}"):
        answer = target.cairn.http("POST", "/api/workloads/web/snapshots/import", {"Content-Type": "text/plain"}, body)
        assert answer.status == 400, answer
    answer = target.cairn.http("POST", "/api/workloads/web/snapshots/import?allow=devices", body=b"x")
    assert answer.status == 400 and "links" in answer.json()["detail"]
    assert target.cairn.http("POST", "/api/workloads/none/snapshots/import", body=b"x").status == 404
    target.check()


# -- crashes -----------------------------------------------------------------------------------------


def slow_archive(tmp_path, files=60_000):
    """Large enough that a kill finds the import at work."""
    file = tmp_path / "large.tar"
    with open(file, "wb") as out:
        out.write(archive(end=b""))
        for n in range(files):
            out.write(member(f"volumes/0/f{n}", b"x" * 700))
        out.write(END)
    return file


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_daemon_during_an_import_leaves_nothing(cairn, tmp_path, sig):
    deploy(cairn, workload())
    data = place(cairn)
    fill(data, "live")
    before = read_tree(data)
    child = cairn.popen("snapshot", "import", "web", slow_archive(tmp_path))
    imports = cairn.data / "import"
    wait_for(lambda: imports.exists() and any(imports.glob("op_*/0/f*")), 60, "the import to write")
    if sig == signal.SIGKILL:
        cairn.kill()
        assert any(imports.glob("op_*/0/f*")), "the crash left its staging"
    else:
        cairn.stop()
    child.communicate(timeout=60)
    assert child.returncode != 0
    cairn.start()
    assert os.listdir(imports) == []
    assert cairn.ok("snapshot", "ls")["snapshots"] == [] and diff_trees(before, read_tree(data)) == []
    states = {one["state"] for one in cairn.ok("operation", "ls")["operations"] if one["kind"] == "snapshot.import"}
    assert states <= {"interrupted", "cancelled", "failed"} and states


def test_a_cancelled_import_leaves_nothing(cairn, tmp_path):
    deploy(cairn, workload())
    child = cairn.popen("snapshot", "import", "web", slow_archive(tmp_path))
    imports = cairn.data / "import"
    wait_for(lambda: imports.exists() and any(imports.glob("op_*/0/f*")), 60, "the import to write")
    (running_import,) = os.listdir(imports)
    assert cairn.http("DELETE", f"/api/operations/{running_import}").status == 202
    child.communicate(timeout=60)
    assert child.returncode != 0
    assert cairn.wait_operation(running_import)["state"] == "cancelled"
    assert os.listdir(imports) == [] and cairn.ok("snapshot", "ls")["snapshots"] == []


def test_the_parser_lives_in_a_cage(cairn, tmp_path):
    """While it reads: no capabilities, no other descriptors, a filter of system calls, nobody's ids."""
    deploy(cairn, workload())
    child = cairn.popen("snapshot", "import", "web", slow_archive(tmp_path, files=12_000))

    def parser():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                if line[1:2] != [b"archive-parser"]:
                    continue
                status = dict(row.split(":\t", 1) for row in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in row)
                if status["PPid"] != str(cairn.pid) or status["Seccomp"] != "2":
                    continue
                return status, sorted(os.listdir(f"/proc/{pid}/fd"))
            except (OSError, KeyError):
                continue
        return None

    status, fds = wait_for(parser, 60, "the parser")
    assert fds == ["0", "1", "2"] and status["NoNewPrivs"] == "1"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4
    assert child.wait(120) == 0
