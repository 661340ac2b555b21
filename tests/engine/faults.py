"""Faults on demand: the n-th matching call fails, hangs, loses its answer, or ends the engine.

POST /fake/faults {"action","method","path","nth","status","message","seconds","times"}
  action   status      answer `status` with `message`, do nothing
           hang        do nothing, never answer (until `seconds` have passed, if given; then drop)
           delay       wait `seconds`, then do it
           drop        close the connection, do nothing
           drop_after  do it, then close the connection without an answer
           stall_after do it, and answer only when the faults are cleared
           exit        SIGKILL the engine before it is done
           exit_after  do it, then SIGKILL the engine
  method, path  a method ("" for any) and a regular expression that finds in the path
  nth      counted from now, 1 first; `times` calls in a row (default 1, 0 for all that follow)
GET /fake/faults, DELETE /fake/faults, GET /fake/calls. ROOT/faults.json is read at start.
POST /fake/reset removes everything but images; POST /fake/rewind {"saved": DIR} then takes over a copy of
the root that was made earlier.
"""

import os
import re
import signal
import threading
import time

from httpd import Answer, Drop, HttpError
from store import load

CALLS_MAX = 100_000


class Faults:
    def __init__(self, root):
        self.lock = threading.Lock()
        self.calls = []
        self.rules = []
        for rule in load(os.path.join(root, "faults.json"), []):
            self.add(rule)

    def add(self, rule):
        if rule.get("action") not in ("status", "hang", "delay", "drop", "drop_after", "stall_after", "exit",
                                      "exit_after"):
            raise HttpError(400, f"unknown action: {rule.get('action')!r}")
        with self.lock:
            self.rules.append({"method": "", "path": "", "nth": 1, "times": 1, "status": 500,
                               "message": "fault injected", "seconds": None, **rule, "seen": 0, "hits": 0})

    def clear(self):
        with self.lock:
            self.rules = []

    def _match(self, request):
        with self.lock:
            chosen = None
            for rule in self.rules:
                if rule["method"] not in ("", request.method) or not re.search(rule["path"], request.path):
                    continue
                rule["seen"] += 1
                late = rule["times"] and rule["seen"] >= rule["nth"] + rule["times"]
                if rule["seen"] >= rule["nth"] and not late and chosen is None:
                    rule["hits"] += 1
                    chosen = rule
            return chosen

    def around(self, request, handle):
        """Calls handle(request), unless a rule says otherwise."""
        rule = self._match(request)
        record = {"method": request.method, "path": request.path, "status": 0}
        with self.lock:
            if len(self.calls) < CALLS_MAX:
                self.calls.append(record)
        action = rule["action"] if rule else ""
        if action == "status":
            record["status"] = rule["status"]
            return Answer(rule["status"], {"message": rule["message"]})
        if action == "drop":
            raise Drop
        if action == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "hang":
            time.sleep(rule["seconds"] if rule["seconds"] is not None else 1 << 30)
            raise Drop
        if action == "delay":
            time.sleep(rule["seconds"] or 0)
        answer = handle(request)
        record["status"] = getattr(answer, "status", 101)
        if action == "exit_after":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "drop_after":
            raise Drop
        while action == "stall_after" and rule in self.rules:
            time.sleep(0.005)
        return answer
