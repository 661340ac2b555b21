"""What the fake engine keeps on disk: volumes, networks, images. Whole files, replaced by rename."""

import datetime
import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tarfile
import threading
import urllib.parse

from httpd import HttpError


def now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def epoch(text):
    """Seconds since 1970 of a time that now() wrote."""
    return int(datetime.datetime.fromisoformat(text[:19] + "+00:00").timestamp())


def save(path, value):
    with open(path + ".new", "w") as file:
        json.dump(value, file)
    os.rename(path + ".new", path)


def load(path, default):
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return default


def labels_match(wanted, labels):
    """Docker's label filter: every `key` or `key=value` must hold."""
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


class Volumes:
    """Directories `volumes/<name>/_data`; a directory that appears there is a volume after a restart."""

    def __init__(self, root, references):
        self.root = os.path.join(root, "volumes")
        self.references = references  # name -> ids of containers that declare it
        self.lock = threading.RLock()
        os.makedirs(self.root, mode=0o701, exist_ok=True)
        self.file = os.path.join(self.root, "metadata.json")
        known = load(self.file, {})
        self.all = {}
        for name in sorted(os.listdir(self.root)):
            if os.path.isdir(os.path.join(self.root, name)):
                self.all[name] = known.get(name, {"CreatedAt": now(), "Labels": None, "Options": None})

    def path(self, name):
        return os.path.join(self.root, name, "_data")

    def view(self, name):
        return {"CreatedAt": self.all[name]["CreatedAt"], "Driver": "local", "Labels": self.all[name]["Labels"],
                "Mountpoint": self.path(name), "Name": name, "Options": self.all[name]["Options"], "Scope": "local"}

    def create(self, name="", labels=None, options=None, driver="local"):
        with self.lock:
            name = name or secrets.token_hex(32)
            if not name.replace("_", "a").replace(".", "a").replace("-", "a").isalnum() or len(name) < 2:
                raise HttpError(400, f'create {name}: "{name}" includes invalid characters for a local volume name')
            if driver not in ("", "local"):
                raise HttpError(404, f'create {name}: plugin "{driver}" not found')
            if name not in self.all:
                os.makedirs(os.path.join(self.root, name), mode=0o701, exist_ok=True)
                os.makedirs(self.path(name), mode=0o755, exist_ok=True)
                self.all[name] = {"CreatedAt": now(), "Labels": labels, "Options": options}
                save(self.file, self.all)
            return name

    def get(self, name):
        if name not in self.all:
            raise HttpError(404, f"get {name}: no such volume")
        return self.view(name)

    def remove(self, name, force=False):
        with self.lock:
            if name not in self.all:
                if force:
                    return
                raise HttpError(404, f"get {name}: no such volume")
            users = self.references(name)
            if users:
                raise HttpError(409, f"remove {name}: volume is in use - [{', '.join(users)}]")
            shutil.rmtree(os.path.join(self.root, name), ignore_errors=True)
            del self.all[name]
            save(self.file, self.all)

    def prune(self, filters):
        with self.lock:
            gone = [name for name in self.all
                    if not self.references(name) and labels_match(filters.get("label", []), self.all[name]["Labels"] or {})]
            for name in gone:
                self.remove(name)
            return {"VolumesDeleted": gone, "SpaceReclaimed": 0}

    def list(self, filters):
        found = []
        for name in sorted(self.all):
            labels = self.all[name]["Labels"] or {}
            if "name" in filters and not any(part in name for part in filters["name"]):
                continue
            if not labels_match(filters.get("label", []), labels):
                continue
            if "dangling" in filters:
                if bool(self.references(name)) == (filters["dangling"][0].lower() in ("true", "1")):
                    continue
            if "driver" in filters and "local" not in filters["driver"]:
                continue
            found.append(self.view(name))
        return {"Volumes": found, "Warnings": None}


class Networks:
    """Bookkeeping only: every container shares the engine's network."""

    def __init__(self, root):
        self.file = os.path.join(root, "networks.json")
        self.lock = threading.RLock()
        self.all = load(self.file, None)
        if self.all is None:
            self.all = {}
            for name, driver in (("bridge", "bridge"), ("host", "host"), ("none", "null")):
                self.add({"Name": name, "Driver": driver})

    def add(self, body):
        ident = secrets.token_hex(32)
        self.all[ident] = {"Name": body["Name"], "Id": ident, "Created": now(), "Scope": "local",
                           "Driver": body.get("Driver") or "bridge", "EnableIPv6": False,
                           "IPAM": {"Driver": "default", "Options": None, "Config": []},
                           "Internal": bool(body.get("Internal")), "Attachable": False, "Ingress": False,
                           "Options": body.get("Options") or {}, "Labels": body.get("Labels") or {}}
        save(self.file, self.all)
        return ident

    def create(self, body):
        with self.lock:
            same = [n for n in self.all.values() if n["Name"] == body.get("Name")]
            if not body.get("Name"):
                raise HttpError(400, "invalid network name")
            if same and body.get("CheckDuplicate"):
                raise HttpError(409, f"network with name {body['Name']} already exists")
            warning = f"Network with name {body['Name']} (id : {same[0]['Id']}) already exists" if same else ""
            return {"Id": self.add(body), "Warning": warning}

    def find(self, ref):
        with self.lock:
            if ref in self.all:
                return self.all[ref]
            named = [n for n in self.all.values() if n["Name"] == ref]
            if len(named) > 1:
                raise HttpError(400, f"network {ref} is ambiguous ({len(named)} matches found on name)")
            named = named or [n for i, n in self.all.items() if len(ref) >= 4 and i.startswith(ref)]
            if not named:
                raise HttpError(404, f"network {ref} not found")
            return named[0]

    def remove(self, ref, in_use):
        with self.lock:
            network = self.find(ref)
            if network["Name"] in ("bridge", "host", "none"):
                raise HttpError(403, f"{network['Name']} is a pre-defined network and cannot be removed")
            if in_use:
                raise HttpError(403, f"error while removing network: network {network['Name']} id {network['Id']} "
                                     "has active endpoints")
            del self.all[network["Id"]]
            save(self.file, self.all)


def _duration_ns(text):
    total, number = 0, ""
    units = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
    unit = ""
    for char in text + "0":
        if char.isdigit() or char == ".":
            if unit:
                total += float(number) * units[unit]
                number, unit = "", ""
            number += char
        else:
            unit += char
    return int(total)


def _command(rest):
    rest = rest.strip()
    return json.loads(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]


def apply_change(config, change):
    """One Dockerfile instruction on an image's config, as `docker import --change` takes them."""
    word, _, rest = change.strip().partition(" ")
    word = word.upper()
    if word in ("CMD", "ENTRYPOINT"):
        config["Cmd" if word == "CMD" else "Entrypoint"] = _command(rest)
    elif word == "ENV":
        pairs = shlex.split(rest) if "=" in rest.split(" ")[0] else ["=".join(rest.split(" ", 1))]
        for pair in pairs:
            key = pair.split("=", 1)[0]
            config["Env"] = [e for e in config.get("Env") or [] if not e.startswith(key + "=")] + [pair]
    elif word == "LABEL":
        for pair in shlex.split(rest):
            key, _, value = pair.partition("=")
            config["Labels"] = {**(config.get("Labels") or {}), key: value}
    elif word in ("USER", "WORKDIR"):
        config["User" if word == "USER" else "WorkingDir"] = rest.strip()
    elif word == "EXPOSE":
        for port in rest.split():
            config["ExposedPorts"] = {**(config.get("ExposedPorts") or {}), port if "/" in port else port + "/tcp": {}}
    elif word == "VOLUME":
        for path in json.loads(rest) if rest.startswith("[") else rest.split():
            config["Volumes"] = {**(config.get("Volumes") or {}), path: {}}
    elif word == "HEALTHCHECK":
        check = {}
        words = rest.split(" ")
        names = {"--interval": "Interval", "--timeout": "Timeout", "--start-period": "StartPeriod"}
        while words and words[0].startswith("--"):
            name, _, value = words.pop(0).partition("=")
            check.update({"Retries": int(value)} if name == "--retries" else {names[name]: _duration_ns(value)})
        if words[0] == "NONE":
            check["Test"] = ["NONE"]
        else:
            tail = " ".join(words[1:]).strip()
            check["Test"] = ["CMD", *json.loads(tail)] if tail.startswith("[") else ["CMD-SHELL", tail]
        config["Healthcheck"] = check
    else:
        raise HttpError(400, f"{word.lower()} is not a valid change command")


def split_ref(ref, default_tag="latest"):
    """("repo", "tag") of an image reference without a digest."""
    head, _, last = ref.rpartition("/")
    name, colon, tag = last.partition(":")
    return (f"{head}/{name}" if head else name), (tag if colon else default_tag)


class Images:
    """Images are a config and one unpacked root; a `registry` directory stands in for every registry."""

    def __init__(self, root):
        self.root = os.path.join(root, "images")
        self.layers = os.path.join(root, "layers")
        self.registry = os.path.join(root, "registry")
        self.lock = threading.RLock()
        for path in (self.root, self.layers, self.registry):
            os.makedirs(path, exist_ok=True)
        self.file = os.path.join(root, "repositories.json")
        names = load(self.file, {"tags": {}, "digests": {}})
        self.tags, self.digests = names["tags"], names["digests"]  # reference -> image id
        self.all = {}
        for name in os.listdir(self.root):
            if name.endswith(".json"):
                image = load(os.path.join(self.root, name), None)
                self.all[image["Id"]] = image

    def _names_changed(self):
        save(self.file, {"tags": self.tags, "digests": self.digests})

    def layer_path(self, layer):
        return os.path.join(self.layers, layer)

    def add(self, config, layer, comment=""):
        made = {"Config": config, "Layer": layer, "Created": now(), "Comment": comment}
        made["Id"] = "sha256:" + hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
        return self.put(made)

    def put(self, image):
        with self.lock:
            self.all[image["Id"]] = image
            save(os.path.join(self.root, image["Id"][7:] + ".json"), image)
            return image

    def tag(self, image, repo, tag):
        with self.lock:
            if repo:
                self.tags[f"{repo}:{tag or 'latest'}"] = image["Id"]
                self._names_changed()

    def unpack(self, tar):
        """The name of the unpacked layer of these tar bytes."""
        name = hashlib.sha256(tar).hexdigest()
        path = os.path.join(self.layers, name)
        with self.lock:
            if not os.path.isdir(path):
                staging = path + ".new"
                shutil.rmtree(staging, ignore_errors=True)
                os.mkdir(staging)
                if tar.strip(b"\0"):
                    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
                        archive.extractall(staging, numeric_owner=True)
                os.rename(staging, path)
        return name

    def import_tar(self, tar, repo, tag, changes):
        config = {"Env": None, "Cmd": None, "Entrypoint": None, "Labels": None, "User": "", "WorkingDir": ""}
        for change in changes:
            apply_change(config, change)
        image = self.add(config, self.unpack(tar), "Imported from -")
        self.tag(image, repo, tag)
        return image

    def find(self, ref):
        with self.lock:
            if ref in self.all:
                return self.all[ref]
            if "@" in ref:
                ident = self.digests.get(ref)
            else:
                repo, tag = split_ref(ref)
                ident = self.tags.get(f"{repo}:{tag}")
            if ident is None and len(ref.removeprefix("sha256:")) >= 4:
                ids = [i for i in self.all if i[7:].startswith(ref.removeprefix("sha256:"))]
                ident = ids[0] if len(ids) == 1 else None
            if ident is None or ident not in self.all:
                raise HttpError(404, f"No such image: {ref}")
            return self.all[ident]

    def names_of(self, ident):
        return ([t for t, i in sorted(self.tags.items()) if i == ident],
                [d for d, i in sorted(self.digests.items()) if i == ident])

    def view(self, image):
        tags, digests = self.names_of(image["Id"])
        return {"Id": image["Id"], "RepoTags": tags, "RepoDigests": digests, "Parent": "",
                "Comment": image["Comment"], "Created": image["Created"], "Container": "",
                "DockerVersion": "20.10.24", "Author": "", "Config": image["Config"], "Architecture": "amd64",
                "Os": "linux", "Size": 1, "VirtualSize": 1,
                "RootFS": {"Type": "layers", "Layers": ["sha256:" + image["Layer"]]}, "Metadata": {}}

    def list(self):
        found = []
        for ident, image in self.all.items():
            tags, digests = self.names_of(ident)
            found.append({"Id": ident, "RepoTags": tags or None, "RepoDigests": digests or None, "ParentId": "",
                          "Labels": image["Config"].get("Labels"), "Created": epoch(image["Created"]), "Size": 1, "VirtualSize": 1,
                          "SharedSize": -1, "Containers": -1})
        return found

    def remove(self, ref, force, users):
        with self.lock:
            image = self.find(ref)
            done = []
            tags, digests = self.names_of(image["Id"])
            by_id = ref not in self.digests and ":".join(split_ref(ref)) not in self.tags
            short = image["Id"][7:19]
            if by_id and len(tags) > 1 and not force:
                raise HttpError(409, f"conflict: unable to delete {short} (must be forced) - image is "
                                     "referenced in multiple repositories")
            running, stopped = users(image["Id"])
            last = len(tags) <= 1 and ref not in self.digests or not tags and len(digests) <= 1
            if by_id and running:
                raise HttpError(409, f"conflict: unable to delete {short} (cannot be forced) - image is being used by "
                                     f"running container {running[0][:12]}")
            if by_id and stopped and not force:
                raise HttpError(409, f"conflict: unable to delete {short} (must be forced) - image is being used by "
                                     f"stopped container {stopped[0][:12]}")
            if not by_id and last and running + stopped and not force:
                raise HttpError(409, f"conflict: unable to remove repository reference \"{ref}\" (must force) - "
                                     f"container {(running + stopped)[0][:12]} is using its referenced image {short}")
            for name in tags + digests if by_id else [ref if ref in self.digests else ":".join(split_ref(ref))]:
                (self.tags if name in self.tags else self.digests).pop(name)
                done.append({"Untagged": name})
            # A digest goes with the last tag of its repository.
            for name in digests:
                repo = name.split("@")[0]
                if name in self.digests and not any(split_ref(t)[0] == repo for t in self.names_of(image["Id"])[0]):
                    del self.digests[name]
                    done.append({"Untagged": name})
            self._names_changed()
            # By id and by force even under a stopped container, which starts all the same: it has its layer.
            if by_id or not any(self.names_of(image["Id"])) and not running + stopped:
                del self.all[image["Id"]]
                os.unlink(os.path.join(self.root, image["Id"][7:] + ".json"))
                done.append({"Deleted": image["Id"]})
            return done

    # -- the stand-in for registries: registry/<quoted repo>/<tag or digest>.json -----------

    def _fixture(self, repo, name):
        return os.path.join(self.registry, urllib.parse.quote(repo, safe=""), name.replace(":", "_") + ".json")

    def push(self, repo, tag):
        image = self.find(f"{repo}:{tag}")
        content = json.dumps([image["Config"], image["Layer"], image["Id"]], sort_keys=True).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        os.makedirs(os.path.dirname(self._fixture(repo, tag)), exist_ok=True)
        for name in (tag, digest):
            save(self._fixture(repo, name), {"digest": digest, "image": image})
        with self.lock:
            self.digests[f"{repo}@{digest}"] = image["Id"]
            self._names_changed()
        return digest

    def remote(self, repo, name):
        """The registry's record; the errors are those of a registry that answers and has no such name."""
        if repo.split("/")[0].endswith(":1"):
            raise HttpError(500, f'Get "http://{repo.split("/")[0]}/v2/": dial tcp {repo.split("/")[0]}: '
                                 "connect: connection refused")
        found = load(self._fixture(repo, name), None)
        if found is None:
            raise HttpError(404, "manifest unknown: manifest unknown")
        return found

    def pull(self, repo, tag, digest=""):
        """The lines of a pull; an error of the record's own (key `error`) comes inside the stream."""
        try:
            record = self.remote(repo, digest or tag)
        except HttpError as error:
            if error.status == 404:
                name = f"{repo}@{digest}" if digest else f"{repo}:{tag}"
                raise HttpError(404, f"manifest for {name} not found: {error.message}") from None
            raise

        def lines():
            yield {"status": f"Pulling from {repo.split('/', 1)[-1]}", "id": digest or tag}
            if "error" in record:
                yield {"errorDetail": {"message": record["error"]}, "error": record["error"]}
                return
            image = record["image"]
            short = image["Layer"][:12]
            fresh = image["Id"] not in self.all
            if fresh:
                yield {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": short}
                yield {"status": "Pull complete", "progressDetail": {}, "id": short}
            with self.lock:
                self.put(image)
                self.digests[f"{repo}@{record['digest']}"] = image["Id"]
                if not digest:
                    self.tags[f"{repo}:{tag}"] = image["Id"]
                self._names_changed()
            yield {"status": f"Digest: {record['digest']}"}
            what = "Downloaded newer image for" if fresh else "Image is up to date for"
            yield {"status": f"Status: {what} {repo}:{tag}"}

        return lines()


def copy_up(source, target):
    """Fills an empty volume from the image, its root's owner and mode included."""
    if os.path.isdir(source) and not os.listdir(target):
        subprocess.run(["cp", "-a", source + "/.", target], check=True, stdin=subprocess.DEVNULL)
