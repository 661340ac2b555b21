"""Commands in running containers of the fake engine."""

import os
import secrets
import select
import signal
import struct
import threading

from httpd import Answer, Hijacked, HttpError
from spawn_client import SpawnError


class Run:
    """One process in a container; `done` is set once it has ended with `code`."""

    def __init__(self, engine):
        self.engine = engine
        self.pid = 0
        self.code = None
        self.done = threading.Event()

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Execs:
    def __init__(self, engine):
        self.engine = engine
        self.all = {}  # id -> record
        self.running = {}  # key -> Run

    def launch(self, container, argv, fds, env=(), cwd="", user=None):
        """Starts argv; fds are [stdout, stderr] or [stdin, stdout, stderr] and stay the caller's."""
        uid, gid = container.user(container.config.get("User") or "" if user is None else user)
        null = None
        if len(fds) == 2:
            null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            fds = [null, *fds]
        key = "exec-" + secrets.token_hex(16)
        run = self.running[key] = Run(self.engine)
        try:
            answer = self.engine.spawner.call(
                "exec", fds=fds, key=key, pid=container.state["Pid"], cgroup=container.cgroup, argv=argv,
                env=container.environment(env), cwd=cwd or container.config.get("WorkingDir") or "/", uid=uid, gid=gid)
        except SpawnError:
            del self.running[key]
            raise
        finally:
            if null is not None:
                os.close(null)
        run.pid = answer["pid"]
        return run

    def on_exit(self, key, code):
        run = self.running.pop(key)
        run.code = code
        run.done.set()

    # -- API -----------------------------------------------------------------------------

    def create(self, container, body):
        with container.cond:
            container.check_exec()
        if not body.get("Cmd"):
            raise HttpError(400, "No exec command specified")
        ident = secrets.token_hex(32)
        self.all[ident] = {"container": container, "body": body, "run": None, "code": None, "used": False}
        return {"Id": ident}

    def find(self, ident):
        if ident not in self.all:
            raise HttpError(404, f"No such exec instance: {ident}")
        return self.all[ident]

    def ids_in(self, container):
        """As the real engine's: those that have not ended, null for none."""
        return [ident for ident, record in list(self.all.items())
                if record["container"] is container and self._code(record) is None] or None

    @staticmethod
    def _code(record):
        return record["run"].code if record["run"] else record["code"]

    def view(self, ident):
        record = self.find(ident)
        run, body = record["run"], record["body"]
        code = self._code(record)
        return {"ID": ident, "Running": record["used"] and code is None, "ExitCode": code,
                "ProcessConfig": {"tty": bool(body.get("Tty")), "entrypoint": body["Cmd"][0],
                                  "arguments": body["Cmd"][1:], "privileged": False},
                "OpenStdin": bool(body.get("AttachStdin")), "OpenStderr": bool(body.get("AttachStderr")),
                "OpenStdout": bool(body.get("AttachStdout")), "CanRemove": False,
                "ContainerID": record["container"].id, "DetachKeys": "", "Pid": run.pid if run else 0}

    def start(self, request, ident, common):
        record = self.find(ident)
        container, body = record["container"], record["body"]
        with container.cond:
            container.check_exec()
        if request.json().get("Detach"):
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            try:
                self._begin(record, [null, null, null])
            except SpawnError as error:
                raise HttpError(400, self._message(error)) from None
            finally:
                os.close(null)
            return Answer(200)
        connection = request.connection
        if request.headers.get("upgrade", "").lower() == "tcp":
            connection.send_head(101, {"Content-Type": "application/vnd.docker.raw-stream", "Connection": "Upgrade",
                                       "Upgrade": "tcp"})
        else:
            connection.send_head(200, {**common, "Content-Type": "application/vnd.docker.raw-stream"})
        if record["used"]:
            self._frame(connection.sock, 1, f"Error: Exec command {ident} has already run\r\n".encode())
            return Hijacked
        self._stream(record, body, connection)
        return Hijacked

    @staticmethod
    def _message(error):
        return ("OCI runtime exec failed: exec failed: unable to start container process: "
                f"{error.message}: unknown")

    @staticmethod
    def _frame(sock, stream, data):
        sock.sendall(struct.pack(">BxxxI", stream, len(data)) + data)

    def _begin(self, record, fds):
        record["used"] = True
        body = record["body"]
        try:
            record["run"] = self.launch(record["container"], body["Cmd"], fds, body.get("Env") or (),
                                        body.get("WorkingDir") or "", body.get("User") or None)
        except SpawnError:
            record["code"] = 126
            raise

    def _stream(self, record, body, connection):
        sock = connection.sock
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            self._begin(record, [in_read, out_write, err_write])
        except SpawnError as error:
            for fd in (in_write, out_read, err_read):
                os.close(fd)
            self._frame(sock, 1, self._message(error).encode() + b"\r\n")
            return
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        if not body.get("AttachStdin"):
            os.close(in_write)
            in_write = -1
        elif connection.buffer:
            os.write(in_write, connection.buffer)
        try:
            self._pump(sock, in_write, {out_read: 1, err_read: 2}, bool(body.get("Tty")))
        finally:
            record["run"].done.wait(5)

    def _pump(self, sock, in_write, outputs, raw):
        """Until both outputs end. A client that goes away does not end the process."""
        poll = select.poll()
        for fd in outputs:
            poll.register(fd, select.POLLIN)
        if in_write >= 0:
            poll.register(sock.fileno(), select.POLLIN)
        open_outputs, client = dict(outputs), True
        while open_outputs:
            for fd, _ in poll.poll():
                if fd == sock.fileno():
                    data = sock.recv(65536)
                    if data:
                        os.write(in_write, data)
                    else:
                        poll.unregister(fd)
                        os.close(in_write)
                        in_write = -1
                    continue
                data = os.read(fd, 65536)
                if not data:
                    poll.unregister(fd)
                    os.close(fd)
                    del open_outputs[fd]
                elif client:
                    try:
                        sock.sendall(data) if raw else self._frame(sock, open_outputs[fd], data)
                    except OSError:
                        client = False
        if in_write >= 0:
            os.close(in_write)
