"""The engine's side of cairn_fake_spawner (spawner.cc): starts it, sends requests, hands out its events.
Thread-safe."""

import array
import fcntl
import itertools
import json
import os
import queue
import socket
import subprocess
import threading

from built import built


class SpawnError(Exception):
    def __init__(self, kind, message):
        super().__init__(message)
        self.kind, self.message = kind, message


def await_last_spawner(root):
    """The lock that a spawner holds while it may still start something: an engine that was killed may
    have asked for a container that its spawner has yet to make, and that the next engine must find."""
    lock = os.open(os.path.join(root, "spawner.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


class SpawnClient:
    def __init__(self, root, on_exit, owner=0):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        lock = await_last_spawner(root)
        self.process = subprocess.Popen(
            [built("cairn_fake_spawner", "CAIRN_SPAWNER"), root, str(theirs.fileno()), str(lock), str(owner)],
            pass_fds=[theirs.fileno(), lock], stdin=subprocess.DEVNULL, start_new_session=True,
        )
        theirs.close()
        os.close(lock)
        with open(os.path.join(root, "spawner.pid"), "w") as file:
            file.write(str(self.process.pid))
        self.channel = ours
        self.on_exit = on_exit
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.exits = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._deliver, daemon=True).start()

    def call(self, op, fds=(), **spec):
        """One request; the answer, or SpawnError."""
        number = next(self.numbers)
        # As UTF-8: half a surrogate pair, which the spawner cannot take, fails here.
        data = json.dumps({"op": op, "seq": number, **spec}, ensure_ascii=False).encode()
        slot = {"done": threading.Event()}
        self.waiting[number] = slot
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.channel.sendmsg([data], ancillary)
        slot["done"].wait()
        answer = slot["answer"]
        if "error" in answer:
            raise SpawnError(answer["kind"], answer["error"])
        return answer

    def _read(self):
        while data := self.channel.recv(1 << 20):
            message = json.loads(data)
            if message["op"] == "answer":
                slot = self.waiting.pop(message["seq"])
                slot["answer"] = message
                slot["done"].set()
            else:
                self.exits.put(message)
        for slot in list(self.waiting.values()):
            slot["answer"] = {"kind": "os", "error": "the spawner has ended"}
            slot["done"].set()

    def _deliver(self):
        while True:
            message = self.exits.get()
            self.on_exit(message["key"], message["pid"], message["code"])
