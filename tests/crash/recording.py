"""What a program did to its files: the tracer's --record, loaded, and replayed up to a cut.

The rules of what is durable are powerloss.py's; this is the bookkeeping below them.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from crashlib import run_traced


@dataclass
class Inode:
    """What an inode was at the start of the run or when it was made."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    target: str = ""
    source: Path | None = None  # the start's copy of its bytes; None: made by the run, empty


@dataclass
class NameChange:
    """One atomic change of directory entries: (directory, name) -> inode or None."""

    index: int
    sets: list
    removes: dict               # (directory, name) -> the inode that was removed there
    unsynced: set               # directories not synced since
    places: dict                # inode -> every entry it really had right after

    @property
    def durable(self):
        return not self.unsynced


@dataclass
class FileChange:
    index: int
    op: str
    event: dict
    durable: bool = False

    @property
    def is_data(self):
        return self.op in ("write", "ftruncate", "truncate", "fallocate")


class Names:
    """The directory entries of a state."""

    def __init__(self, entries=()):
        self.entries = dict(entries)
        self.where = {}
        for place, inode in self.entries.items():
            self.where.setdefault(inode, set()).add(place)

    def put(self, place, inode):
        self.drop(place)
        self.entries[place] = inode
        self.where.setdefault(inode, set()).add(place)

    def drop(self, place):
        inode = self.entries.pop(place, None)
        if inode is not None:
            self.where[inode].discard(place)

    def apply(self, change):
        for place, inode in change.removes.items():
            if self.entries.get(place) == inode:
                self.drop(place)
        for place, inode in change.sets:
            self.put(place, inode)
        # Where an earlier move is missing from a state, the inode is still at its old place: a
        # moved inode is never at two places.
        for inode, places in change.places.items():
            for place in self.where.get(inode, set()) - places:
                self.drop(place)


class Recording:
    """A run's start and events, as the tracer's --record wrote them."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.inodes, self.roots, self.start = {}, {}, Names()
        self.unsupported = []
        self._load_start(json.loads((self.directory / "roots.json").read_text()))
        self.events = [self._decoded(line) for line in
                       (self.directory / "events.jsonl").read_text().splitlines()]
        for event in self.events:
            if event["op"] == "unsupported":
                self.unsupported.append(event)
            elif event["op"] in ("create", "tmpfile"):
                self.inodes[event["ino"]] = Inode(
                    event["kind"], event["mode"], event["uid"], event["gid"], event["mtime_ns"],
                    event.get("target", ""))

    @staticmethod
    def _decoded(line):
        event = json.loads(line)
        for key in ("name", "to_name", "path", "target"):
            if key in event:
                event[key] = os.fsdecode(os.fsencode(event[key]))
        return event

    def _load_start(self, roots):
        by_path = {}
        for line in (self.directory / "start.jsonl").read_text().splitlines():
            entry = self._decoded(line)
            path, inode = entry["path"], entry["ino"]
            by_path[path] = inode
            parent, name = os.path.split(path)
            if path not in roots and parent not in by_path:
                continue  # a watched socket outside the recorded directories
            self.inodes.setdefault(inode, Inode(
                entry["kind"], entry["mode"], entry["uid"], entry["gid"], entry["mtime_ns"],
                entry.get("target", ""), self.directory / "start" / path.lstrip("/")))
            if path in roots:
                self.roots[path] = inode
            else:
                self.start.put((by_path[parent], name), inode)

    def armed_cuts(self):
        """The cuts from the first counted call to the end: leaves out a daemon's start."""
        counted = [index for index, event in enumerate(self.events) if event["n"] > 0]
        return range(counted[0], len(self.events) + 1) if counted else range(0)

    def data(self, change):
        with open(self.directory / "data", "rb") as data:
            data.seek(change.event["data"])
            return data.read(change.event["len"])


def prepare_recording(roots, directory):
    """Copies the roots as they are before the run into the recording's directory, which must lie
    outside them. For a daemon: then TracedDaemon(..., only=[*roots, socket], record=directory),
    and Recording(directory) after its end. Returns the real paths of the roots."""
    directory = Path(directory)
    roots = [os.path.realpath(root) for root in roots]
    for root in roots:
        copy = directory / "start" / root.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--reflink=auto", root, str(copy)], check=True)
    (directory / "roots.json").write_text(json.dumps(roots))
    return roots


def record(argv, roots, directory, **options):
    """Runs argv to its end under the recording tracer; (Recording, Run)."""
    roots = prepare_recording(roots, directory)
    run = run_traced(argv, only=roots, record=directory, **options)
    return Recording(directory), run


class History:
    """A run replayed up to a cut: what changed, and what of it is durable."""

    def __init__(self, recording, cut):
        self.recording, self.cut = recording, cut
        self.names, self.files, self.output = [], {}, ""
        self.sent = []  # names of the sockets that something was sent on
        self._now = Names(recording.start.entries)
        for index, event in enumerate(recording.events[:cut]):
            self._step(index, event)

    def _step(self, index, event):
        op = event["op"]
        if op in ("create", "link"):
            self._change(index, [((event["parent"], event["name"]), event["ino"])], {})
        elif op == "unlink":
            self._change(index, [], {(event["parent"], event["name"]): event["ino"]})
        elif op == "rename":
            source = (event["parent"], event["name"])
            self._change(index, [((event["to_parent"], event["to_name"]), event["ino"])],
                         {source: event["ino"]})
        elif op == "exchange":
            first = (event["parent"], event["name"])
            second = (event["to_parent"], event["to_name"])
            self._change(index, [(first, event["other"]), (second, event["ino"])], {})
        elif op in ("fsync", "fdatasync", "syncfs", "sync"):
            self._sync(op, event.get("ino", ""))
        elif op == "output":
            self.output += event["text"]
        elif op == "send":
            self.sent.append(event["path"])
        elif op not in ("tmpfile", "unsupported"):
            self.files.setdefault(event["ino"], []).append(FileChange(index, op, event))

    def _change(self, index, sets, removes):
        moved = {inode for _, inode in sets}
        unsynced = {place[0] for place, _ in sets} | {place[0] for place in removes}
        change = NameChange(index, sets, removes, unsynced, {})
        self._now.apply(change)
        change.places = {inode: set(self._now.where[inode]) for inode in moved}
        self.names.append(change)

    def _sync(self, op, synced):
        device = synced.split(":")[0] + ":"
        for change in self.names:
            if op == "sync":
                change.unsynced.clear()
            elif op == "syncfs":
                change.unsynced = {d for d in change.unsynced if not d.startswith(device)}
            else:
                change.unsynced.discard(synced)
        for inode, changes in self.files.items():
            if op in ("fsync", "fdatasync") and inode != synced:
                continue
            if op == "syncfs" and not inode.startswith(device):
                continue
            for change in changes:
                change.durable |= op != "fdatasync" or change.is_data
