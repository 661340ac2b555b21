#!/usr/bin/python3
"""A process that serves Docker's Engine API (1.41) with real processes for containers.

Usage: fake_engine.py --root DIR --socket PATH [--owner PID]

A container is a process tree in its own mount, pid, ipc and uts namespaces, on an overlay of
its image's root, with its binds and volumes mounted; it shares the engine's network. What the
engine knows is in DIR, so it may be killed at any moment and started again. Its behaviour is
held to the real engine's by tests/contract; docs/engine-behaviour.md says what that is.
Faults on demand: faults.py.
"""

import argparse
import os
import signal
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

from api import COMMON, Api  # noqa: E402
from engine import Engine  # noqa: E402
from httpd import Server  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--owner", type=int, default=0, help="a process that containers must not outlive")
    args = parser.parse_args()
    os.makedirs(args.root, mode=0o710, exist_ok=True)
    engine = Engine(os.path.abspath(args.root), args.owner)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine.recover()
    server = Server(args.socket, Api(engine).handle, COMMON)
    threading.Thread(target=server.serve, daemon=True).start()
    stop.wait()
    server.close()
    engine.shut_down()
    os._exit(0)


if __name__ == "__main__":
    main()
