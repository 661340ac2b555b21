"""Comparing directory trees entry by entry, to the nanosecond and the attribute."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import asdict, dataclass, field


@dataclass
class Entry:
    """All that a faithful copy must keep. `group` names a hard link's first path in byte order."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    sha256: str = ""
    target: bytes = b""
    rdev: int = 0
    xattrs: dict = field(default_factory=dict)
    group: bytes = b""


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


def _xattrs(path: bytes) -> dict:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    # security.selinux and the like belong to the host's policy, capabilities to the file.
    return {
        name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names) if name != "security.selinux"
    }


def _read(path: bytes, info: os.stat_result) -> Entry:
    entry = Entry(
        kind=_KINDS[stat.S_IFMT(info.st_mode)],
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        mtime_ns=info.st_mtime_ns,
        xattrs=_xattrs(path),
    )
    if entry.kind == "file":
        entry.size = info.st_size
        digest = hashlib.sha256()
        with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NOFOLLOW)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        entry.sha256 = digest.hexdigest()
    elif entry.kind == "link":
        entry.target = os.readlink(path)
    elif entry.kind in ("char", "block"):
        entry.rdev = info.st_rdev
    return entry


def read_tree(path, skip=()) -> dict:
    """Relative path (bytes, b"." for the root) to Entry. `skip`: relative paths left out with all below."""
    root = os.fsencode(str(path))
    skipped = {os.fsencode(item) for item in skip}
    entries: dict = {}
    links: dict = {}

    def visit(full: bytes, name: bytes) -> None:
        info = os.lstat(full)
        entry = _read(full, info)
        entries[name] = entry
        if entry.kind != "dir":
            if info.st_nlink > 1:
                links.setdefault((info.st_dev, info.st_ino), []).append(name)
            return
        for child in sorted(os.listdir(full)):
            relative = child if name == b"." else name + b"/" + child
            if relative not in skipped:
                visit(full + b"/" + child, relative)

    visit(root, b".")
    for names in links.values():
        if len(names) > 1:
            for name in names:
                entries[name].group = min(names)
    return entries


def tree_digest(path, skip=(), times: bool = True) -> str:
    """One SHA-256 over everything read_tree reads; equal digests mean equal trees."""
    digest = hashlib.sha256()
    for name, entry in sorted(read_tree(path, skip).items()):
        values = asdict(entry)
        if not times:
            values["mtime_ns"] = 0
        digest.update(repr((name, sorted(values.items()))).encode())
    return digest.hexdigest()


def diff_trees(a, b, skip=(), times: bool = True, limit: int = 20) -> list[str]:
    """What differs between two trees (paths, or results of read_tree), in words; empty when equal."""
    left = a if isinstance(a, dict) else read_tree(a, skip)
    right = b if isinstance(b, dict) else read_tree(b, skip)
    found = []
    for name in sorted(left.keys() | right.keys()):
        if name not in right:
            found.append(f"{name!r}: only in the first ({left[name].kind})")
        elif name not in left:
            found.append(f"{name!r}: only in the second ({right[name].kind})")
        elif left[name] != right[name]:
            one, two = asdict(left[name]), asdict(right[name])
            for key in one:
                if one[key] != two[key] and (times or key != "mtime_ns"):
                    found.append(f"{name!r}: {key} {one[key]!r} != {two[key]!r}")
        if len(found) >= limit:
            found.append("...")
            break
    return found
