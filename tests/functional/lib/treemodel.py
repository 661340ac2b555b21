"""A directory tree in memory: what the steps of tests/writer/writer.cc make of it, and random lists of such steps.

A step is a tuple of words as in the writer's list. `Tree.do(step)` changes the model as the kernel changes
the volume; `Tree.entries()` is what lib.trees.read_tree() finds in a faithful copy. The times come from the
writer, which looks at what each step touched: `Tree.looks(step)` says at what.
"""

from __future__ import annotations

import copy
import hashlib
import struct

from .trees import Entry

SLOT_COUNT = 4
FILES_MAX, DIRS_MAX = 90, 24
LARGE_BYTES = 1 << 20  # from here on files with holes are stored in chunks of one length
BYTES_MAX = 6 << 20
PAGE = 4096
RESERVED = ("count", "count.map", "pair", "still")  # of the root; the menu leaves them alone


def pattern(seed: int, size: int) -> bytes:
    return (struct.pack("<Q", seed) * (size // 8 + 1))[:size]


class Node:
    """What an inode holds. Equality is identity: hard links share one."""

    def __init__(self, kind, mode=0o600, target=b""):
        self.kind, self.mode, self.uid, self.gid, self.mtime_ns = kind, mode, 0, 0, 0
        self.data, self.target, self.xattrs = bytearray(), target, {}
        self.children = {}  # of a directory: name -> Node
        self._digest = None

    def changed(self):
        self._digest = None

    def entry(self):
        entry = Entry(self.kind, self.mode, self.uid, self.gid, self.mtime_ns, target=self.target,
                      xattrs=dict(self.xattrs))
        if self.kind == "file":
            if self._digest is None:
                self._digest = hashlib.sha256(self.data).hexdigest()
            entry.size, entry.sha256 = len(self.data), self._digest
        elif self.kind == "char":
            entry.rdev = 0x103
        return entry


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "."


class Tree:
    def __init__(self):
        self.root = Node("dir", 0o755)
        self.slots = {}  # slot -> (Node, bytes mapped)
        self._walked = None

    # -- looking --------------------------------------------------------------------------------------

    def node(self, path: str) -> Node:
        found = self.root
        for name in () if path == "." else path.split("/"):
            found = found.children[name]
        return found

    def walk(self):
        """(path, node) of everything but the root, parents first."""
        if self._walked is None:
            self._walked, todo = [], [("", self.root)]
            while todo:
                prefix, directory = todo.pop()
                for name, node in directory.children.items():
                    self._walked.append((prefix + name, node))
                    if node.kind == "dir":
                        todo.append((f"{prefix}{name}/", node))
        return self._walked

    def entries(self) -> dict:
        names = {}
        found = {b".": self.root.entry()}
        for path, node in self.walk():
            raw = path.encode()
            found[raw] = node.entry()
            if node.kind != "dir":
                names.setdefault(id(node), []).append(raw)
        for links in names.values():
            if len(links) > 1:
                for name in links:
                    found[name].group = min(links)
        return found

    def copy(self) -> "Tree":
        return copy.deepcopy(self)

    # -- what a step changes ----------------------------------------------------------------------------

    def looks(self, step) -> list:
        """Paths whose modification time the step may change, as they are called after it."""
        verb, *words = step
        if verb in ("mkdir", "create", "fifo", "device"):
            return [parent_of(words[0]), words[0]]
        if verb in ("unlink", "rmdir"):
            return [parent_of(words[0])]
        if verb == "symlink":
            return [parent_of(words[1]), words[1]]
        if verb == "link":
            return [parent_of(words[1]), words[1]]
        if verb == "rename":
            return [parent_of(words[0]), parent_of(words[1]), words[1]]
        if verb == "exchange":
            return [parent_of(words[0]), parent_of(words[1]), *words]
        if verb == "store":
            node = self.slots[words[0]][0]
            return [path for path, other in self.walk() if other is node][:1]
        if verb in ("sleep", "map", "unmap"):
            return []
        return [words[0]]

    def set_times(self, looks, times_ns):
        for path, time_ns in zip(looks, times_ns):
            self.node(path).mtime_ns = time_ns

    def do(self, step):
        verb, *words = step
        getattr(self, f"_{verb}")(*words)

    def _put(self, path, node):
        parent, _, name = path.rpartition("/")
        self.node(parent or ".").children[name] = node
        self._walked = None

    def _take(self, path) -> Node:
        parent, _, name = path.rpartition("/")
        self._walked = None
        return self.node(parent or ".").children.pop(name)

    def _sleep(self, _us):
        pass

    def _mkdir(self, path, mode):
        self._put(path, Node("dir", int(mode, 8)))

    def _create(self, path, mode):
        self._put(path, Node("file", int(mode, 8)))

    def _fifo(self, path):
        self._put(path, Node("fifo"))

    def _device(self, path):
        self._put(path, Node("char"))

    def _symlink(self, target, path):
        self._put(path, Node("link", 0o777, target.encode()))

    def _link(self, path, other):
        self._put(other, self.node(path))

    def _rename(self, path, other):
        self._put(other, self._take(path))

    def _exchange(self, path, other):
        one, two = self._take(path), self._take(other)
        self._put(path, two)
        self._put(other, one)

    def _unlink(self, path):
        self._take(path)

    _rmdir = _unlink

    def _write(self, path, offset, size, seed):
        node = self.node(path)
        if len(node.data) < offset:
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset:offset + size] = pattern(seed, size)
        node.changed()

    def _punch(self, path, offset, size):
        node = self.node(path)
        end = min(offset + size, len(node.data))
        node.data[offset:end] = bytes(max(0, end - offset))
        node.changed()

    def _truncate(self, path, size):
        node = self.node(path)
        del node.data[size:]
        node.data.extend(bytes(size - len(node.data)))
        node.changed()

    def _chmod(self, path, mode):
        self.node(path).mode = int(mode, 8)

    def _chown(self, path, uid, gid):
        node = self.node(path)
        node.uid, node.gid = uid, gid

    def _setxattr(self, path, name, size, seed):
        self.node(path).xattrs[name] = pattern(seed, size)

    def _rmxattr(self, path, name):
        del self.node(path).xattrs[name]

    def _utimens(self, path, seconds, nanoseconds):
        self.node(path).mtime_ns = seconds * 1_000_000_000 + nanoseconds

    def _map(self, slot, path):
        node = self.node(path)
        self.slots[slot] = (node, len(node.data))

    def _unmap(self, slot):
        del self.slots[slot]

    def _store(self, slot, offset, value):
        node = self.slots[slot][0]
        node.data[offset:offset + 8] = struct.pack("<Q", value)
        node.changed()


class Steps:
    """Makes steps that are possible on a tree, one after the other; the tree is changed as they are made."""

    MENU = {"create": 8, "write": 16, "store": 22, "truncate": 5, "punch": 2, "replace": 8, "impostor": 6,
            "reuse": 6, "rename": 8, "rename_dir": 6, "exchange": 5, "exchange_dirs": 6, "link": 5, "move_link": 4,
            "unlink": 5, "mkdir": 3, "rmdir": 3, "symlink": 2, "special": 1, "chmod": 3, "chown": 3, "xattr": 4,
            "utimens": 4, "map": 5, "unmap": 2, "pair": 6, "swap": 6, "large": 4}

    # What makes of two files one where a capture puts together what it found of a name at two times.
    SWAPS = {"pair": 60, "swap": 120, "exchange": 20, "exchange_dirs": 20, "truncate": 20, "punch": 10}

    def __init__(self, rng, tree, weights=None):
        self.rng, self.tree, self.menu = rng, tree, {**self.MENU, **(weights or {})}
        self.serial = rng.randrange(1 << 30)
        self.made = []
        self._walked = self._found = None

    def make(self, count: int, sleep_us: int = 0) -> list:
        """At least `count` steps; with sleep_us, now and then one that waits about so long."""
        self.made = []
        verbs, weights = list(self.menu), list(self.menu.values())
        while len(self.made) < count:
            verb = self.rng.choices(verbs, weights)[0]
            if len(self.made) % 16 == 0 and self._bytes() > BYTES_MAX:
                verb = "unlink"
            getattr(self, f"make_{verb}")()
            if sleep_us and self.rng.random() < 0.3:
                self._do("sleep", self.rng.randrange(1, 2 * sleep_us))
        return self.made

    # -- choosing ---------------------------------------------------------------------------------------

    def _do(self, *step):
        looks = self.tree.looks(step) if step[0] == "store" else None
        self.tree.do(step)
        self.made.append((step, self.tree.looks(step) if looks is None else looks))

    def _bytes(self):
        return sum({id(node): len(node.data) for _, node in self._free()}.values())

    def _free(self):
        """What the menu may touch: not what has a meaning of its own."""
        walked = self.tree.walk()
        if walked is not self._walked:
            self._walked = walked
            self._found = [(path, node) for path, node in walked if path.split("/", 1)[0] not in RESERVED]
        return self._found

    def _paths(self, *kinds):
        return [path for path, node in self._free() if node.kind in kinds]

    def _pick(self, *kinds):
        found = self._paths(*kinds)
        return self.rng.choice(found) if found else None

    def _dir(self):
        return self.rng.choice([".", *self._paths("dir")])

    def _name(self, directory=None):
        self.serial += 1
        directory = self._dir() if directory is None else directory
        stem = self.rng.choice(("f", "ü", "a.tmp", "x" * 60, "-", "~"))
        name = f"{stem}{self.serial % 40}"
        children = self.tree.node(directory).children
        while name in children or (directory == "." and name in RESERVED):
            self.serial += 1
            name = f"{stem}{self.serial}"
        return name if directory == "." else f"{directory}/{name}"

    def _seed(self):
        return 0 if self.rng.random() < 0.1 else self.rng.randrange(1, 1 << 63)

    def _mapped(self, path):
        node = self.tree.node(path)
        return any(mapped is node for mapped, _ in self.tree.slots.values())

    # -- the menu ---------------------------------------------------------------------------------------

    def make_create(self, size=None):
        if len(self._paths("file")) >= FILES_MAX:
            return self.make_unlink()
        path = self._name()
        self._do("create", path, self.rng.choice(("600", "644", "755", "4711")))
        size = self.rng.choice((0, 1, 100, PAGE, 3 * PAGE + 5, 40_000)) if size is None else size
        if size:
            self._do("write", path, 0, size, self._seed())
        return path

    def make_write(self):
        path = self._pick("file")
        if path:
            size = len(self.tree.node(path).data)
            offset = self.rng.randrange(size + 1) if self.rng.random() < 0.8 else size + self.rng.randrange(20_000)
            self._do("write", path, offset, self.rng.choice((1, 8, 500, PAGE)), self._seed())

    def make_truncate(self):
        path = self._pick("file")
        if path and not self._mapped(path):
            size = len(self.tree.node(path).data)
            self._do("truncate", path, self.rng.choice((0, size // 2, size + 1, size + 30_000)))

    def make_punch(self):
        path = self._pick("file")
        if path and len(self.tree.node(path).data) > 0:
            size = len(self.tree.node(path).data)
            self._do("punch", path, self.rng.randrange(size), self.rng.randrange(1, 2 * PAGE))

    def make_large(self):
        """A file with a hole that is long enough to be stored in chunks of one length, and rewritten in places."""
        large = [path for path in self._paths("file") if len(self.tree.node(path).data) >= LARGE_BYTES]
        if len(large) < 2:
            path = self.make_create(0)
            if path and path in self._paths("file"):
                self._do("truncate", path, LARGE_BYTES + self.rng.randrange(200_000))
                self._do("write", path, 0, 3 * PAGE, self._seed())
            return
        path = self.rng.choice(large)
        for _ in range(self.rng.randrange(1, 4)):
            self._do("write", path, PAGE * self.rng.randrange(LARGE_BYTES // PAGE), PAGE, self._seed())

    def make_replace(self):
        """A file is written under another name and renamed over the old one."""
        path = self._pick("file")
        if path and not self._mapped(path):
            new = self._name(parent_of(path))
            self._do("create", new, "640")
            self._do("write", new, 0, len(self.tree.node(path).data) or 1, self._seed())
            self._do("rename", new, path)

    def make_impostor(self):
        """Another content of the same size and with the same modification time."""
        path = self._pick("file")
        if path and len(self.tree.node(path).data) > 0:
            self._do("utimens", path, 1_000_000_000, 7)
            self._do("write", path, 0, min(PAGE, len(self.tree.node(path).data)), self._seed())
            self._do("utimens", path, 1_000_000_000, 7)

    def make_reuse(self):
        """A file is deleted, and the next one, of the same name and size, gets its inode (ext4, xfs)."""
        path = self._pick("file")
        if path and not self._mapped(path):
            size = len(self.tree.node(path).data)
            self._do("unlink", path)
            self._do("create", path, "600")
            if size:
                self._do("write", path, 0, size, self._seed())
            self._do("utimens", path, 1_000_000_000, 7)

    def make_rename(self):
        path = self._pick("file", "link", "fifo", "char")
        if path is None:
            return
        other = self._pick("file", "link") if self.rng.random() < 0.3 else self._name()
        if other and self.tree.node(parent_of(other)) is not None:
            nodes = self.tree.node(parent_of(other)).children
            if nodes.get(other.rpartition("/")[2]) is not self.tree.node(path):
                self._do("rename", path, other)

    def make_rename_dir(self):
        path = self._pick("dir")
        if path:
            others = [one for one in self._paths("dir") if one != path and not one.startswith(f"{path}/")]
            self._do("rename", path, self._name(self.rng.choice([".", *others])))

    def make_exchange(self):
        one, two = self._pick("file", "link"), self._pick("file", "link", "fifo")
        if one and two and self.tree.node(one) is not self.tree.node(two):
            self._do("exchange", one, two)

    def make_exchange_dirs(self):
        one, two = self._pick("dir"), self._pick("dir", "file")
        if one and two and not f"{one}/".startswith(f"{two}/") and not f"{two}/".startswith(f"{one}/"):
            self._do("exchange", one, two)

    def make_swap(self):
        """Two names of one directory are exchanged for a while. On xfs that moves no time of what they name."""
        directory = self._dir()
        prefix = "" if directory == "." else f"{directory}/"
        names = [name for name in self.tree.node(directory).children if prefix or name not in RESERVED]
        if len(names) < 2:
            return
        one, two = (prefix + name for name in self.rng.sample(names, 2))
        self._do("exchange", one, two)
        self._do("sleep", self.rng.randrange(1, 2000))
        self._do("exchange", one, two)

    def make_link(self):
        path = self._pick("file")
        if path and len(self._paths("file")) < FILES_MAX:
            self._do("link", path, self._name())

    def make_move_link(self):
        """A name of a file with several moves to another directory."""
        shared = [path for path in self._paths("file")
                  if sum(node is self.tree.node(path) for _, node in self._free()) > 1]
        if shared:
            self._do("rename", self.rng.choice(shared), self._name())
        else:
            self.make_link()

    def make_unlink(self):
        path = self._pick("file", "link", "fifo", "char")
        # The test looks at what it maps by a name.
        if path and not self._mapped(path):
            self._do("unlink", path)

    def make_mkdir(self):
        if len(self._paths("dir")) < DIRS_MAX:
            self._do("mkdir", self._name(), self.rng.choice(("755", "700", "1777")))

    def make_rmdir(self):
        path = self._pick("dir")
        if path and not self.tree.node(path).children:
            self._do("rmdir", path)

    def make_symlink(self):
        self._do("symlink", self.rng.choice(("count", "../outside", "/etc/passwd", "nowhere")), self._name())

    def make_special(self):
        self._do(self.rng.choice(("fifo", "device")), self._name())

    def make_chmod(self):
        path = self._pick("file", "dir", "fifo")
        if path:
            self._do("chmod", path, self.rng.choice(("600", "640", "755", "1700", "444")))

    def make_chown(self):
        path = self._pick("file", "dir", "link", "fifo")
        if path and not self.tree.node(path).mode & 0o6000:  # which a change of owner takes away
            self._do("chown", path, self.rng.choice((0, 70, 1234)), self.rng.choice((0, 70, 4321)))

    def make_xattr(self):
        path = self._pick("file", "dir")
        if not path:
            return
        names = list(self.tree.node(path).xattrs)
        if names and self.rng.random() < 0.3:
            self._do("rmxattr", path, names[0])
        else:
            self._do("setxattr", path, self.rng.choice(("user.note", "user.other", "trusted.t")),
                     self.rng.choice((0, 1, 30, 900)), self._seed())

    def make_utimens(self):
        path = self._pick("file", "dir", "link")
        if path:
            self._do("utimens", path, self.rng.choice((0, 1_000_000_000, 4_000_000_000)), self.rng.randrange(10 ** 9))

    def make_map(self):
        free = [slot for slot in range(SLOT_COUNT) if slot not in self.tree.slots]
        files = [path for path in self._paths("file") if len(self.tree.node(path).data) >= 8]
        if free and files:
            self._do("map", free[0], self.rng.choice(files))

    def make_unmap(self):
        if self.tree.slots:
            self._do("unmap", self.rng.choice(list(self.tree.slots)))

    def make_store(self):
        """Stores to memory. Those that follow the first to a page change no time of the file."""
        if not self.tree.slots:
            return self.make_map()
        slot = self.rng.choice(list(self.tree.slots))
        size = self.tree.slots[slot][1]
        for _ in range(self.rng.randrange(1, 5)):
            self._do("store", slot, self.rng.randrange(size // 8) * 8, self._seed())
        return None

    def make_pair(self):
        """Two files of one content, replaced together by an exchange of their directories."""
        seed = self._seed()
        for name in ("a", "b"):
            self._do("write", f"pair/next/{name}", 0, 8, seed)
        self._do("exchange", "pair/now", "pair/next")
