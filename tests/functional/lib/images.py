"""Images made from the machine's own Debian packages; nothing comes from a public registry.

As a program: python3 -m lib.images (postgres|small) --docker unix:///PATH --tag NAME:TAG
"""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from .dockerapi import EngineClient

_POSTGRES_LIB = Path("/usr/lib/postgresql/15")
_POSTGRES_SHARE = Path("/usr/share/postgresql/15")
_APPLETS = (
    "sh ash cat chmod chown cp cut date dd df du echo env expr false find grep head hostname httpd id kill "
    "ln ls mkdir mktemp mv nc od printf ps pwd rm rmdir sed seq setpriv sha256sum sleep sort stat su sync tail "
    "tar tee test touch tr true truncate umask uname usleep wc wget xargs yes"
).split()

# A small image does one of these, chosen by its command.
_SMALL_APP = """#!/bin/sh
# app idle | http PORT DIR | crash [CODE] [SECONDS] | counter DIR | stubborn
mode=$1; [ $# -gt 0 ] && shift
case "$mode" in
  http)
    trap 'kill $child; exit 0' TERM INT
    httpd -f -p "${1:-8080}" -h "${2:-/data}" & child=$!
    echo serving; wait $child ;;
  crash)
    echo crashing; sleep "${2:-0}"; exit "${1:-3}" ;;
  counter)
    # Two files, always written in this order: b never is ahead of a, and at most one behind.
    dir=${1:-/data}; n=0; trap 'exit 0' TERM INT
    [ -f "$dir/a" ] && n=$(cat "$dir/a")
    while :; do
      n=$((n+1))
      echo $n > "$dir/.a" && mv "$dir/.a" "$dir/a"
      echo $n > "$dir/.b" && mv "$dir/.b" "$dir/b"
      usleep 1000
    done ;;
  stubborn)
    trap '' TERM INT; while :; do sleep 3600; done ;;
  *)
    # A background child and wait: a trap waits for a child in the foreground, but not for this one.
    trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done ;;
esac
"""

_POSTGRES_ENTRY = """#!/bin/sh
# As root: own the data directory, then become postgres. The first start makes the cluster.
set -e
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"; chown postgres:postgres "$PGDATA"; chmod 0700 "$PGDATA"
  # By path: a busybox shell prefers its own applets.
  exec /usr/bin/setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -D "$PGDATA" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/tmp/initdb.log 2>&1 || { cat /tmp/initdb.log; exit 1; }
  echo "host all all all trust" >> "$PGDATA/pg_hba.conf"
fi
exec "$@"
"""


class _Tar:
    """Builds an image's tar in a spooled file; directories are added before what they hold."""

    def __init__(self):
        self.file = tempfile.SpooledTemporaryFile(max_size=256 << 20)
        self._tar = tarfile.open(fileobj=self.file, mode="w", format=tarfile.PAX_FORMAT)
        self._seen: set = set()

    def _parents(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            self.dir("/".join(parts[:count]))

    def _add(self, name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "", uid: int = 0) -> None:
        name = name.strip("/")
        if not name or name in self._seen:
            return
        self._parents(name)
        self._seen.add(name)
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.linkname, info.uid, info.gid = kind, mode, len(data), link, uid, uid
        self._tar.addfile(info, io.BytesIO(data))

    def dir(self, name: str, mode: int = 0o755, uid: int = 0) -> None:
        self._add(name, tarfile.DIRTYPE, mode, uid=uid)

    def data(self, name: str, content: bytes | str, mode: int = 0o644) -> None:
        self._add(name, tarfile.REGTYPE, mode, content.encode() if isinstance(content, str) else content)

    def link(self, name: str, target: str) -> None:
        self._add(name, tarfile.SYMTYPE, 0o777, link=target)

    def host_file(self, source, name: str | None = None) -> None:
        """Copies a file of the host, following links; its mode is kept, its owner is root."""
        source = Path(source)
        real = source.resolve()
        self.data(name or str(source), real.read_bytes(), real.stat().st_mode & 0o777)

    def host_tree(self, source) -> None:
        for directory, _, files in os.walk(source):
            self.dir(directory)
            for file in files:
                self.host_file(Path(directory) / file)

    def finish(self):
        self._tar.close()
        self.file.seek(0)
        return self.file


def _busybox(tar: _Tar) -> None:
    # Debian's merged /usr: /bin and friends are links.
    for name in ("bin", "sbin", "lib", "lib64"):
        tar.dir(f"usr/{name}")
        tar.link(name, f"usr/{name}")
    tar.host_file("/bin/busybox", "usr/bin/busybox")
    for applet in _APPLETS:
        tar.link(f"usr/bin/{applet}", "busybox")
    tar.dir("tmp", 0o1777)
    for name in ("proc", "sys", "dev", "etc", "root", "var"):
        tar.dir(name)


@functools.lru_cache(maxsize=4)
def _small_tar(files: tuple = (), programs: tuple = ()) -> bytes:
    tar = _Tar()
    _busybox(tar)
    for path, source in programs:
        tar.host_file(source, path)
    for file in sorted(_libraries([source for _, source in programs])) if programs else ():
        tar.host_file(file, file if file.startswith("/usr") else f"/usr{file}")
    tar.data("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    tar.data("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    tar.data("usr/bin/app", _SMALL_APP, 0o755)
    for path, text in files:
        tar.data(path, text)
    return tar.finish().read()


def _client(engine) -> EngineClient:
    return engine if isinstance(engine, EngineClient) else engine.client


def make_small_image(
    engine, tag: str = "small:1", cmd=("app", "idle"), health: str = "", labels=None, user: str = "", changes=(),
    files=None, programs=None,
) -> str:
    """A busybox image; returns its id. Images of equal content but other config have other ids.

    health: a HEALTHCHECK instruction's words, e.g. "--interval=1s CMD true"; files: path -> text;
    programs: path -> a program of this machine, which comes with its libraries.
    """
    wanted = [f"CMD {json.dumps(list(cmd))}", "ENV PATH=/usr/bin:/bin"]
    if health:
        wanted.append(f"HEALTHCHECK {health}")
    if user:
        wanted.append(f"USER {user}")
    wanted += [f"LABEL {key}={json.dumps(value)}" for key, value in (labels or {}).items()]
    return _client(engine).import_image(_small_tar(tuple((files or {}).items()), tuple((programs or {}).items())), tag, [*wanted, *changes])


def make_empty_image(engine, tag: str = "empty:1") -> str:
    """An image without a single file: enough for a container that never starts."""
    return _client(engine).import_image(b"\0" * 1024, tag)


def _libraries(programs) -> set:
    """Every library and loader that ldd names for these files."""
    found = set()
    answer = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True)
    for line in answer.stdout.splitlines():
        for word in line.split():
            if word.startswith("/") and not word.endswith(":"):
                found.add(word)
    return found


def _postgres_tar():
    if not (_POSTGRES_LIB / "bin" / "postgres").exists():
        raise AssertionError("PostgreSQL 15 is not installed: apt-get install postgresql-15")
    tar = _Tar()
    tar.host_file("/usr/bin/setpriv")  # before busybox, whose own cannot change the user
    _busybox(tar)
    programs = [_POSTGRES_LIB / "bin" / name for name in
                ("postgres", "initdb", "pg_ctl", "pg_isready", "psql", "pgbench", "pg_dump", "pg_controldata")]
    modules = sorted((_POSTGRES_LIB / "lib").glob("*.so"))
    # The JIT needs LLVM's 100 MB; procedural languages need their interpreters.
    modules = [m for m in modules if not m.name.startswith(("llvmjit", "plperl", "plpython", "pltcl"))]
    for file in [*programs, *modules]:
        tar.host_file(file)
    for file in sorted(_libraries([*programs, *modules, "/usr/bin/setpriv"])):
        tar.host_file(file, str(Path(file)) if file.startswith("/usr") else f"/usr{file}")
    tar.host_tree(_POSTGRES_SHARE)
    tar.host_tree("/usr/share/zoneinfo/Etc")
    for file in ("UTC", "GMT", "Universal"):
        tar.host_file(f"/usr/share/zoneinfo/{file}")
    tar.host_tree("/usr/lib/locale/C.utf8")
    tar.data("etc/passwd", "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n")
    tar.data("etc/group", "root:x:0:\npostgres:x:999:\n")
    tar.data("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    tar.link("etc/localtime", "/usr/share/zoneinfo/UTC")
    tar.dir("var/lib/postgresql/data", 0o700, 999)
    tar.dir("var/run/postgresql", 0o775, 999)
    tar.data("usr/bin/entrypoint", _POSTGRES_ENTRY, 0o755)
    return tar.finish()


def make_postgres_image(engine, tag: str = "postgres:15", changes=()) -> str:
    """PostgreSQL 15 as this machine has it; returns the image's id. Trusts every client: tests only."""
    wanted = [
        "ENV PGDATA=/var/lib/postgresql/data",
        f"ENV PATH={_POSTGRES_LIB}/bin:/usr/bin:/bin",
        "ENV LANG=C.UTF-8",
        'ENTRYPOINT ["/usr/bin/entrypoint"]',
        'CMD ["postgres","-c","listen_addresses=*","-c","max_connections=60"]',
        "EXPOSE 5432",
        "HEALTHCHECK --interval=1s --timeout=5s --start-period=60s --retries=5 "
        'CMD ["pg_isready","-q","-h","127.0.0.1","-U","postgres"]',
    ]
    client = _client(engine)
    base = f"{tag}-import"
    with _postgres_tar() as tar:
        client.import_image(tar, base, [*wanted, *changes])
    # Import refuses STOPSIGNAL; a commit takes a whole config. SIGINT is PostgreSQL's fast shutdown.
    holder = client.create(base)
    repo, _, version = tag.rpartition(":")
    query = {"container": holder, "repo": repo, "tag": version}
    config = {**client.inspect(holder)["Config"], "StopSignal": "SIGINT"}
    made = client._check("commit", client.call("POST", "/commit", query, config), 201).json()["Id"]
    client.remove(holder)
    client._check("untag", client.delete(f"/images/{base}"), 200)
    return made


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=("postgres", "small"))
    parser.add_argument("--docker", required=True, help="unix:///PATH")
    parser.add_argument("--tag", required=True)
    args = parser.parse_args()
    client = EngineClient(args.docker.removeprefix("unix://"))
    make = make_postgres_image if args.which == "postgres" else make_small_image
    print(make(client, args.tag))


if __name__ == "__main__":
    main()
