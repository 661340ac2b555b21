"""One container of the fake engine: its record, its state machine, its restart policy."""

import os
import shutil
import signal
import threading
import time

from health import HealthMonitor
from httpd import HttpError
from record import ZERO_TIME, check_policy, parse_signal
from spawn_client import SpawnError
from store import epoch, load, now, save

RESTART_FIRST_S, RESTART_MAX_S, RESTART_RESET_S = 0.1, 60.0, 10.0
GRACE_DEFAULT_S = 10


class Container:
    """`cond` guards everything and is notified on each change of state."""

    def __init__(self, engine, record):
        self.engine = engine
        self.record = record
        self.cond = threading.Condition(threading.RLock())
        self.dir = os.path.join(engine.containers_dir, record["Id"])
        self.cgroup = os.path.join(engine.cgroup, record["Id"][:16])
        self.restart_wait_s = 0.0
        self.restart_cancelled = False
        self.restart_token = 0
        self.started_at = 0.0
        self.removed = False
        self.health = HealthMonitor(self)

    # -- views -------------------------------------------------------------------------

    id = property(lambda self: self.record["Id"])
    name = property(lambda self: self.record["Name"])
    state = property(lambda self: self.record["State"])
    config = property(lambda self: self.record["Config"])
    host = property(lambda self: self.record["HostConfig"])

    @property
    def running(self):
        return self.state["Running"]

    def save(self):
        save(os.path.join(self.dir, "container.json"), self.record)

    def status(self):
        state = self.state
        if state["Running"]:
            return "paused" if state["Paused"] else "restarting" if state["Restarting"] else "running"
        if state["Dead"]:
            return "removing"
        return "created" if state["StartedAt"] == ZERO_TIME else "exited"

    def state_view(self):
        state = {"Status": self.status(), **{k: v for k, v in self.state.items() if k != "Health"}}
        if self.state.get("Health"):
            state["Health"] = self.state["Health"]
        return state

    def networks_view(self):
        return {name: {"IPAMConfig": None, "Links": None, "Aliases": end.get("Aliases"),
                       "NetworkID": end["NetworkID"], "EndpointID": end["EndpointID"] if self.running else "",
                       "Gateway": "", "IPAddress": "127.0.0.1" if self.running else "", "IPPrefixLen": 8,
                       "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "",
                       "DriverOpts": None} for name, end in self.record["Networks"].items()}

    def mounts_view(self):
        found = []
        for mount in self.record["Mounts"]:
            view = {"Type": mount["type"]}
            if mount["type"] == "volume":
                view["Name"] = mount["name"]
            view.update({"Source": mount["source"], "Destination": mount["target"]})
            if mount["type"] == "volume":
                view["Driver"] = "local"
            view.update({"Mode": mount["mode"], "RW": not mount["ro"],
                         "Propagation": "rprivate" if mount["type"] == "bind" else ""})
            found.append(view)
        return found

    def ports_view(self):
        exposed = {**(self.config.get("ExposedPorts") or {}), **(self.host.get("PortBindings") or {})}
        ports = {}
        for port in exposed:
            bound = (self.host.get("PortBindings") or {}).get(port)
            ports[port] = [{"HostIp": b.get("HostIp") or "0.0.0.0", "HostPort": b.get("HostPort") or port.split("/")[0]}
                           for b in bound] if bound else None
        return ports if self.running else {}

    def view(self):
        first = next(iter(self.networks_view().values()), {}) if "bridge" in self.record["Networks"] else {}
        return {"Id": self.id, "Created": self.record["Created"], "Path": self.record["Path"],
                "Args": self.record["Args"], "State": self.state_view(), "Image": self.record["Image"],
                "LogPath": os.path.join(self.dir, "log"), "Name": "/" + self.name,
                "RestartCount": self.record["RestartCount"], "Driver": "overlay2", "Platform": "linux",
                "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": self.engine.execs.ids_in(self),
                "HostConfig": self.host, "Mounts": self.mounts_view(), "Config": self.config,
                "NetworkSettings": {"Bridge": "", "Ports": self.ports_view(),
                                    "Gateway": "", "IPAddress": first.get("IPAddress", ""),
                                    "Networks": self.networks_view()}}

    def summary(self):
        words = {"running": "Up 1 second", "paused": "Up 1 second (Paused)", "created": "Created",
                 "restarting": f"Restarting ({self.state['ExitCode']}) 1 second ago",
                 "exited": f"Exited ({self.state['ExitCode']}) 1 second ago", "removing": "Removal In Progress"}
        status = self.status()
        return {"Id": self.id, "Names": ["/" + self.name], "Image": self.engine.image_name(self),
                "ImageID": self.record["Image"], "Command": " ".join([self.record["Path"], *self.record["Args"]]),
                "Created": epoch(self.record["Created"]), "Ports": [], "Labels": self.config.get("Labels") or {}, "State": status,
                "Status": words[status], "HostConfig": {"NetworkMode": self.host.get("NetworkMode", "default")},
                "NetworkSettings": {"Networks": self.networks_view()}, "Mounts": self.mounts_view()}

    def volumes(self):
        return [m["name"] for m in self.record["Mounts"] if m["type"] == "volume"]

    # -- start -------------------------------------------------------------------------

    def start(self):
        """True when it was started, False when it was running."""
        with self.cond:
            if self.state["Paused"]:
                raise HttpError(409, "cannot start a paused container, try unpause instead")
            if self.running:
                return False
            if self.removed or self.state["Dead"]:
                raise HttpError(409, "container is marked for removal and cannot be started")
            self.restart_wait_s = 0.0
            self.restart_cancelled = False
            self.record["RestartCount"] = 0
            self.record["ManuallyStopped"] = False
            self._launch()
            return True

    def _launch(self):
        for mount in self.record["Mounts"]:
            if mount["type"] == "tmpfs" or os.path.exists(mount["source"]):
                continue
            if mount["must_exist"]:
                raise HttpError(400, 'invalid mount config for type "bind": bind source path does not exist: '
                                     + mount["source"])
            os.makedirs(mount["source"], mode=0o755, exist_ok=True)
        self.engine.join_networks(self)
        self.engine.claim_ports(self)
        try:
            answer = self._spawn()
        except SpawnError as error:
            code = 126 if "permission denied" in error.message else 127
            wrong = error.kind == "lookup"
            message = ("failed to create shim task: OCI runtime create failed: runc create failed: "
                       f"unable to start container process: {error.message}: unknown")
            self.state.update(Running=False, Restarting=False, Pid=0, ExitCode=code if wrong else 128, Error=message)
            self.save()
            self.cond.notify_all()
            raise HttpError(400 if wrong else 500, message) from None
        self.state.update(Running=True, Restarting=False, Paused=False, Dead=False, Pid=answer["pid"], ExitCode=0,
                          Error="", StartedAt=now())
        self.started_at = time.monotonic()
        self.health.begin()
        self.save()
        self.cond.notify_all()
        self.engine.event("container", "start", self)

    def _spawn(self):
        for name in ("upper", "work", "merged"):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        os.makedirs(self.cgroup, exist_ok=True)
        self._freeze(False)  # it stays frozen when what was paused in it has been killed
        for name in ("exit", "pid"):
            try:
                os.unlink(os.path.join(self.dir, name))
            except FileNotFoundError:
                pass
        uid, gid = self.user(self.config.get("User") or "")
        mounts = sorted(self.record["Mounts"], key=lambda m: m["target"].count("/"))
        return self.engine.spawner.call(
            "run", key=self.id, dir=self.dir, lower=self.layer_path(),
            upper=os.path.join(self.dir, "upper"), work=os.path.join(self.dir, "work"),
            merged=os.path.join(self.dir, "merged"), log=os.path.join(self.dir, "log"),
            pidfile=os.path.join(self.dir, "pid"), cgroup=self.cgroup,
            mounts=[{"type": m["type"], "source": m["source"], "target": m["target"], "ro": m["ro"]} for m in mounts],
            shm_bytes=self.host.get("ShmSize") or 64 << 20, hostname=self.config.get("Hostname") or self.id[:12], argv=[self.record["Path"], *self.record["Args"]],
            env=self.environment(), cwd=self.config.get("WorkingDir") or "/", uid=uid, gid=gid)

    def layer_path(self):
        return self.engine.images.layer_path(self.record["Layer"])

    def environment(self, extra=()):
        fixed = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                 "HOSTNAME": self.config.get("Hostname") or self.id[:12], "HOME": "/root"}
        pairs = dict(item.split("=", 1) for item in [*(self.config.get("Env") or []), *extra] if "=" in item)
        return [f"{key}={value}" for key, value in {**fixed, **pairs}.items()]

    def user(self, text):
        """(uid, gid) of `user[:group]` by the image's own passwd and group files."""
        name, _, group = text.partition(":")
        layer = self.layer_path()
        uid, gid = 0, 0
        if name.isdigit():
            uid = int(name)
        for line in self._table(layer, "passwd"):
            if name and name in (line[0], line[2]):
                uid, gid = int(line[2]), int(line[3])
                break
        else:
            if name and not name.isdigit() and name != "root":
                raise HttpError(500, f"unable to find user {name}: no matching entries in passwd file")
        if group:
            gid = int(group) if group.isdigit() else {l[0]: int(l[2]) for l in self._table(layer, "group")}[group]
        return uid, gid

    @staticmethod
    def _table(layer, name):
        try:
            with open(os.path.join(layer, "etc", name)) as file:
                return [line.rstrip("\n").split(":") for line in file if line.count(":") >= 2]
        except OSError:
            return []

    # -- exit and restart ----------------------------------------------------------------

    def on_exit(self, pid, code):
        with self.cond:
            if self.state["Pid"] != pid:
                return
            self._exited(code)

    def _exited(self, code):
        """The process has ended: restart by policy, or stop. Holds cond."""
        ran_s = time.monotonic() - self.started_at
        self.health.end()
        self.engine.event("container", "die", self, {"exitCode": str(code)})
        self.state.update(Pid=0, ExitCode=code, FinishedAt=now(), Paused=False)
        if not self.restart_cancelled and not self.engine.stopping and self.should_restart():
            self.restart_wait_s = (RESTART_FIRST_S if not self.restart_wait_s or ran_s >= RESTART_RESET_S
                                   else min(self.restart_wait_s * 2, RESTART_MAX_S))
            self.record["RestartCount"] += 1
            self.state.update(Running=True, Restarting=True)
            self.save()
            self.restart_token += 1
            threading.Thread(target=self._restart_later, args=(self.restart_token, self.restart_wait_s),
                             daemon=True).start()
        else:
            self.state.update(Running=False, Restarting=False)
            self.save()
        self.cond.notify_all()
        if not self.running and self.host.get("AutoRemove") and not self.engine.stopping:
            threading.Thread(target=self.engine.remove, args=(self, True, True), daemon=True).start()

    def should_restart(self):
        policy = self.host["RestartPolicy"]
        name, most = policy["Name"], policy["MaximumRetryCount"]
        if name == "always":
            return True
        if name == "unless-stopped":
            return not self.record["ManuallyStopped"]
        if name == "on-failure":
            return self.state["ExitCode"] != 0 and (most == 0 or self.record["RestartCount"] < most)
        return False

    def _restart_later(self, token, wait_s):
        end = time.monotonic() + wait_s
        with self.cond:
            while self.restart_token == token and self.state["Restarting"]:
                left = end - time.monotonic()
                if left <= 0:
                    break
                self.cond.wait(left)
            if self.restart_token != token or not self.state["Restarting"] or self.removed:
                return
            try:
                self._launch()
            except HttpError:
                self.state.update(Running=False, Restarting=False)
                self.save()
                self.cond.notify_all()

    # -- stop, kill, pause -----------------------------------------------------------------

    def _not_running(self):
        return HttpError(409, f"Container {self.id} is not running")

    def signal(self, number):
        """What the kill call does. Holds cond. False when there is nothing to signal."""
        own = self.config.get("StopSignal")
        ends = not own or number == signal.SIGKILL or parse_signal(own) == number
        resume = self.state["Paused"] and ends
        if ends:
            self.restart_cancelled = True
        if not self.engine.stopping:
            self.record["ManuallyStopped"] = True
        if self.state["Restarting"]:
            if ends:
                self.restart_token += 1
                self.state.update(Running=False, Restarting=False)
                self.cond.notify_all()
            self.save()
            return
        self.save()
        self._send(number)
        if resume:
            self._freeze(False)
            self.state["Paused"] = False
            self.save()

    def _send(self, number):
        try:
            os.kill(self.state["Pid"], number)
        except ProcessLookupError:
            pass

    def kill(self, number):
        with self.cond:
            if not self.running:
                raise HttpError(409, f"Cannot kill container: {self.name}: Container {self.id} is not running")
            self.signal(number)
            self.engine.event("container", "kill", self, {"signal": str(number)})
            if number == signal.SIGKILL:
                self.cond.wait_for(lambda: not self.running, 10)

    def stop(self, grace_s=None):
        """True when it was stopped, False when it was not running."""
        with self.cond:
            if not self.running:
                return False
            if grace_s is None:
                grace_s = self.config.get("StopTimeout")
                grace_s = GRACE_DEFAULT_S if grace_s is None else grace_s
            self.signal(parse_signal(self.config.get("StopSignal") or "SIGTERM"))
            ended = self.cond.wait_for(lambda: not self.running, None if grace_s < 0 else grace_s)
            if not ended:
                self.signal(signal.SIGKILL)
                self.cond.wait_for(lambda: not self.running)
            self.engine.event("container", "stop", self)
            return True

    def _freeze(self, frozen):
        with open(os.path.join(self.cgroup, "cgroup.freeze"), "w") as file:
            file.write("1" if frozen else "0")
        want = f"frozen {int(frozen)}"
        while frozen:
            with open(os.path.join(self.cgroup, "cgroup.events")) as file:
                text = file.read()
            if want in text or "populated 0" in text:
                return
            time.sleep(0.0002)

    def pause(self):
        with self.cond:
            if not self.running:
                raise self._not_running()
            if self.state["Paused"]:
                raise HttpError(409, f"Container {self.id} is already paused")
            if self.state["Restarting"]:
                raise HttpError(409, f"Container {self.id} is restarting, wait until the container is running")
            self._freeze(True)
            self.state["Paused"] = True
            self.health.end()
            self.save()
            self.cond.notify_all()
            self.engine.event("container", "pause", self)

    def unpause(self):
        with self.cond:
            if not self.state["Paused"]:
                raise HttpError(500, f"Container {self.id} is not paused")
            self._freeze(False)
            self.state["Paused"] = False
            self.health.begin(fresh=False)
            self.save()
            self.cond.notify_all()
            self.engine.event("container", "unpause", self)

    def update(self, body):
        with self.cond:
            if body.get("RestartPolicy"):
                # A restart that is already waiting still happens; the policy counts from the next exit.
                self.host["RestartPolicy"] = check_policy(body["RestartPolicy"])
            for key in ("Memory", "NanoCpus", "CpuShares", "MemorySwap"):
                if body.get(key):
                    self.host[key] = body[key]
            self.save()
            self.cond.notify_all()
            return {"Warnings": None}

    def wait(self, condition):
        """Blocks until the condition holds; the exit code."""
        with self.cond:
            if condition == "removed":
                self.cond.wait_for(lambda: self.removed)
            elif condition == "next-exit":
                count = self.state["FinishedAt"]
                self.cond.wait_for(lambda: self.removed or self.state["FinishedAt"] != count)
            else:
                self.cond.wait_for(lambda: self.removed or not self.running)
            return self.state["ExitCode"]

    def check_exec(self):
        if not self.running:
            raise self._not_running()
        if self.state["Paused"]:
            raise HttpError(409, f"Container {self.name} is paused, unpause the container before exec")
        if self.state["Restarting"]:
            raise HttpError(409, f"Container {self.id} is restarting, wait until the container is running")

    def forget(self):
        """Deletes what is on disk. Holds cond; the container does not run."""
        self.removed = True
        self.restart_token += 1
        self.health.end()
        # The record first: a directory without one is left-over, and the next start deletes it.
        try:
            os.unlink(os.path.join(self.dir, "container.json"))
        except FileNotFoundError:
            pass
        shutil.rmtree(self.dir, ignore_errors=True)
        try:
            os.rmdir(self.cgroup)
        except OSError:
            pass
        self.cond.notify_all()

    # -- what a restarted engine finds -------------------------------------------------------

    def recover(self):
        """Ends a container that outlived the engine, as dockerd without live-restore does.

        The stop is the engine's own `stop`, so it counts as a manual one: `unless-stopped`
        containers stay down after the engine was killed (and come back after a clean restart).
        """
        with self.cond:
            pid, started = self._recorded_pid()
            alive = bool(pid) and self._alive(pid, started)
            if not alive and not self.running:
                return
            self.restart_cancelled = True
            if alive:
                # Also one that was started just before the engine could write it down.
                self.record["ManuallyStopped"] = True
                self._end(pid)
                code = self._exit_code(pid, 137)
            else:
                code = self._exit_code(pid, 255)
            self.state.update(Pid=0, Paused=False, Running=False, Restarting=False, ExitCode=code, FinishedAt=now())
            if self.state["StartedAt"] == ZERO_TIME:
                self.state["StartedAt"] = now()
            if self.state.get("Health"):
                self.state["Health"]["Status"] = "unhealthy"
            self.save()

    def _recorded_pid(self):
        try:
            with open(os.path.join(self.dir, "pid")) as file:
                pid, started = file.read().split()
                return int(pid), int(started)
        except (OSError, ValueError):
            return 0, 0

    @staticmethod
    def _alive(pid, started):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rsplit(b")", 1)[1].split()
                return int(fields[19]) == started and fields[0] != b"Z"
        except OSError:
            return False

    def _end(self, pid):
        started = self._recorded_pid()[1]
        self.state["Pid"] = pid
        self._send(parse_signal(self.config.get("StopSignal") or "SIGTERM"))
        self._freeze(False)
        grace_s = self.config.get("StopTimeout")
        end = time.monotonic() + (GRACE_DEFAULT_S if grace_s is None else grace_s)
        while self._alive(pid, started):
            if time.monotonic() > end:
                self._send(signal.SIGKILL)
            time.sleep(0.002)

    def _exit_code(self, pid, otherwise):
        end = time.monotonic() + (0.5 if otherwise == 137 else 0)
        while True:
            found = load(os.path.join(self.dir, "exit"), None)
            if found and found["pid"] == pid:
                return found["code"]
            if time.monotonic() >= end:
                return otherwise
            time.sleep(0.002)
