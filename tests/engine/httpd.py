"""A small HTTP/1.1 server on a Unix socket: a thread per connection, keep-alive, hijacking.

http.server is several times slower and cannot hand the socket over for exec streams.
"""

import json
import os
import re
import socket
import threading
import urllib.parse

BODY_BYTES_MAX = 1 << 30


class HttpError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status, self.message = status, message


class Drop(Exception):
    """The connection is closed without an answer."""


class Request:
    def __init__(self, connection, method, target, headers):
        self.connection = connection
        self.method = method
        parts = target.split("?", 1)
        self.path = urllib.parse.unquote(parts[0])
        self.query = urllib.parse.parse_qs(parts[1], keep_blank_values=True) if len(parts) > 1 else {}
        self.headers = headers
        self.body = b""
        self.version = ""

    def get(self, name, default=""):
        return self.query.get(name, [default])[0]

    def flag(self, name, default=False):
        if name not in self.query:
            return default
        return self.query[name][0].lower() not in ("", "0", "no", "false", "none")

    def json(self):
        if not self.body.strip():
            return {}
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise HttpError(400, f"invalid JSON: {error}") from None


class Answer:
    """`body`: bytes, something for JSON, or a generator of bytes (sent in chunks)."""

    def __init__(self, status=200, body=None, headers=None, kind=None):
        self.status, self.body, self.headers, self.kind = status, body, headers or {}, kind


class Hijacked:
    """The handler has used the connection up."""


_REASONS = {100: "Continue", 101: "UPGRADED", 200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified",
            400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 500: "Internal Server Error",
            501: "Not Implemented", 503: "Service Unavailable"}


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def fill(self):
        data = self.sock.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise Drop
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def exactly(self, count):
        if count > BODY_BYTES_MAX:
            raise Drop
        chunks = [self.buffer[:count]]
        have = len(chunks[0])
        self.buffer = self.buffer[count:]
        while have < count:
            data = self.sock.recv(min(1 << 20, count - have))
            if not data:
                raise Drop
            chunks.append(data)
            have += len(data)
        return b"".join(chunks)

    def read_request(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill():
                return None
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        request = Request(self, method, target, headers)
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.line().split(b";")[0], 16):
                chunks.append(self.exactly(size))
                self.line()
            while self.line():
                pass
            request.body = b"".join(chunks)
        elif "content-length" in headers:
            request.body = self.exactly(int(headers["content-length"]))
        return request

    def send_head(self, status, headers):
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send(self, answer, common, head=False):
        headers = {**common, **answer.headers}
        body = answer.body
        if hasattr(body, "__next__"):
            headers["Transfer-Encoding"] = "chunked"
            if answer.kind:
                headers["Content-Type"] = answer.kind
            self.send_head(answer.status, headers)
            try:
                for chunk in body:
                    if chunk:
                        self.sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.sock.sendall(b"0\r\n\r\n")
            finally:
                body.close()
            return
        if answer.status in (204, 304):
            self.send_head(answer.status, headers)
            return
        if body is None:
            data = b""
        elif isinstance(body, bytes):
            data = body
        else:
            data = json.dumps(body).encode() + b"\n"
        headers["Content-Type"] = answer.kind or "application/json"
        headers["Content-Length"] = len(data)
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if head else data))


class Router:
    """Routes are (method, regular expression of the path); the first match wins."""

    def __init__(self):
        self.routes = []

    def add(self, method, pattern, handler):
        self.routes.append((method, re.compile(pattern + r"\Z"), handler))

    def find(self, method, path):
        for wanted, pattern, handler in self.routes:
            if wanted == method and (match := pattern.match(path)):
                return handler, match.groups()
        raise HttpError(404, "page not found")


class Server:
    def __init__(self, path, handle, common):
        self.path, self.handle, self.common = path, handle, common
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(256)

    def serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.connection, args=(sock,), daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def connection(self, sock):
        connection = Connection(sock)
        try:
            while request := connection.read_request():
                answer = self.handle(request)
                if answer is Hijacked:
                    return
                connection.send(answer, self.common, request.method == "HEAD")
                if request.headers.get("connection", "").lower() == "close":
                    return
        except (Drop, OSError, ValueError):
            pass
        finally:
            sock.close()
