"""Power loss by a model: builds every kind of state POSIX allows after a cut of a recorded run.

    recording, run = record(argv, roots=[data], directory=scratch)    copies data, runs under the tracer
    report = for_each_state(recording, target, recover, check, seed=7)

The rules (mode "posix"), for what the run had done up to the cut:

  * an inode's bytes and size are durable up to its last fsync, fdatasync, syncfs or sync; of the
    later writes and truncations any subset may be there: none, all, some, some 4 KiB blocks, the
    last one torn at a sector, or the size without the bytes (zeros);
  * owner, mode, times and attributes likewise, but fdatasync does not cover them;
  * a name is durable once its directory was synced after the change; syncing the file does not
    do it. Of the later changes any subset may be there. A rename or exchange happens wholly or
    not at all, and is durable when *both* directories were synced.

Mode "journal" is what ext4, xfs and btrfs do in practice: name changes survive as a prefix of
their order, while unsynced inodes lose any bytes.

The states have other inode numbers and file handles than the run: programs that know trees by
handle need loopcut.py. Memory maps other than *-shm, mounts and btrfs subvolumes are outside the
model: Recording.unsupported lists what was seen of them.
"""

import argparse
import os
import random
import shutil
import time
from dataclasses import dataclass, field

from crashlib import Failure, Injection, Report
from recording import History, Names, Recording, record

__all__ = ["Generator", "State", "Recording", "for_each_state", "generate", "record"]

SECTOR = 512
BLOCK = 4096


@dataclass
class State:
    """One legal state after a power loss. Contents are lists of (change, how)."""

    cut: int
    label: str
    names: Names
    contents: dict
    recording: Recording
    output: str
    sent: list = field(default_factory=list)

    def acknowledged(self, text):
        """Whether the program had printed this before the cut."""
        return text in self.output

    def __str__(self):
        last = self.recording.events[self.cut - 1] if self.cut else {"op": "nothing"}
        name = last.get("name", last.get("path", ""))
        return f"cut {self.cut} (after {last['op']} {name}), {self.label}"

    def tree(self):
        """Yields (path below the root's own path, inode, parents first) of all that is reachable."""
        children = {}
        for (directory, name), inode in self.names.entries.items():
            children.setdefault(directory, []).append((name, inode))
        todo = list(self.recording.roots.items())
        while todo:
            path, inode = todo.pop()
            yield path, inode
            todo += [(f"{path}/{name}", child) for name, child in sorted(children.get(inode, ()))]

    def signature(self):
        """Equal for states that cannot be told apart, including what was acknowledged."""
        contents = {inode: tuple((change.index, how) for change, how in changes)
                    for inode, changes in self.contents.items() if changes}
        return hash((self.output, tuple(self.sent),
                     tuple((path, inode, contents.get(inode)) for path, inode in self.tree())))

    def materialise(self, target=None):
        """Writes the state below target (each root at its own absolute path), or with no target
        over the roots themselves, whose present content is removed."""
        base = "" if target is None else str(target)
        made, directories = {}, []
        for path, inode in self.tree():
            place = base + path
            if path in self.recording.roots:
                os.makedirs(place, exist_ok=True)
                for entry in os.scandir(place):
                    remove(entry.path)
            what = self.recording.inodes[inode]
            if inode in made and what.kind != "dir":
                os.link(made[inode], place, follow_symlinks=False)
                continue
            made[inode] = place
            self._make(place, inode, what)
            directories.append((place, inode, what))
        for place, inode, what in reversed(directories):
            self._dress(place, inode, what)

    def _make(self, place, inode, what):
        if what.kind == "dir":
            os.makedirs(place, exist_ok=True)
        elif what.kind == "symlink":
            os.symlink(what.target, place)
        elif what.kind == "other":
            os.mknod(place, 0o010600)  # sockets and devices: a fifo stands for them
        else:
            self._fill(place, what, self.contents.get(inode, ()))

    def _fill(self, place, what, changes):
        if what.source is not None:
            shutil.copyfile(what.source, place)
        with open(place, "ab"):
            pass
        with open(place, "r+b") as out:
            for change, how in changes:
                if change.is_data:
                    self._apply_data(out, change, how)

    def _apply_data(self, out, change, how):
        event = change.event
        size = os.fstat(out.fileno()).st_size
        if change.op in ("ftruncate", "truncate"):
            os.truncate(out.fileno(), event["len"])
        elif change.op == "fallocate":
            end = event["offset"] + event["len"]
            if event["mode"] & ~1:  # punched or zeroed
                out.seek(event["offset"])
                out.write(bytes(max(0, min(end, size) - event["offset"])))
                out.flush()
            if not event["mode"] & 3 and end > size:
                os.truncate(out.fileno(), end)
        elif how == "size":
            os.truncate(out.fileno(), max(size, event["offset"] + event["len"]))
        else:
            data, offset = self.recording.data(change), event["offset"]
            pieces = [(0, len(data))] if how == "all" else how
            for start, end in pieces:
                os.pwrite(out.fileno(), data[start:end], offset + start)

    def _dress(self, place, inode, what):
        """Attributes last: a directory's time changes while it is filled."""
        mode, uid, gid, mtime_ns = what.mode, what.uid, what.gid, what.mtime_ns
        xattrs = {}
        if what.source is not None and what.kind in ("file", "dir"):
            xattrs = {name: os.getxattr(what.source, name, follow_symlinks=False)
                      for name in os.listxattr(what.source, follow_symlinks=False)}
        for change, _ in self.contents.get(inode, ()):
            event = change.event
            if change.op == "attr":
                mode, uid, gid, mtime_ns = (event[key] for key in
                                            ("mode", "uid", "gid", "mtime_ns"))
            elif "setxattr" in change.op:
                xattrs[event["name"]] = os.fsencode(event["value"])
            elif "removexattr" in change.op:
                xattrs.pop(event["name"], None)
        os.chown(place, uid, gid, follow_symlinks=False)
        if what.kind == "symlink":
            os.utime(place, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
            return
        for name, value in xattrs.items():
            os.setxattr(place, name, value)
        os.chmod(place, mode)
        os.utime(place, ns=(mtime_ns, mtime_ns))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


class Generator:
    """The states of one cut: the corners of what is legal first, then random ones."""

    def __init__(self, recording, cut, rng):
        self.history = History(recording, cut)
        self.recording, self.cut, self.rng = recording, cut, rng

    def states(self, random_states, modes):
        pending = [change for change in self.history.names if not change.durable]
        if "posix" in modes:
            yield self._state("only what was synced", [], self._none)
            yield self._state("all names, no unsynced data", pending, self._none)
            yield self._state("all names, sizes without data", pending, self._sizes)
            yield self._state("all data, no unsynced names", [], self._all)
            yield self._state("everything", pending, self._all)
            yield self._state("everything, last writes torn", pending, self._torn)
            # One change missing or one alone: what a single forgotten sync can do.
            for change in self.rng.sample(pending, min(len(pending), random_states)):
                rest = [other for other in pending if other is not change]
                yield self._state(f"all but name change {change.index}", rest, self._all)
                yield self._state(f"only name change {change.index}", [change], self._all)
            for number in range(random_states):
                share = self.rng.choice((0.2, 0.5, 0.8))
                chosen = [change for change in pending if self.rng.random() < share]
                yield self._state(f"random {number}", chosen, self._random)
        if "journal" in modes:
            for number in range(random_states + 1):
                yield self._journal_state(number)

    def _journal_state(self, number):
        """A prefix of the name changes that holds every one that any of its directories' syncs
        wrote: a journal is written in order."""
        changes = self.history.names
        known = 0
        for position, change in enumerate(changes):
            directories = {place[0] for place, _ in change.sets}
            directories |= {place[0] for place in change.removes}
            if change.unsynced != directories:
                known = position + 1
        length = known if number == 0 else self.rng.randint(known, len(changes))
        choose = self._none if number == 0 else self._random
        return self._build(f"journal {number}: {length} of {len(changes)} name changes",
                           changes[:length], choose)

    def _state(self, label, chosen, choose):
        picked = {change.index for change in chosen}
        return self._build(label, [change for change in self.history.names
                                   if change.durable or change.index in picked], choose)

    def _build(self, label, changes, choose):
        names = Names(self.recording.start.entries)
        for change in changes:
            names.apply(change)
        contents = {}
        for inode, all_changes in self.history.files.items():
            pending = [change for change in all_changes if not change.durable]
            kept = {change.index: how for change, how in choose(pending)}
            contents[inode] = [(change, kept.get(change.index, "all")) for change in all_changes
                               if change.durable or change.index in kept]
        return State(self.cut, label, names, contents, self.recording, self.history.output,
                     self.history.sent)

    def _none(self, _):
        return []

    def _all(self, pending):
        return [(change, "all") for change in pending]

    def _sizes(self, pending):
        return [(change, "size" if change.op == "write" else "all") for change in pending]

    def _torn(self, pending):
        chosen = self._all(pending)
        for position in range(len(chosen) - 1, -1, -1):
            change = chosen[position][0]
            if change.op == "write":
                first = -change.event["offset"] % SECTOR
                edges = list(range(first or SECTOR, change.event["len"], SECTOR))
                if edges:
                    chosen[position] = (change, ((0, self.rng.choice(edges)),))
                break
        return chosen

    def _random(self, pending):
        choice = self.rng.choice((self._none, self._all, self._sizes, self._torn, self._some,
                                  self._blocks))
        return choice(pending)

    def _some(self, pending):
        return [(change, "all") for change in pending if self.rng.random() < 0.5]

    def _blocks(self, pending):
        chosen = []
        for change in pending:
            if change.op != "write":
                chosen.append((change, "all"))
                continue
            offset, length = change.event["offset"], change.event["len"]
            edges = [0, *range(-offset % BLOCK or BLOCK, length, BLOCK), length]
            pieces = tuple(piece for piece in zip(edges, edges[1:]) if self.rng.random() < 0.5)
            if pieces:
                chosen.append((change, pieces))
        return chosen


def generate(recording, seed, random_states=3, modes=("posix", "journal"), cuts=None):
    """Yields the distinct states of every cut (or of these cuts), the same ones for a seed."""
    seen = set()
    for cut in range(len(recording.events) + 1) if cuts is None else cuts:
        rng = random.Random(f"{seed}/{cut}")
        for state in Generator(recording, cut, rng).states(random_states, modes):
            signature = state.signature()
            if signature not in seen:
                seen.add(signature)
                yield state


def for_each_state(recording, target, recover, check, seed=None, random_states=3,
                   modes=("posix", "journal"), cuts=None, sample=None, budget_s=None,
                   stop_at_first=False):
    """Materialises every state, calls recover(base) and check(base, state), where base is the
    directory that stands for "/" ("" with target=None: over the real places). Returns a Report.
    cuts limits the cuts (recording.armed_cuts()); sample takes so many of them at random."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    report = Report(seed, {"power loss": 0}, calls=len(recording.events))
    cuts = range(len(recording.events) + 1) if cuts is None else cuts
    if sample is not None and sample < len(cuts):
        cuts = sorted(random.Random(seed).sample(list(cuts), sample))
    deadline = time.monotonic() + budget_s if budget_s else None
    base = "" if target is None else str(target)
    for state in generate(recording, seed, random_states, modes, cuts):
        if deadline is not None and time.monotonic() > deadline:
            report.out_of_time = True
            break
        report.counts["power loss"] += 1
        try:
            state.materialise(target)
            recover(base)
            check(base, state)
        except Exception as error:  # whatever breaks is the finding
            report.failures.append(Failure(Injection("power loss", state.cut), Injection(),
                                           f"{state}: {type(error).__name__}: {error}"))
            if stop_at_first:
                break
    print(report, flush=True)
    return report


def main():
    parser = argparse.ArgumentParser(description="List a recording's states, or build one of them.")
    parser.add_argument("recording")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cut", type=int)
    parser.add_argument("--build", type=int, metavar="NUMBER", help="of the listed states")
    parser.add_argument("--target", help="directory that stands for /")
    options = parser.parse_args()
    recording = Recording(options.recording)
    cuts = None if options.cut is None else [options.cut]
    for number, state in enumerate(generate(recording, options.seed, cuts=cuts)):
        if options.build is None:
            print(number, state)
        elif number == options.build:
            state.materialise(options.target)
            print(state)


if __name__ == "__main__":
    main()
