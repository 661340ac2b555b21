"""HEALTHCHECK of the fake engine's containers."""

import os
import threading
import time

from spawn_client import SpawnError
from store import now

SECOND_NS = 10**9


class HealthMonitor:
    """Runs a container's probe on its interval while the container runs and is not paused.

    As with the real engine the status is `unhealthy` whenever no monitor runs: a pause makes a
    healthy container unhealthy, and it stays so after unpause until the next probe passes.
    """

    def __init__(self, container):
        self.container = container
        self.stop = None

    def check(self):
        found = self.container.config.get("Healthcheck") or {}
        test = found.get("Test") or []
        return found if test and test[0] != "NONE" else None

    def begin(self, fresh=True):
        """At start (fresh) and unpause. Holds the container's cond."""
        check = self.check()
        if not check:
            return
        if fresh:
            self.container.state["Health"] = {"Status": "starting", "FailingStreak": 0, "Log": []}
        self.stop = threading.Event()
        threading.Thread(target=self._run, args=(check, self.stop, time.monotonic()), daemon=True).start()

    def end(self):
        """At exit and pause. Holds the container's cond."""
        if self.stop is not None:
            self.stop.set()
            self.stop = None
            self.container.state["Health"]["Status"] = "unhealthy"

    def _run(self, check, stop, began):
        interval = (check.get("Interval") or 30 * SECOND_NS) / SECOND_NS
        while not stop.wait(interval):
            code, output, start = self._probe(check)
            container = self.container
            with container.cond:
                if stop.is_set():
                    return
                health = dict(container.state["Health"])
                before = health["Status"]
                record = {"Start": start, "End": now(), "ExitCode": code, "Output": output}
                health["Log"] = [*health["Log"][-4:], record]
                if code == 0:
                    health.update(Status="healthy", FailingStreak=0)
                else:
                    grace = (check.get("StartPeriod") or 0) / SECOND_NS
                    if before != "starting" or time.monotonic() - began >= grace:
                        health["FailingStreak"] += 1
                        if health["FailingStreak"] >= (check.get("Retries") or 3):
                            health["Status"] = "unhealthy"
                container.state["Health"] = health
                container.save()
                container.cond.notify_all()
                if health["Status"] != before:
                    container.engine.event("container", f"health_status: {health['Status']}", container)

    def _probe(self, check):
        test = check["Test"]
        argv = test[1:] if test[0] == "CMD" else ["/bin/sh", "-c", *test[1:]]
        timeout = (check.get("Timeout") or 30 * SECOND_NS) / SECOND_NS
        start = now()
        read_end, write_end = os.pipe()
        try:
            run = self.container.engine.execs.launch(self.container, argv, [write_end, write_end])
        except (SpawnError, OSError) as error:
            os.close(read_end)
            return 1, str(error), start
        finally:
            os.close(write_end)
        ended = run.done.wait(timeout)
        if not ended:
            run.kill()
            os.close(read_end)
            return -1, f"Health check exceeded timeout ({timeout:g}s)", start
        os.set_blocking(read_end, False)
        try:
            output = os.read(read_end, 4096).decode(errors="replace")
        except BlockingIOError:
            output = ""
        os.close(read_end)
        return run.code, output, start
