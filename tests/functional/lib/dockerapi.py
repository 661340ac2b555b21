"""A small client for the Docker Engine API on a Unix socket.

Standard library only. One connection per call, so that a killed engine never leaves
a half-used connection behind. Not thread-safe state: none is kept, so any thread may call.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
import time
import urllib.parse
from dataclasses import dataclass, field


class UnixHTTPConnection(http.client.HTTPConnection):
    """http.client over a Unix socket; `timeout` in seconds covers each socket call."""

    def __init__(self, path: str, timeout: float | None = 60):
        super().__init__("localhost", timeout=timeout, blocksize=1 << 20)
        self._path = str(path)

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self.sock = sock


@dataclass
class Response:
    status: int
    headers: dict
    body: bytes = field(repr=False)

    def json(self):
        return json.loads(self.body)

    def ndjson(self) -> list:
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]

    @property
    def message(self) -> str:
        try:
            return self.json().get("message", "")
        except (ValueError, AttributeError):
            return self.body.decode(errors="replace")

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.body[:800].decode(errors='replace')}"


class EngineError(AssertionError):
    def __init__(self, what: str, response: Response):
        super().__init__(f"{what}: {response}")
        self.response = response


def unix_request(
    path: str, method: str, target: str, headers=None, body=None, timeout: float | None = 60
) -> Response:
    """One HTTP exchange. `body`: bytes, a readable, or anything json can write."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (bytes, bytearray)) and not hasattr(body, "read"):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    connection = UnixHTTPConnection(path, timeout)
    try:
        try:
            connection.request(method, target, body=body, headers=headers)
        except BrokenPipeError:
            # Refused before the body was read: the answer is waiting all the same.
            connection._HTTPConnection__state = "Request-sent"
        answer = connection.getresponse()
        return Response(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


class EngineClient:
    """Calls an engine. `get/post/delete` return the Response; the verbs below check it."""

    def __init__(self, socket_path: str, version: str = "1.41"):
        self.socket_path = str(socket_path)
        self.version = version

    # -- raw calls ---------------------------------------------------------------

    def call(self, method, path, query=None, body=None, headers=None, timeout=60) -> Response:
        target = f"/v{self.version}{path}" if self.version else path
        if query:
            target += "?" + urllib.parse.urlencode(query, doseq=True)
        return unix_request(self.socket_path, method, target, headers, body, timeout)

    def get(self, path, timeout=60, **query) -> Response:
        return self.call("GET", path, query, timeout=timeout)

    def post(self, path, body=None, timeout=60, **query) -> Response:
        return self.call("POST", path, query, body, timeout=timeout)

    def delete(self, path, timeout=60, **query) -> Response:
        return self.call("DELETE", path, query, timeout=timeout)

    @staticmethod
    def _check(what: str, response: Response, *accepted: int) -> Response:
        if response.status not in accepted:
            raise EngineError(what, response)
        return response

    # -- containers --------------------------------------------------------------

    def create(self, image: str, cmd=None, name: str | None = None, **config) -> str:
        """Creates a container and returns its id. `HostConfig` and the rest as in the API."""
        body = {"Image": image, **config}
        if cmd is not None:
            body["Cmd"] = cmd
        query = {"name": name} if name else {}
        response = self.call("POST", "/containers/create", query, body)
        return self._check("create", response, 201).json()["Id"]

    def start(self, ref: str) -> Response:
        return self._check("start", self.post(f"/containers/{ref}/start"), 204, 304)

    def run(self, image: str, cmd=None, name: str | None = None, **config) -> str:
        ident = self.create(image, cmd, name, **config)
        self.start(ident)
        return ident

    def stop(self, ref: str, grace_s: int = 2) -> Response:
        response = self.post(f"/containers/{ref}/stop", t=grace_s, timeout=grace_s + 60)
        return self._check("stop", response, 204, 304)

    def remove(self, ref: str, force: bool = True, volumes: bool = False) -> Response:
        query = {"force": int(force), "v": int(volumes)}
        response = self.call("DELETE", f"/containers/{ref}", query)
        return self._check("remove", response, 204)

    def inspect(self, ref: str) -> dict:
        return self._check("inspect", self.get(f"/containers/{ref}/json"), 200).json()

    def state(self, ref: str) -> dict:
        return self.inspect(ref)["State"]

    def containers(self, all: bool = True, **filters) -> list:
        query = {"all": int(all)}
        if filters:
            query["filters"] = json.dumps({k: v if isinstance(v, list) else [v] for k, v in filters.items()})
        return self._check("list", self.call("GET", "/containers/json", query), 200).json()

    def exec(self, ref: str, cmd: list, **config) -> tuple[int, bytes, bytes]:
        """Runs cmd in a running container: exit code, stdout, stderr."""
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": cmd, **config}
        response = self._check("exec", self.post(f"/containers/{ref}/exec", body), 201)
        ident = response.json()["Id"]
        output = self._check("exec start", self.post(f"/exec/{ident}/start", {"Detach": False}), 200)
        stdout, stderr = split_frames(output.body)
        info = self._check("exec inspect", self.get(f"/exec/{ident}/json"), 200).json()
        return info["ExitCode"], stdout, stderr

    def logs(self, ref: str, **query) -> tuple[bytes, bytes]:
        query = {"stdout": 1, "stderr": 1, **query}
        response = self._check("logs", self.call("GET", f"/containers/{ref}/logs", query), 200)
        return split_frames(response.body)

    def wait_state(self, ref: str, want, timeout: float = 30) -> dict:
        """Polls until want(State) holds, `want` being a predicate or a Status string."""
        check = want if callable(want) else lambda state: state["Status"] == want
        return wait_for(lambda: (lambda s: s if check(s) else None)(self.state(ref)), timeout, f"state of {ref}")

    # -- volumes, images ---------------------------------------------------------

    def volume_create(self, name: str, **options) -> dict:
        return self._check("volume", self.post("/volumes/create", {"Name": name, **options}), 201).json()

    def volume_names(self, **filters) -> set:
        query = {"filters": json.dumps(filters)} if filters else {}
        found = self._check("volumes", self.call("GET", "/volumes", query), 200).json()["Volumes"] or []
        return {volume["Name"] for volume in found}

    def import_image(self, tar, tag: str, changes=()) -> str:
        """`docker import`: tar bytes (or a readable) become image `repo:tag`; returns its id."""
        repo, _, version = tag.rpartition(":")
        query = {"fromSrc": "-", "repo": repo, "tag": version, "changes": list(changes)}
        headers = {"Content-Type": "application/x-tar"}
        response = self.call("POST", "/images/create", query, tar, headers, timeout=300)
        lines = self._check("import", response, 200).ndjson()
        failed = [line for line in lines if "error" in line]
        if failed:
            raise EngineError("import", response)
        return self._check("image", self.get(f"/images/{tag}/json"), 200).json()["Id"]

    def push(self, tag: str, login: tuple | None = None) -> str:
        """Pushes `registry/repo:tag`, as (user, password) where the registry wants to know; the manifest's digest."""
        name, _, version = tag.rpartition(":")
        auth = {"username": login[0], "password": login[1]} if login else {}
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()}
        response = self.call("POST", f"/images/{name}/push", {"tag": version}, b"", headers, timeout=300)
        lines = self._check("push", response, 200).ndjson()
        digests = [line["aux"]["Digest"] for line in lines if "aux" in line]
        if not digests:
            raise EngineError("push", response)
        return digests[-1]

    def tag(self, source: str, target: str) -> None:
        repo, _, version = target.rpartition(":")
        self._check("tag", self.post(f"/images/{source}/tag", repo=repo, tag=version), 201)


def split_frames(data: bytes) -> tuple[bytes, bytes]:
    """Splits Docker's multiplexed stream (8-byte headers) into stdout and stderr."""
    streams = {1: bytearray(), 2: bytearray()}
    offset = 0
    while offset + 8 <= len(data):
        kind, size = struct.unpack(">BxxxI", data[offset : offset + 8])
        streams.setdefault(kind, bytearray()).extend(data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    return bytes(streams[1]), bytes(streams[2])


def wait_for(probe, timeout: float, what: str, pause: float = 0.01):
    """Calls probe until it returns something true; that is the result. AssertionError after `timeout` s."""
    end = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"timed out after {timeout} s waiting for {what}")
        time.sleep(pause)
