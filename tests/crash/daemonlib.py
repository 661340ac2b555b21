"""Scenarios of a daemon: started under the tracer, armed for one operation, restarted plain.

Derive from DaemonScenario and say how to start, ask and check; for_each_call() does the rest:

    class RestoreScenario(DaemonScenario):
        def prepare(self): ...                   data directory, fake engine, workload, snapshot
        def argv(self, state): return [cairnd, "--data", state.data, "--socket", state.socket, ...]
        def watched(self, state): return [state.data, state.volumes, state.engine_socket]
        def ready(self, state): return Path(state.socket).exists() and ping(state)
        def operate(self, state): return cairn(state, "snapshot", "restore", ...)
        def check(self, state, run): fsck clean, bytes equal old or new; run.answer is operate()'s
        def cleanup(self, state): ...

    for_each_call(RestoreScenario(), ("kill", "ENOSPC", "EIO", "short"), recovery_crashes=50)

operate() must return when the daemon dies under it, and only when the operation and what it left
running in the background are over (wait for the second operation too): calls made after it are
not counted. Give the daemon a worker of one thread, or call numbers differ from run to run.

With a power cut in place of the plain kill (data and volumes on a loopcut.LoopDisk):

        def run(self, state, injection):
            run = super().run(state, injection, hook=state.disk.hook("shutdown"))
            state.engine.kill()                  # its containers hold the disk
            if run.killed:
                state.disk.lose_power("shutdown")
            state.engine.start()
            return run
"""

import os
import subprocess
import time

from crashlib import COUNT_ONLY, Scenario, TracedDaemon, wait_until


class DaemonScenario(Scenario):
    """The engine that the daemon talks to lives outside the traced tree and survives the kill."""

    spare = ()        # names of children that outlive the daemon in a session of their own
    ready_s = 60
    log = None        # a file object for the daemon's output

    def ready(self, state):
        """Whether the daemon serves and has recovered."""
        raise NotImplementedError

    def operate(self, state):
        """One operation; what it returns is kept as run.answer."""
        raise NotImplementedError

    def environment(self, _state):
        return {}

    def traced(self, state, injection=COUNT_ONLY, **options):
        return TracedDaemon(self.argv(state), injection, only=self.watched(state),
                            spare=self.spare, env=self.environment(state), stdout=self.log,
                            stderr=self.log, **options)

    def run(self, state, injection, **options):
        """The operation with the fault armed. options go to TracedDaemon (hook, record)."""
        with self.traced(state, **options) as daemon:
            wait_until(lambda: self.ready(state), "the daemon", self.ready_s,
                       alive=lambda: daemon.alive)
            daemon.arm(injection)
            answer = self.operate(state)
            run = daemon.end()
        run.answer = answer
        return run

    def recover(self, state, injection=None):
        """A restart: plain until it serves, then stopped. With an injection the fault is armed
        from the daemon's first call, and it may die before it serves."""
        if injection is None:
            return self._recover_plain(state)
        with self.traced(state, injection, armed=True) as daemon:
            end = time.monotonic() + self.ready_s
            while daemon.alive and not self.ready(state):
                if time.monotonic() > end:
                    raise TimeoutError(f"no recovery within {self.ready_s} s")
                time.sleep(0.005)
            return daemon.end()

    def _recover_plain(self, state):
        with subprocess.Popen([*map(str, self.argv(state))], stdin=subprocess.DEVNULL,
                              env={**os.environ, **self.environment(state)},
                              stdout=self.log, stderr=self.log) as process:
            try:
                wait_until(lambda: self.ready(state), "the restarted daemon", self.ready_s,
                           alive=lambda: process.poll() is None)
                self.recovered(state)
            finally:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
        return None

    def recovered(self, _state):
        """Called while the restarted daemon serves: ask it for fsck here."""
