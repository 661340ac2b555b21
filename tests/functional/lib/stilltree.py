"""A tree that holds one of everything a volume may hold, at random; nobody writes to it during a capture."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from .trees import read_tree

NAMES = (b"plain", b"with space", b"new\nline", b"tab\there", "grüße".encode(), b"-rf", b"*", b"back\\slash",
         b"n" * 255, b".hidden", b"quote\"'", b"\x7f\x01")
HOLE_BYTES = 1 << 21


def _acl(user: int) -> bytes:
    """system.posix_acl_access: rw for one more user."""
    entries = ((1, 6, 0xFFFFFFFF), (2, 6, user), (4, 4, 0xFFFFFFFF), (0x10, 6, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFFF))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


def _file(rng, path: bytes):
    with open(path, "xb") as file:
        shape = rng.choice(("empty", "small", "random", "zeros", "holes", "large"))
        if shape == "small":
            file.write(b"x" * rng.randrange(1, 5000))
        elif shape == "random":
            file.write(rng.randbytes(rng.randrange(1, 100_000)))
        elif shape == "zeros":
            file.write(bytes(rng.randrange(1, 300_000)))
        elif shape == "holes":
            file.truncate(rng.randrange(1, HOLE_BYTES))
            file.seek(rng.randrange(HOLE_BYTES))
            file.write(b"after a hole")
        elif shape == "large":
            file.write(rng.randbytes(700_000))
    os.chown(path, rng.choice((0, 1, 70, 65534)), rng.choice((0, 1, 70)))
    os.chmod(path, rng.choice((0o600, 0o644, 0o755, 0o4755, 0o2755, 0o000)))
    if rng.random() < 0.3:
        os.setxattr(path, f"user.n{rng.randrange(5)}", rng.randbytes(rng.randrange(200)))
    if rng.random() < 0.15:
        os.setxattr(path, "system.posix_acl_access", _acl(rng.randrange(1, 60000)))
    if rng.random() < 0.15:
        os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1 << rng.randrange(20), 0, 0, 0))


def _special(rng, path: bytes):
    verb = rng.choice(("link", "fifo", "char", "whiteout", "block"))
    if verb == "link":
        os.symlink(rng.choice((b"nowhere", b"../../../etc/passwd", b"t" * 900, b"new\nline")), path)
    elif verb == "fifo":
        os.mkfifo(path, 0o640)
    elif verb == "char":
        os.mknod(path, 0o20666, os.makedev(1, 3))
    elif verb == "whiteout":
        os.mknod(path, 0o20000, os.makedev(0, 0))
    else:
        os.mknod(path, 0o60600, os.makedev(259, 70000))


def _fill(rng, root: bytes, depth: int, files: list):
    for name in rng.sample(NAMES, rng.randrange(2, 7)):
        path = root + b"/" + name
        chance = rng.random()
        if depth < 4 and chance < 0.3:
            os.mkdir(path)
            _fill(rng, path, depth + 1, files)
            os.chmod(path, rng.choice((0o755, 0o700, 0o3777, 0o555)))
            if rng.random() < 0.3:
                os.setxattr(path, "system.posix_acl_default", _acl(7))
        elif chance < 0.45:
            _special(rng, path)
        elif files and chance < 0.6:
            os.link(rng.choice(files), path)
        else:
            _file(rng, path)
            files.append(path)
    for name in sorted(os.listdir(root)):
        time_ns = rng.choice((0, 999_999_999, 1_700_000_000_123_456_789)) + rng.randrange(10 ** 9)
        os.utime(root + b"/" + name, ns=(time_ns, time_ns), follow_symlinks=False)


def entries_of(root: Path) -> dict:
    """As read_tree(), with names as they follow the root's own."""
    return {b"" if name == b"." else b"/" + name: entry for name, entry in _grouped(root).items()}


def _grouped(root: Path) -> dict:
    found = read_tree(root)
    for entry in found.values():
        if entry.group:
            entry.group = b"still/" + entry.group
    return found


def make_still(rng, root: Path) -> dict:
    root.mkdir()
    _fill(rng, os.fsencode(root), 0, [])
    return entries_of(root)


def change_still(rng, root: Path) -> dict:
    """Something about it becomes different, the times of what is in it mostly not."""
    directories = [os.fsencode(where) for where, _, _ in os.walk(os.fsencode(root))]
    files = [os.path.join(where, name) for where, _, names in os.walk(os.fsencode(root)) for name in names]
    where = rng.choice(directories)
    files = [path for path in files if os.path.isfile(path) and not os.path.islink(path)]
    if files and rng.random() < 0.7:
        path = rng.choice(files)
        info = os.stat(path)
        with open(path, "r+b") as file:
            file.write(rng.randbytes(max(1, info.st_size // 2)))
        os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))
    new = where + b"/" + b"c%d" % rng.randrange(10 ** 6)
    if files and rng.random() < 0.5:
        os.rename(rng.choice(files), new)
    else:
        os.mkdir(new)
        _fill(rng, new, 4, [])
    return entries_of(root)
