#!/usr/bin/python3
"""The main job on real parts: deploy PostgreSQL, snapshot it under load, destroy it, restore, undo.

Called by ./dev demo after the build. Starts an engine of its own (--use-docker: the machine's), in
a scratch directory, and removes all of it at the end. With --keep a process in the background holds it all
until it gets SIGTERM; how to look at it, and the process's id, are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "functional"))

from lib.cairnd import Cairnd, bin_dir  # noqa: E402
from lib.engines import RealDocker  # noqa: E402
from lib.images import make_postgres_image  # noqa: E402
from lib.dockerapi import EngineClient  # noqa: E402

SCALE = 10
WORKLOAD = "pg"
NETWORK = "cairn-demo"
IMAGE = "cairn-demo-postgres:15"
PG_BIN = Path("/usr/lib/postgresql/15/bin")


class MachineDocker:
    """The machine's own engine, for --use-docker: not started here, so not stopped either."""

    def __init__(self, socket="/var/run/docker.sock"):
        self.socket = Path(socket)
        self.client = EngineClient(self.socket)

    def enter(self, argv):
        return argv

    def close(self):
        pass


class Phases:
    def __init__(self):
        self.began = time.monotonic()
        self.last = self.began

    def done(self, what: str) -> None:
        now = time.monotonic()
        print(f"  {now - self.last:7.2f} s  {what}", flush=True)
        self.last = now


class Demo:
    def __init__(self, engine, cairnd: Cairnd):
        self.engine = engine
        self.cairnd = cairnd
        self.container = ""

    def pg(self, *argv, check=True) -> str:
        """A PostgreSQL client of this machine against the container's address."""
        address = self.address()
        full = [str(PG_BIN / argv[0]), "-h", address, "-U", "postgres", *map(str, argv[1:])]
        done = subprocess.run(self.engine.enter(full), capture_output=True, text=True, env={**os.environ, "PGCONNECT_TIMEOUT": "10"})
        if check and done.returncode != 0:
            raise SystemExit(f"demo: {argv} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def sql(self, statement: str) -> str:
        return self.pg("psql", "-d", "postgres", "-Atqc", statement)

    def address(self) -> str:
        view = self.cairnd.ok("workload", "show", WORKLOAD)
        return next(one["address"] for one in view["instances"] if one.get("address"))

    def load(self, seconds: int) -> subprocess.Popen:
        argv = [str(PG_BIN / "pgbench"), "-h", self.address(), "-U", "postgres", "-c", "4", "-T", str(seconds), "-n", "postgres"]
        return subprocess.Popen(self.engine.enter(argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def expect(self, statement: str, wanted: str) -> None:
        got = self.sql(statement)
        if got != wanted:
            raise SystemExit(f"demo: {statement}: {got!r}, expected {wanted!r}")

    def prove_one_instant(self) -> None:
        """pgbench adds one amount to an account, a teller, a branch and the history: all sums agree."""
        sums = self.sql(
            "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),"
            "(select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta),0) from pgbench_history)")
        if len(set(sums.split("|"))) != 1:
            raise SystemExit(f"demo: the restored database is not one instant: {sums}")

    def volume_path(self) -> Path:
        return Path(self.cairnd.ok("volume", "ls", WORKLOAD)["volumes"][0]["place"])


def run(demo: Demo, phases: Phases) -> None:
    cairnd = demo.cairnd
    image = make_postgres_image(demo.engine, IMAGE)
    phases.done(f"PostgreSQL image made from this machine's packages ({image[7:19]})")

    cairnd.start()
    cairnd.ok("system", "settings", "set", "network", NETWORK)
    phases.done("cairnd serves (SQLite catalog, local repository, Unix socket)")

    cairnd.apply({"name": WORKLOAD, "kind": "image", "config": {
        "image": "cairn-demo-postgres", "default_tag": "15", "pull": "never", "port": 5432,
        "healthcheck": "image", "shm_size": 128,
        "volumes": [{"source": "data", "target": "/var/lib/postgresql/data", "scope": "project"}]}})
    deployed = cairnd.ok("workload", "deploy", WORKLOAD)
    phases.done(f"PostgreSQL {deployed['status']}, release {deployed['release']['id']}")

    demo.pg("pgbench", "-i", "-q", "-s", SCALE, "postgres")
    demo.sql("create table marker (note text)")
    demo.sql("insert into marker values ('before the snapshot')")
    phases.done(f"pgbench scale {SCALE}: {demo.sql('select count(*) from pgbench_accounts')} accounts")

    load = demo.load(8)
    time.sleep(2)  # so that the snapshot is cut in the middle of the load
    snapshot = cairnd.ok("snapshot", "create", WORKLOAD)
    phases.done(f"snapshot {snapshot['id']} while pgbench writes: {snapshot['volumes'][0]['bytes'] >> 20} MiB, "
                f"hold {snapshot['hold_ms']} ms")
    _, errors = load.communicate()
    if load.returncode != 0:
        raise SystemExit(f"demo: pgbench noticed the snapshot:\n{errors}")
    phases.done("pgbench ended without an error")

    volume = demo.volume_path()
    file = volume / demo.sql("select pg_relation_filepath('pgbench_tellers')")
    demo.sql("drop table pgbench_accounts, pgbench_history, pgbench_branches")
    demo.sql("insert into marker values ('after the disaster')")
    demo.sql("checkpoint")
    file.unlink()
    phases.done(f"destroyed: three tables dropped, the file of a fourth deleted ({file.name})")

    restored = cairnd.ok("snapshot", "restore", WORKLOAD, snapshot["id"], "--yes")
    phases.done(f"{restored['status']}: hold {restored['hold_ms']} ms, of it Cairn's own {restored['cairn_ms']} ms; "
                f"undo {restored['undo']}")
    demo.prove_one_instant()
    demo.expect("select string_agg(note, ',') from marker", "before the snapshot")
    phases.done(f"proved by SQL that all is back: {demo.sql('select count(*) from pgbench_accounts')} accounts, "
                f"{demo.sql('select count(*) from pgbench_history')} transactions, all sums agree")

    undone = cairnd.ok("restore", "undo", restored["undo"], "--yes")
    phases.done(f"{undone['status']}: hold {undone['hold_ms']} ms; undo of the undo {undone['undo']}")
    demo.expect("select string_agg(note, ',' order by note desc) from marker", "before the snapshot,after the disaster")
    demo.expect("select count(*) from pg_class where relname in ('pgbench_accounts','pgbench_history','pgbench_branches')", "0")
    if file.exists():
        raise SystemExit("demo: the deleted file is there after the undo")
    phases.done("proved by SQL that the undo brought the destroyed state back, to the file")

    found = cairnd.fsck()
    if found.get("status") != "clean":
        raise SystemExit(f"demo: fsck found {json.dumps(found, indent=1)}")
    phases.done("cairn system fsck: clean")


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--use-docker", action="store_true", help="use the machine's engine instead of an own one")
    parser.add_argument("--keep", action="store_true", help="leave everything running and say how to look at it")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("demo: run it as root: it starts an engine and keeps owners of files")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through what cleans up
    if options.keep:
        in_background(lambda ready: play(options.use_docker, ready))
    else:
        play(options.use_docker)


def in_background(body) -> None:
    """Runs body(ready) in a process that goes on after body has called ready(); this one ends then."""
    kept, keeper = os.pipe()
    child = os.fork()
    if child != 0:
        os.close(keeper)
        if not os.read(kept, 1):
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return
    os.close(kept)
    os.setsid()

    def ready():
        sys.stdout.flush()
        with open(os.devnull, "r+b") as null:
            for number in range(3):  # whoever reads what was printed shall see its end
                os.dup2(null.fileno(), number)
        os.write(keeper, b"1")
        os.close(keeper)

    body(ready)


def play(shared_engine: bool, ready=None) -> None:
    """The demo; where ready is given, it is called at the end, and all is kept until SIGTERM."""
    phases = Phases()
    engine = MachineDocker() if shared_engine else RealDocker()
    cairnd = None
    kept = False
    try:
        if not shared_engine:
            engine.start()
            phases.done("a Docker engine of the demo's own, in its own network namespace")
        cairnd = Cairnd(engine)
        demo = Demo(engine, cairnd)
        run(demo, phases)
        print(f"  {time.monotonic() - phases.began:7.2f} s  in all")
        if ready is not None:
            print(f"\nLook at it:   {bin_dir() / 'cairn'} --socket {cairnd.socket} workload ls\n"
                  f"The engine:   docker -H unix://{engine.socket} ps\n"
                  f"Stop it:      kill {os.getpid()}; this removes what is in {cairnd.base}" +
                  ("" if shared_engine else f" and {engine.base}"))
            kept = True
            ready()
            signal.pause()
    except BaseException:
        if cairnd is not None and not kept:
            sys.stderr.write(f"--- cairnd, last lines\n{cairnd.tail()}\n")
        raise
    finally:
        clean(engine, cairnd, shared_engine)


def clean(engine, cairnd, shared_engine: bool) -> None:
    """Ends what the demo started; on a shared engine what it made there is removed by name."""
    if cairnd is not None:
        if shared_engine and cairnd.alive():
            cairnd.cli("workload", "rm", WORKLOAD, "--yes")
            engine.client.delete(f"/networks/{NETWORK}")
            engine.client.delete(f"/images/{IMAGE}")
        cairnd.close()
    engine.close()


if __name__ == "__main__":
    main()
