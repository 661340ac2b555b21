"""Docker's Engine API on top of engine.Engine: paths, parameters, status codes."""

import json
import os
import traceback

from engine import name_matches
from httpd import Answer, HttpError, Router
from record import parse_signal, read_log
from store import labels_match, now, split_ref

API_MAX, API_MIN = (1, 41), (1, 12)
VERSION = "20.10.24+fake"
COMMON = {"Api-Version": "1.41", "Docker-Experimental": "false", "Ostype": "linux",
          "Server": f"Docker/{VERSION} (linux)"}


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
        self.on("POST", "/fake/reset", lambda r: engine.reset() or Answer(204))
        self.on("POST", "/fake/rewind", lambda r: engine.rewind(r.json()["saved"]) or Answer(204))
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
            parse_signal(r.get("signal") or "SIGKILL")) or Answer(204))
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
            for record in read_log(path, request.flag("follow"), lambda: container.removed or not container.running,
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
        upper = os.path.join(container.dir, "upper")
        if os.path.isdir(upper) and os.listdir(upper):
            raise HttpError(501, "the fake engine commits only containers that have written nothing")
        image = self.engine.images.add({**container.config, **(request.json() or {})}, container.record["Layer"])
        self.engine.images.tag(image, request.get("repo"), request.get("tag"))
        return Answer(201, {"Id": image["Id"]})

    # -- volumes, networks, images -------------------------------------------------------------------

    def _others(self):
        engine, images = self.engine, self.engine.images
        # By engine.: a rewind makes them anew.
        self.on("GET", "/volumes", lambda r: Answer(200, engine.volumes.list(read_filters(r))))
        self.on("POST", "/volumes/create", lambda r: Answer(201, engine.volumes.get(engine.volumes.create(
            r.json().get("Name", ""), r.json().get("Labels"), r.json().get("DriverOpts"), r.json().get("Driver", "")))))
        self.on("POST", "/volumes/prune", lambda r: Answer(200, engine.volumes.prune(read_filters(r))))
        self.on("GET", r"/volumes/([^/]+)", lambda r, name: Answer(200, engine.volumes.get(name)))
        self.on("DELETE", r"/volumes/([^/]+)", lambda r, name: engine.volumes.remove(name, r.flag("force"))
                or Answer(204))
        self.on("GET", "/networks", lambda r: Answer(200, self.network_list(read_filters(r))))
        self.on("POST", "/networks/create", lambda r: Answer(201, engine.networks.create(r.json())))
        self.on("GET", r"/networks/([^/]+)", lambda r, ref: Answer(200, self.network_view(engine.networks.find(ref))))
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
            if "name" in filters and not any(name_matches(n, network["Name"]) for n in filters["name"]):
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
                raise HttpError(500, f"container {container.id} is not connected to network {network['Name']}")
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
