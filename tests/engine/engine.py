"""The fake engine's state: containers by id, names, events, recovery after a kill."""

import json
import os
import re
import shutil
import signal
import sys
import threading
import time

from container import Container
from execs import Execs
from faults import Faults
from httpd import HttpError
from record import NAME, ZERO_TIME, new_id, new_record, resolve_mounts
from spawn_client import SpawnClient
from store import Images, Networks, Volumes, labels_match, load, save

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
        identity = load(os.path.join(root, "engine.json"), {"ID": new_id()[:32]})
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
        self.execs = Execs(self)
        self.spawner = SpawnClient(root, self.on_exit, owner)  # first: what an earlier one still made is loaded
        self._load()

    def _load(self):
        """What is on disk, but for images."""
        self.networks = Networks(self.root)
        self.volumes = Volumes(self.root, self.volume_users)
        self.all = {}
        for ident in sorted(os.listdir(self.containers_dir)):
            record = load(os.path.join(self.containers_dir, ident, "container.json"), None)
            if record:
                self.all[ident] = Container(self, record)
            else:
                shutil.rmtree(os.path.join(self.containers_dir, ident), ignore_errors=True)

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
            elif container.should_restart() and container.state["StartedAt"] != ZERO_TIME:
                with container.cond:
                    try:
                        container._launch()
                    except HttpError as error:
                        print(f"start of {container.name}: {error.message}", file=sys.stderr)

    def shut_down(self):
        self.stopping = True
        self._together([c.stop for c in list(self.all.values())])

    def reset(self):
        """Everything but images goes: what a crash loop needs between two rounds."""
        self.faults.clear()
        self._together([lambda c=c: self.remove(c, True, True) for c in list(self.all.values())])
        for name in list(self.volumes.all):
            self.volumes.remove(name)
        for network in list(self.networks.all.values()):
            if network["Name"] not in ("bridge", "host", "none"):
                self.networks.remove(network["Id"], False)
        self.faults.calls.clear()

    def rewind(self, saved):
        """Everything but images as it was in the directory `saved`, a copy of the root that was made
        while no engine ran; what the restart policies ask for runs. A fresh engine on a copy is the
        same and takes a third of a second."""
        self.reset()
        for name in os.listdir(saved):
            target = os.path.join(self.root, name)
            if os.path.isdir(target):
                shutil.rmtree(target)
        shutil.copytree(saved, self.root, symlinks=True, dirs_exist_ok=True)
        self._load()
        self.recover()

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
        """Ids of the running and of the other containers made from this image."""
        users = [c for c in list(self.all.values()) if c.record["Image"] == ident]
        return [c.id for c in users if c.running], [c.id for c in users if not c.running]

    def image_name(self, container):
        """What a list shows: the name it was made from while that still means its image, else the id."""
        try:
            if self.images.find(container.config["Image"])["Id"] == container.record["Image"]:
                return container.config["Image"]
        except HttpError:
            pass
        return container.record["Image"]

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
            ident = new_id()
            name = (name or "made_" + ident[:10]).lstrip("/")
            if not NAME.match(name):
                raise HttpError(400, f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            image = self.images.find(body["Image"])
            record = new_record(ident, name, body, image, image["Id"])
            self.claim_name(name, None)
            resolve_mounts(record, self.volumes, self.images.layer_path(image["Layer"]))
            self.attach_networks(record, body)
            os.makedirs(os.path.join(self.containers_dir, ident))
            container = Container(self, record)
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
        ends = {"bridge" if ref in ("default", "") else ref: end for ref, end in ends.items()}
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
        record["Networks"][name] = {"NetworkID": "", "EndpointID": new_id(), "Aliases": aliases}

    def join_networks(self, container):
        for name, end in container.record["Networks"].items():
            end["NetworkID"] = self.networks.find(name)["Id"]

    def rename(self, container, name):
        name = name.lstrip("/")
        if not name:
            raise HttpError(400, "Neither old nor new names may be empty")
        if not NAME.match(name):
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
        if "name" in filters and not any(name_matches(n, "/" + container.name) for n in filters["name"]):
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


def name_matches(pattern, text):
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return pattern in text
