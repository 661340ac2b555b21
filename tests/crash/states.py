"""Which of the kills inside recoveries find different states: each distinct one needs to be played once.

    distinct(calls, recoveries)    {state: [(at, inside), ...]}: kills that find one and the same state

`calls` are those of an undisturbed operation, `recoveries` {at: calls of the recovery after a kill at `at`}.
All of them start from one and the same World, so a state is told by what was done since, less what no longer
shows. That is followed here, call by call:

  nothing is left by   a call that failed, a sync, a question to the engine, a call on SQLite's -shm file
                       (choose.py)
  nameless files       what was written to a file made by O_TMPFILE is gone with the process, until linkat
                       gives it a name (open(2))
  transactions         of SQLite's write-ahead log, frames count when the last of their transaction is
                       written (sqlite.org/walformat.html: what follows the last commit frame is not read)
  what was removed     all that was done to a file, link or directory that is gone, made since the start
  attributes           of an entry of a staged tree, beyond the first that was set: recovery removes a tree
                       that is not whole, and reads no owner, mode, time or attribute there

What is left must be the same, call by call, in its order: names (ids, times and hashes in them numbered in
the order in which they appear), lengths, which stand for contents, and flags. A recovery's transaction is told by its length and by all that
the recovery found, but for the insides of staged trees, which it only removes. So two kills that are taken for the
same found the same files, journal, catalog and engine; which of them is played is for the seed to say.
"""

import json
import re
from os import O_TRUNC

from choose import leaves_nothing

NUMBERED = re.compile(r"(?:[a-z]+_)?01[0-9a-z]{24}|[0-9a-f]{64}|/tmp/cairn-crash-[a-z0-9_]+|#\d+ \(deleted\)")
MAKING = {"mkdir", "mkdirat", "open", "openat", "openat2", "creat", "symlink", "symlinkat", "link", "linkat",
          "mknod", "mknodat"}
ATTRIBUTES = {"fchmod", "fchmodat", "fchown", "fchownat", "lchown", "utimensat", "setxattr", "lsetxattr", "fsetxattr"}
EXCHANGE = 2  # RENAME_EXCHANGE
WAL_HEADER_BYTES = 32  # written and synced before the first frame of a log that begins anew


def below(path, top):
    return path == top or path.startswith(top + "/")


def moved(path, old, new):
    return new + path[len(old):] if below(path, old) else path


def is_staged(path):
    return "/.cairn/" in path


def is_frame(call):
    return call is not None and call["kind"] == "data" and call["paths"][0].endswith("-wal")


class State:
    """What calls have done. An entry is (call, paths, more)."""

    def __init__(self):
        self.done = []
        self.found = ()     # by the recovery whose calls are being followed
        self._frames = 0    # of a transaction that is not through
        self._nameless = {}  # path in the log -> what was written to it
        self._named = {}    # the same path, once it has a name -> that name

    def killed(self):
        """As a kill leaves it."""
        after = State()
        after.done, after.found = list(self.done), self.found
        return after

    def recovering(self):
        """What a recovery finds after a kill."""
        after = self.killed()
        after.found = tuple(entry for entry in self.done
                            if not entry[1] or not all(map(is_staged, entry[1])))
        return after

    def key(self):
        numbers = {}
        return NUMBERED.sub(lambda match: numbers.setdefault(match[0], f"@{len(numbers)}"), json.dumps(self.done))

    def follow(self, call, following=None):
        """`following` is the next call: it tells whether a frame is its transaction's last."""
        if leaves_nothing(call):
            return
        name, paths = call["call"], tuple(self._named.get(path, path) for path in call["paths"])
        if is_frame(call):
            self._frames += call["len"] > WAL_HEADER_BYTES
            if self._frames and not is_frame(following):
                self._add("transaction", (), self._frames, self.found)
                self._frames = 0
        elif call["kind"] == "net":
            self._add("request", (), call["len"])
        elif call["kind"] == "open" and (paths[0].endswith("/.") or not call.get("grows") and not call["flags"] & O_TRUNC):
            return  # O_TMPFILE, or of a file that was there
        elif paths and paths[0].endswith(" (deleted)"):
            self._nameless_call(name, paths, call)
        elif name in ("unlink", "unlinkat", "rmdir"):
            self._remove(paths[0])
        elif name in ATTRIBUTES and is_staged(paths[0]):
            if ("attributes", paths, ()) not in self.done:
                self._add("attributes", paths)
        else:
            if name.startswith("rename"):
                self._rename(*paths, exchange=call.get("flags") == EXCHANGE)
            if name in ("truncate", "ftruncate") and call["len"] == 0:
                self.done = [entry for entry in self.done
                             if entry[1] != paths or entry[0] not in ("ftruncate", "write", "pwrite64")]
            self._add(name, paths, call.get("len"), call.get("flags"))

    def _add(self, name, paths, *more):
        self.done.append((name, paths, more))

    def _nameless_call(self, name, paths, call):
        if name == "linkat":
            self._add(name, paths[1:], self._nameless.pop(paths[0], ()))
            self._named[call["paths"][0]] = paths[1]
        else:
            self._nameless[paths[0]] = self._nameless.get(paths[0], ()) + ((name, call.get("len")),)

    def _rewrite(self, change):
        self.done = [(name, tuple(map(change, paths)), *more) for name, paths, *more in self.done]

    def _forget(self, path):
        """All that was done to what is at `path`, whose last name it is."""
        self.done = [entry for entry in self.done
                     if not entry[1] or entry[0] == "unlink" or not (all(below(one, path) for one in entry[1])
                                             or entry[0] in ("link", "linkat") and entry[1][-1] == path)]

    def _remove(self, path):
        other = next((entry for entry in self.done if entry[0] in ("link", "linkat") and len(entry[1]) == 2
                      and entry[1][0] == path and entry[1][1] != path), None)
        made = any(entry[0] in MAKING and entry[1][-1] == path for entry in self.done)
        if other and made:
            self.done.remove(other)  # the other name of it is now the only one
            self._rewrite(lambda one: moved(one, path, other[1][1]))
            return
        if not other:
            self._forget(path)
        if not made:
            self._add("unlink", (path,))

    def _rename(self, old, new, exchange):
        if exchange:
            self._rewrite(lambda one: moved(one, old, new) if below(one, old) else moved(one, new, old))
        else:
            self._forget(new)
            self._rewrite(lambda one: moved(one, old, new))


def before_each(calls, start):
    """The state that a kill at each call finds."""
    state = start.killed()
    for call, following in zip(calls, [*calls[1:], None]):
        yield call["n"], state.killed()
        state.follow(call, following)


def outer(calls):
    """The kills of an operation that find different states."""
    found = {}
    for number, state in before_each(calls, State()):
        found.setdefault(state.key(), number)
    return sorted(found.values())


def distinct(calls, recoveries):
    states = {number: state for number, state in before_each(calls, State()) if number in recoveries}
    found = {}
    for at, recovery in sorted(recoveries.items()):
        for inside, state in before_each(recovery, states[at].recovering()):
            found.setdefault(state.key(), []).append((at, inside))
    return found
