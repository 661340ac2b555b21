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
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import containers as ct  # noqa: E402
from execs import Execs  # noqa: E402
from faults import Faults  # noqa: E402
from httpd import Answer, HttpError, Router, Server  # noqa: E402
from spawn_client import SpawnClient  # noqa: E402
from store import Images, Networks, Volumes, labels_match, load, now, save, split_ref  # noqa: E402

API_MAX, API_MIN = (1, 41), (1, 12)
VERSION = "20.10.24+fake"
COMMON = {"Api-Version": "1.41", "Docker-Experimental": "false", "Ostype": "linux",
          "Server": f"Docker/{VERSION} (linux)"}
EVENTS_MAX = 10_000


def cgroup2_root():
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(os.path.join(path, "cgroup.procs")) and os.path.exists(
            os.path.join(path, "cgroup.controllers")
        ):
            return path
    raise SystemExit("no cgroup2 hierarchy below /sys/fs/cgroup: needed to freeze containers")


class Engine:
    def __init__(self, root, owner=0):
        self.root = root
        self.stopping = False
        self.lock = threading.RLock()
        self.containers_dir = os.path.join(root, "containers")
        os.makedirs(self.containers_dir, exist_ok=True)
        identity = load(os.path.join(root, "engine.json"), {"ID": ct.new_id()[:32]})
        save(os.path.join(root, "engine.json"), identity)
        self.ident = identity["ID"]
        self.cgroup = os.path.join(cgroup2_root(), "cairn-fake-" + self.ident[:12])
        os.makedirs(self.cgroup, exist_ok=True)
        with open(os.path.join(root, "cgroup"), "w") as file:
            file.write(self.cgroup)
        self.events, self.event_count = [], 0
        self.event_arrived = threading.Condition()
        self.faults = Faults(root)
        self.images = Images(root)
        self.networks = Networks(root)
        self.volumes = Volumes(root, self.volume_users)
        self.execs = Execs(self)
        self.all = {}
        for ident in sorted(os.listdir(self.containers_dir)):
            record = load(os.path.join(self.containers_dir, ident, "container.json"), None)
            if record:
                self.all[ident] = ct.Container(self, record)
            else:
                shutil.rmtree(os.path.join(self.containers_dir, ident), ignore_errors=True)
        self.spawner = SpawnClient(root, self.on_exit, owner)

    def on_exit(self, key, pid, code):
        if key.startswith("exec-"):
            self.execs.on_exit(key, code)
        elif key in self.all:
            self.all[key].on_exit(pid, code)

    # -- life of the engine ------------------------------------------------------------------

    def recover(self):
        """Ends what outlived the engine, then starts what its restart policies ask for."""
        self._together([c.recover for c in self.all.values()])
        for container in list(self.all.values()):
            container.restart_cancelled = False
            if container.host.get("AutoRemove"):
                self.remove(container, True, True)
            elif container.should_restart() and container.state["StartedAt"] != ct.ZERO_TIME:
                with container.cond:
                    try:
                        container._launch()
                    except HttpError as error:
                        print(f"start of {container.name}: {error.message}", file=sys.stderr)

    def shut_down(self):
        self.stopping = True
        self._together([c.stop for c in list(self.all.values())])

    @staticmethod
    def _together(calls):
        threads = [threading.Thread(target=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # -- looking things up ---------------------------------------------------------------------

    def find(self, ref):
        ref = ref.lstrip("/")
        with self.lock:
            if ref in self.all:
                return self.all[ref]
            for container in self.all.values():
                if container.name == ref:
                    return container
            found = [c for i, c in self.all.items() if i.startswith(ref)] if ref else []
            if len(found) == 1:
                return found[0]
        raise HttpError(404, f"No such container: {ref}")

    def volume_users(self, name):
        return [c.id for c in list(self.all.values()) if name in c.volumes()]

    def image_users(self, ident):
        return [c.id for c in list(self.all.values()) if c.record["Image"] == ident]

    def claim_ports(self, container):
        """Refuses a host port that a running container has published."""
        mine = self._host_ports(container)
        for other in list(self.all.values()):
            if other is not container and other.running and (taken := mine & self._host_ports(other)):
                address = "{}:{}".format(*sorted(taken)[0])
                raise HttpError(500, f"driver failed programming external connectivity on endpoint {container.name}: "
                                     f"Bind for {address} failed: port is already allocated")

    @staticmethod
    def _host_ports(container):
        bindings = container.host.get("PortBindings") or {}
        return {(b.get("HostIp") or "0.0.0.0", str(b["HostPort"])) for found in bindings.values() for b in found or []
                if b.get("HostPort")}

    # -- containers ------------------------------------------------------------------------------

    def create(self, name, body):
        if not body.get("Image"):
            raise HttpError(400, "no image specified")
        with self.lock:
            ident = ct.new_id()
            name = (name or "made_" + ident[:10]).lstrip("/")
            if not ct.NAME.match(name):
                raise HttpError(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            image = self.images.find(body["Image"])
            record = ct.new_record(ident, name, body, image, image["Id"])
            self.claim_name(name, None)
            ct.resolve_mounts(record, self.volumes, self.images.layer_path(image))
            self.attach_networks(record, body)
            os.makedirs(os.path.join(self.containers_dir, ident))
            container = ct.Container(self, record)
            container.save()
            self.all[ident] = container
        self.event("container", "create", container)
        return {"Id": ident, "Warnings": []}

    def claim_name(self, name, own):
        for other in self.all.values():
            if other.name == name and other is not own:
                raise HttpError(409, f'Conflict. The container name "/{name}" is already in use by container '
                                     f'"{other.id}". You have to remove (or rename) that container to be able to '
                                     "reuse that name.")

    def attach_networks(self, record, body):
        mode = record["HostConfig"]["NetworkMode"]
        ends = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        name = "bridge" if mode in ("default", "") else mode
        wanted = {name: ends.get(name) or {}, **ends} if not mode.startswith("container:") else {}
        for ref, end in wanted.items():
            self.connect_record(record, ref, end or {})

    def connect_record(self, record, ref, end):
        """A network need not exist before the start, which is when it is looked up."""
        try:
            name = self.networks.find(ref)["Name"]
        except HttpError:
            name = ref
        aliases = None if name in ("bridge", "host", "none") else [*(end.get("Aliases") or []), record["Id"][:12]]
        record["Networks"][name] = {"NetworkID": "", "EndpointID": ct.new_id(), "Aliases": aliases}

    def join_networks(self, container):
        for name, end in container.record["Networks"].items():
            end["NetworkID"] = self.networks.find(name)["Id"]

    def rename(self, container, name):
        name = name.lstrip("/")
        if not name:
            raise HttpError(400, "Neither old nor new names may be empty")
        if not ct.NAME.match(name):
            raise HttpError(400, f"Error when allocating new name: Invalid container name ({name}), only "
                                 "[a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        with self.lock:
            if container.name == name:
                raise HttpError(400, "Renaming a container with the same name as its current name")
            self.claim_name(name, container)
            with container.cond:
                container.record["Name"] = name
                container.save()
        self.event("container", "rename", container)

    def remove(self, container, force=False, volumes=False):
        with container.cond:
            if container.removed:
                raise HttpError(404, f"No such container: {container.id}")
            if container.running and not force:
                if container.state["Paused"]:
                    raise HttpError(409, f"You cannot remove a paused container {container.id}. Unpause and then stop "
                                         "the container before attempting removal or force remove")
                raise HttpError(409, f"You cannot remove a running container {container.id}. Stop the container before "
                                     "attempting removal or force remove")
            if container.running:
                container.signal(signal.SIGKILL)
                container.cond.wait_for(lambda: not container.running)
            anonymous = [n for n in container.volumes() if volumes and len(n) == 64]
            container.forget()
            with self.lock:
                self.all.pop(container.id, None)
        for name in anonymous:
            if not self.volume_users(name):
                self.volumes.remove(name)
        self.event("container", "destroy", container)

    def list(self, everything, filters, limit):
        found = []
        for container in sorted(list(self.all.values()), key=lambda c: c.record["Created"], reverse=True):
            with container.cond:
                if not everything and "status" not in filters and not container.running:
                    continue
                if self.matches(container, filters):
                    found.append(container.summary())
        return found[:limit] if limit else found

    def matches(self, container, filters):
        if not labels_match(filters.get("label", []), container.config.get("Labels") or {}):
            return False
        if "name" in filters and not any(_found(n, "/" + container.name) for n in filters["name"]):
            return False
        if "id" in filters and not any(container.id.startswith(i) for i in filters["id"]):
            return False
        if "status" in filters and container.status() not in filters["status"]:
            return False
        if "volume" in filters:
            places = {m.get("name") for m in container.record["Mounts"]} | {
                m["target"] for m in container.record["Mounts"]} | {m["source"] for m in container.record["Mounts"]}
            if not places & set(filters["volume"]):
                return False
        if "network" in filters and not any(
            n in filters["network"] or e["NetworkID"] in filters["network"] for n, e in container.record["Networks"].items()
        ):
            return False
        if "ancestor" in filters:
            image = container.record["Image"]
            if not any(a in (image, container.config["Image"]) for a in filters["ancestor"]):
                return False
        return True

    # -- events ------------------------------------------------------------------------------------

    def event(self, kind, action, container=None, attributes=None):
        actor = {"ID": "", "Attributes": attributes or {}}
        if container is not None:
            actor["ID"] = container.id
            actor["Attributes"] = {**(container.config.get("Labels") or {}), "name": container.name,
                                   "image": container.config["Image"], **(attributes or {})}
        stamp = time.time_ns()
        record = {"Type": kind, "Action": action, "Actor": actor, "scope": "local", "time": stamp // 10**9,
                  "timeNano": stamp}
        if container is not None:
            record.update(status=action, id=container.id)
        with self.event_arrived:
            self.events.append(record)
            self.event_count += 1
            del self.events[:-EVENTS_MAX]
            self.event_arrived.notify_all()

    def follow_events(self, since, until, filters):
        with self.event_arrived:
            seen = 0 if since else self.event_count
        while True:
            with self.event_arrived:
                if self.event_count <= seen:
                    left = until - time.time() if until else 3600
                    if left <= 0:
                        return
                    self.event_arrived.wait(min(left, 1))
                fresh = self.events[-(self.event_count - seen) :] if self.event_count > seen else []
                seen = self.event_count
            for record in fresh:
                if record["time"] >= int(since or 0) and _event_matches(record, filters):
                    yield json.dumps(record).encode() + b"\n"


def _event_matches(record, filters):
    attributes = record["Actor"]["Attributes"]
    return (record["Type"] in filters.get("type", [record["Type"]])
            and record["Action"].split(":")[0] in filters.get("event", [record["Action"].split(":")[0]])
            and labels_match(filters.get("label", []), attributes)
            and (attributes.get("name") in filters.get("container", [attributes.get("name")])
                 or record["Actor"]["ID"] in filters.get("container", [])))


def _found(pattern, text):
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text


def read_filters(request):
    """Both forms: {"label": ["a"]} and {"label": {"a": true}}."""
    try:
        raw = json.loads(request.get("filters") or "{}")
        return {key: [v for v, on in values.items() if on] if isinstance(values, dict) else values
                for key, values in raw.items()}
    except (ValueError, AttributeError):
        raise HttpError(400, "invalid filter") from None


class Api:
    def __init__(self, engine):
        self.engine = engine
        self.router = Router()
        self._system()
        self._containers()
        self._others()

    def handle(self, request):
        """The answer to one request, with faults; errors become JSON messages."""
        parts = request.path.split("/", 2)
        try:
            if len(parts) > 1 and parts[1][:1] == "v" and parts[1][1:2].isdigit():
                self.check_version(parts[1][1:])
                request.version, request.path = parts[1][1:], "/" + (parts[2] if len(parts) > 2 else "")
            if request.path.startswith("/fake/"):
                return self.route(request)
            return self.engine.faults.around(request, self.route)
        except HttpError as error:
            return Answer(error.status, {"message": error.message})

    def route(self, request):
        try:
            handler, groups = self.router.find(request.method, request.path)
            return handler(request, *groups)
        except HttpError as error:
            return Answer(error.status, {"message": error.message})
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            # A body of the wrong shape, or a fault of this program: the log tells.
            traceback.print_exc()
            return Answer(400, {"message": f"malformed request: {error!r}"})

    @staticmethod
    def check_version(text):
        try:
            version = tuple(int(part) for part in text.split("."))
        except ValueError:
            raise HttpError(400, f"invalid version {text}") from None
        if version > API_MAX:
            raise HttpError(400, f"client version {text} is too new. Maximum supported API version is 1.41")
        if version < API_MIN:
            raise HttpError(400, f"client version {text} is too old. Minimum supported API version is 1.12, "
                                 "please upgrade your client to a newer version")

    def on(self, method, pattern, handler):
        self.router.add(method, pattern, handler)

    # -- system ------------------------------------------------------------------------------------

    def _system(self):
        engine = self.engine
        for method in ("GET", "HEAD"):
            self.on(method, "/_ping", lambda r: Answer(200, b"OK", kind="text/plain; charset=utf-8"))
        self.on("GET", "/version", lambda r: Answer(200, {
            "Platform": {"Name": "fake"}, "Version": VERSION, "ApiVersion": "1.41", "MinAPIVersion": "1.12",
            "Components": [{"Name": "Engine", "Version": VERSION, "Details": {}}], "GitCommit": "fake",
            "GoVersion": "none", "Os": "linux", "Arch": "amd64", "KernelVersion": os.uname().release}))
        self.on("GET", "/info", lambda r: Answer(200, self.info()))
        self.on("GET", "/events", lambda r: Answer(
            200, engine.follow_events(r.get("since"), float(r.get("until") or 0), read_filters(r)),
            kind="application/json"))
        self.on("POST", "/fake/faults", lambda r: engine.faults.add(r.json()) or Answer(201))
        self.on("GET", "/fake/faults", lambda r: Answer(200, engine.faults.rules))
        self.on("DELETE", "/fake/faults", lambda r: engine.faults.clear() or Answer(204))
        self.on("GET", "/fake/calls", lambda r: Answer(200, list(engine.faults.calls)))

    def info(self):
        engine = self.engine
        states = [c.status() for c in list(engine.all.values())]
        return {"ID": engine.ident, "Containers": len(states), "ContainersRunning": states.count("running"),
                "ContainersPaused": states.count("paused"), "Images": len(engine.images.all), "Driver": "overlay2",
                "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
                "Name": os.uname().nodename, "ServerVersion": VERSION, "OSType": "linux", "Architecture": "x86_64",
                "OperatingSystem": "fake", "KernelVersion": os.uname().release, "NCPU": os.cpu_count(),
                "DockerRootDir": engine.root, "SecurityOptions": ["name=seccomp,profile=default"],
                "CgroupDriver": "cgroupfs", "CgroupVersion": "2", "LiveRestoreEnabled": False, "SystemTime": now(),
                "Warnings": None, "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}

    # -- containers --------------------------------------------------------------------------------

    def _containers(self):
        engine = self.engine
        one = r"/containers/([^/]+)"
        self.on("GET", "/containers/json", lambda r: Answer(200, engine.list(
            r.flag("all"), read_filters(r), int(r.get("limit") or 0))))
        self.on("POST", "/containers/create", lambda r: Answer(201, engine.create(r.get("name"), r.json())))
        self.on("GET", one + "/json", self.inspect)
        self.on("POST", one + "/start", lambda r, ref: Answer(204 if engine.find(ref).start() else 304))
        self.on("POST", one + "/stop", lambda r, ref: Answer(204 if engine.find(ref).stop(
            int(r.get("t")) if r.get("t") else None) else 304))
        self.on("POST", one + "/restart", self.restart)
        self.on("POST", one + "/kill", lambda r, ref: engine.find(ref).kill(
            ct.parse_signal(r.get("signal") or "SIGKILL")) or Answer(204))
        self.on("POST", one + "/pause", lambda r, ref: engine.find(ref).pause() or Answer(204))
        self.on("POST", one + "/unpause", lambda r, ref: engine.find(ref).unpause() or Answer(204))
        self.on("POST", one + "/rename", lambda r, ref: engine.rename(engine.find(ref), r.get("name")) or Answer(204))
        self.on("POST", one + "/update", lambda r, ref: Answer(200, engine.find(ref).update(r.json())))
        self.on("POST", one + "/wait", self.wait)
        self.on("GET", one + "/logs", self.logs)
        self.on("POST", one + "/exec", lambda r, ref: Answer(201, engine.execs.create(engine.find(ref), r.json())))
        self.on("DELETE", one, lambda r, ref: engine.remove(engine.find(ref), r.flag("force"), r.flag("v")) or Answer(204))
        self.on("POST", "/containers/prune", self.prune_containers)
        self.on("POST", r"/exec/([^/]+)/start", lambda r, ref: engine.execs.start(r, ref, COMMON))
        self.on("GET", r"/exec/([^/]+)/json", lambda r, ref: Answer(200, engine.execs.view(ref)))
        self.on("POST", "/commit", self.commit)

    def inspect(self, request, ref):
        container = self.engine.find(ref)
        with container.cond:
            return Answer(200, container.view())

    def restart(self, request, ref):
        container = self.engine.find(ref)
        container.stop(int(request.get("t")) if request.get("t") else None)
        container.start()
        return Answer(204)

    def wait(self, request, ref):
        container = self.engine.find(ref)
        condition = request.get("condition") or "not-running"

        def body():
            yield json.dumps({"Error": None, "StatusCode": container.wait(condition)}).encode() + b"\n"

        return Answer(200, body(), kind="application/json")

    def logs(self, request, ref):
        container = self.engine.find(ref)
        streams = [name for name in ("stdout", "stderr") if request.flag(name)]
        if not streams:
            raise HttpError(400, "Bad parameters: you must choose at least one stream")
        stamps = request.flag("timestamps")

        def body():
            path = os.path.join(container.dir, "log")
            for record in ct.read_log(path, request.flag("follow"), lambda: container.removed or not container.running,
                                      request.get("tail") or "all"):
                if record["stream"] in streams:
                    text = (record["time"] + " " if stamps else "") + record["log"]
                    data = text.encode()
                    kind = 1 if record["stream"] == "stdout" else 2
                    yield bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data

        return Answer(200, body())

    def prune_containers(self, request):
        gone = []
        for container in list(self.engine.all.values()):
            if not container.running:
                self.engine.remove(container)
                gone.append(container.id)
        return Answer(200, {"ContainersDeleted": gone, "SpaceReclaimed": 0})

    def commit(self, request):
        container = self.engine.find(request.get("container"))
        source = self.engine.images.all[container.record["Image"]]
        upper = os.path.join(container.dir, "upper")
        if os.path.isdir(upper) and os.listdir(upper):
            raise HttpError(501, "the fake engine commits only containers that have written nothing")
        config = {**source["Config"], **(request.json() or {})}
        image = self.engine.images.add(config, source["Layer"])
        self.engine.images.tag(image, request.get("repo"), request.get("tag"))
        return Answer(201, {"Id": image["Id"]})

    # -- volumes, networks, images -------------------------------------------------------------------

    def _others(self):
        engine = self.engine
        volumes, networks, images = engine.volumes, engine.networks, engine.images
        self.on("GET", "/volumes", lambda r: Answer(200, volumes.list(read_filters(r))))
        self.on("POST", "/volumes/create", lambda r: Answer(201, volumes.get(volumes.create(
            r.json().get("Name", ""), r.json().get("Labels"), r.json().get("DriverOpts"), r.json().get("Driver", "")))))
        self.on("POST", "/volumes/prune", lambda r: Answer(200, volumes.prune(read_filters(r))))
        self.on("GET", r"/volumes/([^/]+)", lambda r, name: Answer(200, volumes.get(name)))
        self.on("DELETE", r"/volumes/([^/]+)", lambda r, name: volumes.remove(name, r.flag("force")) or Answer(204))
        self.on("GET", "/networks", lambda r: Answer(200, self.network_list(read_filters(r))))
        self.on("POST", "/networks/create", lambda r: Answer(201, networks.create(r.json())))
        self.on("GET", r"/networks/([^/]+)", lambda r, ref: Answer(200, self.network_view(networks.find(ref))))
        self.on("DELETE", r"/networks/([^/]+)", self.network_remove)
        self.on("POST", r"/networks/([^/]+)/connect", self.network_connect)
        self.on("POST", r"/networks/([^/]+)/disconnect", self.network_disconnect)
        self.on("GET", "/images/json", lambda r: Answer(200, images.list()))
        self.on("POST", "/images/create", self.image_create)
        self.on("GET", r"/images/(.+)/json", lambda r, ref: Answer(200, images.view(images.find(ref))))
        self.on("POST", r"/images/(.+)/tag", lambda r, ref: images.tag(
            images.find(ref), r.get("repo"), r.get("tag")) or Answer(201))
        self.on("POST", r"/images/(.+)/push", self.push)
        self.on("DELETE", r"/images/(.+)", lambda r, ref: Answer(200, images.remove(
            ref, r.flag("force"), engine.image_users)))
        self.on("GET", r"/distribution/(.+)/json", self.distribution)

    def network_members(self, network):
        return [c for c in list(self.engine.all.values()) if c.running
                and any(e["NetworkID"] == network["Id"] for e in c.record["Networks"].values())]

    def network_view(self, network):
        members = {c.id: {"Name": c.name, "EndpointID": c.record["Networks"][network["Name"]]["EndpointID"],
                          "MacAddress": "", "IPv4Address": "127.0.0.1/8", "IPv6Address": ""}
                   for c in self.network_members(network)}
        return {**network, "Containers": members}

    def network_list(self, filters):
        found = []
        for network in list(self.engine.networks.all.values()):
            if "name" in filters and not any(_found(n, network["Name"]) for n in filters["name"]):
                continue
            if labels_match(filters.get("label", []), network["Labels"]):
                found.append({**network, "Containers": {}})
        return found

    def network_remove(self, request, ref):
        network = self.engine.networks.find(ref)
        self.engine.networks.remove(ref, bool(self.network_members(network)))
        return Answer(204)

    def network_connect(self, request, ref):
        network = self.engine.networks.find(ref)
        container = self.engine.find(request.json().get("Container", ""))
        with container.cond:
            if network["Name"] in container.record["Networks"]:
                raise HttpError(403, f"endpoint with name {container.name} already exists in network {network['Name']}")
            end = request.json().get("EndpointConfig") or {}
            self.engine.connect_record(container.record, network["Name"], end)
            if container.running:
                self.engine.join_networks(container)
            container.save()
        return Answer(200)

    def network_disconnect(self, request, ref):
        network = self.engine.networks.find(ref)
        container = self.engine.find(request.json().get("Container", ""))
        with container.cond:
            if container.record["Networks"].pop(network["Name"], None) is None:
                raise HttpError(403, f"container {container.id} is not connected to the network {network['Name']}")
            container.save()
        return Answer(200)

    def image_create(self, request):
        images = self.engine.images
        if request.get("fromSrc"):
            image = images.import_tar(request.body, request.get("repo"), request.get("tag"),
                                      request.query.get("changes", []))
            return Answer(200, iter_lines([{"status": image["Id"]}]), kind="application/json")
        name, digest = request.get("fromImage"), ""
        tag = request.get("tag")
        if "@" in name:
            name, digest = name.split("@", 1)
        elif tag.startswith("sha256:"):
            digest = tag
        elif not tag:
            name, tag = split_ref(name)
        return Answer(200, iter_lines(images.pull(name, tag or "latest", digest)), kind="application/json")

    def push(self, request, ref):
        tag = request.get("tag") or "latest"
        digest = self.engine.images.push(ref, tag)
        lines = [{"status": f"The push refers to repository [{ref}]"},
                 {"status": f"{tag}: digest: {digest} size: 1"},
                 {"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": 1}}]
        return Answer(200, iter_lines(lines), kind="application/json")

    def distribution(self, request, ref):
        name, _, digest = ref.partition("@")
        repo, tag = split_ref(name)
        found = self.engine.images.remote(repo, digest or tag)
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        return Answer(200, {"Descriptor": {"mediaType": kind, "digest": found["digest"], "size": 1},
                            "Platforms": [{"architecture": "amd64", "os": "linux"}]})


def iter_lines(lines):
    for line in lines:
        yield json.dumps(line).encode() + b"\r\n"


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
