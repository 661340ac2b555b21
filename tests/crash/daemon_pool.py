"""Rounds of the operations in several Worlds at once: a worker process each, with a World of its own.

    with Pool(workers=4, directory=tmp) as pool:
        base = pool.count("Restore")                          an undisturbed run: its calls
        for case in pool.run([Case("Restore", "kill", 12)]):  in the order in which they end
            print(case, case.error)

A round mostly waits (for containers, for health), so there are more workers than processors; each
stays on one processor, with its engine, its daemon and their tracer.

    daemon_pool.py Restore kill 12 [3]    one round, with a kill at call 3 of the recovery; the daemon's
                                          log goes to standard error
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "functional")]

from crashlib import COUNT_ONLY, Injection  # noqa: E402

ERROR_BYTES_MAX = 6000


@dataclass
class Case:
    """One round: an operation disturbed by `mode` at call `at`, and by a kill at call `inside` of the
    recovery (-1: the recovery runs undisturbed, its calls are told). What follows is filled in by the
    worker."""

    operation: str
    mode: str = "none"
    at: int = 0
    inside: int = 0
    fired: bool = True     # false: the run had no such call
    error: str = ""
    calls: list = field(default_factory=list)  # of an undisturbed run, or recovery

    def __str__(self):
        nested = f" {self.inside}" if self.inside > 0 else ""
        return f"{self.operation} {self.mode} {self.at}{nested}"


def play(world, case, log):
    """One round; its findings in a new Case."""
    from daemon_scenarios import OPERATIONS

    done = Case(case.operation, case.mode, case.at, case.inside)
    scenario = OPERATIONS[case.operation](world, log)
    try:
        state = scenario.prepare()
        run = scenario.run(state, Injection(case.mode, case.at))
        done.fired = run.fired
        done.calls = run.calls if case.at == 0 else []
        if case.inside:
            inner = COUNT_ONLY if case.inside < 0 else Injection("kill", case.inside)
            recovery = scenario.recover(state, inner)
            done.calls = recovery.calls if case.inside < 0 else []
        scenario.recover(state)
        scenario.check(state, run)
        if case.at == 0 and not run.count:
            done.error = "the operation makes no counted call"
    except Exception as error:  # whatever breaks is the finding
        done.error = f"{type(error).__name__}: {' '.join(str(error).split())}"[:ERROR_BYTES_MAX]
    finally:
        scenario.cleanup(world)
    return done


def log_from(path, start):
    with open(path, "rb") as file:
        file.seek(max(start, os.path.getsize(path) - ERROR_BYTES_MAX))
        return file.read().decode(errors="replace")


def work(log_path):
    """Cases come as lines of JSON on standard input, and go back the same way."""
    from daemon_world import World
    from lib.process import OwnNetNs

    with World(netns=OwnNetNs()) as world, open(log_path, "ab") as log:
        print("ready", flush=True)
        for line in sys.stdin:
            start = os.path.getsize(log_path)
            case = play(world, Case(**json.loads(line)), log)
            if case.error:
                case.error += f"\n--- the daemon's log\n{log_from(log_path, start)}"
            print(json.dumps(asdict(case)), flush=True)


class Worker:
    def __init__(self, processor, log):
        self.log = log
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(processor), sys.executable, __file__, "--work", f"{log}.daemon"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"a worker ended: {Path(self.log).read_text(errors='replace')[-ERROR_BYTES_MAX:]}")
        return text

    def play(self, case):
        self.process.stdin.write(json.dumps(asdict(case)) + "\n")
        self.process.stdin.flush()
        return Case(**json.loads(self.line()))

    def close(self):
        self.process.stdin.close()  # it ends its World, then itself
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


class Pool:
    def __init__(self, workers, directory):
        processors = sorted(os.sched_getaffinity(0))
        self.workers = [Worker(processors[number % len(processors)], Path(directory) / f"worker-{number}.log")
                        for number in range(workers)]

    def __enter__(self):
        try:
            for worker in self.workers:
                assert worker.line() == "ready\n"
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for worker in self.workers:
            worker.close()

    def count(self, operation):
        """The calls of an undisturbed run, which must pass, or nothing that follows means anything."""
        base = self.workers[0].play(Case(operation))
        assert not base.error, f"{operation} undisturbed: {base.error}"
        return base.calls

    def run(self, cases):
        """Plays the cases and yields them played, in the order in which they end."""
        wanted, done = queue.SimpleQueue(), queue.SimpleQueue()
        for case in cases:
            wanted.put(case)
        threads = [threading.Thread(target=serve, args=(worker, wanted, done)) for worker in self.workers]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                case = done.get()
                if case is None:
                    running -= 1
                elif isinstance(case, Exception):
                    raise case
                else:
                    yield case
        finally:
            drain(wanted)
            for thread in threads:
                thread.join()


def drain(cases):
    try:
        while True:
            cases.get_nowait()
    except queue.Empty:
        pass


def serve(worker, wanted, done):
    try:
        while True:
            try:
                case = wanted.get_nowait()
            except queue.Empty:
                break
            done.put(worker.play(case))
    except Exception as error:  # the worker is gone: nothing more can be believed
        done.put(error)
    done.put(None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", metavar="LOG", help="serve a Pool")
    parser.add_argument("operation", nargs="?")
    parser.add_argument("mode", nargs="?", default="none")
    parser.add_argument("at", nargs="?", type=int, default=0)
    parser.add_argument("inside", nargs="?", type=int, default=0)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    from daemon_world import World

    with World() as world:
        case = play(world, Case(options.operation, options.mode, options.at, options.inside), sys.stderr)
    for call in case.calls:
        print(json.dumps(call))
    print(f"{case}: {case.error or 'passed'}{'' if case.fired or not case.at else ' (there is no such call)'}")
    sys.exit(1 if case.error else 0)


if __name__ == "__main__":
    main()
