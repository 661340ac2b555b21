"""A container's record: made from a create call, its mounts, its log."""

import json
import os
import re
import secrets
import signal
import time

from httpd import HttpError
from store import copy_up, now

ZERO_TIME = "0001-01-01T00:00:00Z"
NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")


def new_id():
    return secrets.token_hex(32)


def parse_signal(text):
    text = str(text).upper()
    if text.isdigit():
        return int(text)
    try:
        return signal.Signals[text if text.startswith("SIG") else "SIG" + text].value
    except KeyError:
        raise HttpError(400, f"Invalid signal: {text}") from None


def check_policy(policy):
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise HttpError(400, f"invalid restart policy '{name}'")
    if count and name != "on-failure":
        raise HttpError(400, f"maximum retry count cannot be used with restart policy '{name}'")
    return {"Name": name, "MaximumRetryCount": count}


def new_record(ident, name, body, image, image_id):
    """The record of a container from a create call's body, merged with its image's config."""
    base = image["Config"]
    config = {key: value for key, value in body.items() if key not in ("HostConfig", "NetworkingConfig")}
    entry = config.get("Entrypoint")
    command = config.get("Cmd")
    if not entry:
        entry = base.get("Entrypoint")
        command = command or base.get("Cmd")
    argv = [*(entry or []), *(command or [])]
    if not argv:
        raise HttpError(400, "No command specified")
    keys = {item.split("=", 1)[0] for item in config.get("Env") or []}
    env = [item for item in base.get("Env") or [] if item.split("=", 1)[0] not in keys] + (config.get("Env") or [])
    check = config.get("Healthcheck") or {}
    if not check.get("Test"):
        check = {**(base.get("Healthcheck") or {}), **{k: v for k, v in check.items() if v}}
    config.update(Entrypoint=entry, Cmd=command, Env=env, Labels={**(base.get("Labels") or {}), **(config.get("Labels") or {})},
                  User=config.get("User") or base.get("User") or "", Hostname=config.get("Hostname") or ident[:12],
                  WorkingDir=config.get("WorkingDir") or base.get("WorkingDir") or "",
                  ExposedPorts={**(base.get("ExposedPorts") or {}), **(config.get("ExposedPorts") or {})},
                  Volumes={**(base.get("Volumes") or {}), **(config.get("Volumes") or {})} or None)
    if check:
        config["Healthcheck"] = check
    if not config.get("StopSignal") and base.get("StopSignal"):
        config["StopSignal"] = base["StopSignal"]
    host = dict(body.get("HostConfig") or {})
    host["RestartPolicy"] = check_policy(host.get("RestartPolicy") or {})
    if host.get("AutoRemove") and host["RestartPolicy"]["Name"] != "no":
        raise HttpError(400, "can't create 'AutoRemove' container with restart policy")
    host.setdefault("NetworkMode", "default")
    state = {"Running": False, "Paused": False, "Restarting": False, "OOMKilled": False, "Dead": False, "Pid": 0,
             "ExitCode": 0, "Error": "", "StartedAt": ZERO_TIME, "FinishedAt": ZERO_TIME}
    return {"Id": ident, "Name": name, "Created": now(), "Path": argv[0], "Args": argv[1:], "State": state,
            "Image": image_id, "Layer": image["Layer"], "RestartCount": 0, "ManuallyStopped": False, "HostConfig": host, "Config": config,
            "Mounts": [], "Networks": {}}


def resolve_mounts(record, volumes, image_root):
    """Fills record["Mounts"] from Binds, Mounts, Tmpfs and the image's VOLUMEs; makes and fills volumes."""
    host, found = record["HostConfig"], {}

    def volume(name, target, read_only, no_copy, mode, labels=None, options=None):
        name = volumes.create(name, labels, options)
        found[target] = {"type": "volume", "name": name, "source": volumes.path(name), "target": target,
                         "ro": read_only, "mode": mode, "must_exist": False}
        if not no_copy:
            copy_up(image_root + target, volumes.path(name))

    def put(target):
        target = os.path.normpath(target)
        if not target.startswith("/") or target == "/":
            raise HttpError(500, f"invalid mount target {target!r}")
        if target in found:
            raise HttpError(400, f"Duplicate mount point: {target}")
        return target

    for bind in host.get("Binds") or []:
        parts = bind.split(":")
        if len(parts) not in (2, 3):
            raise HttpError(400, f"invalid volume specification: '{bind}'")
        source, target, mode = parts[0], put(parts[1]), parts[2] if len(parts) == 3 else ""
        words = mode.split(",") if mode else []
        if source.startswith("/"):
            found[target] = {"type": "bind", "source": os.path.normpath(source), "target": target, "ro": "ro" in words,
                             "mode": mode, "must_exist": False}
        else:
            volume(source, target, "ro" in words, "nocopy" in words, mode or "z")
    for mount in host.get("Mounts") or []:
        target, source = put(mount.get("Target", "")), mount.get("Source", "")
        if mount.get("Type") == "bind":
            if not os.path.exists(source):
                raise HttpError(400, 'invalid mount config for type "bind": bind source path does not exist: ' + source)
            found[target] = {"type": "bind", "source": os.path.normpath(source), "target": target,
                             "ro": bool(mount.get("ReadOnly")), "mode": "", "must_exist": True}
        elif mount.get("Type") == "volume":
            options = mount.get("VolumeOptions") or {}
            volume(source, target, bool(mount.get("ReadOnly")), bool(options.get("NoCopy")), "z",
                   options.get("Labels"), (options.get("DriverConfig") or {}).get("Options"))
        elif mount.get("Type") == "tmpfs":
            found[target] = {"type": "tmpfs", "source": "", "target": target, "ro": False, "mode": "", "must_exist": False}
        else:
            raise HttpError(400, f"mount type unknown: {mount.get('Type')!r}")
    for target in host.get("Tmpfs") or {}:
        found[put(target)] = {"type": "tmpfs", "source": "", "target": target, "ro": False, "mode": "", "must_exist": False}
    for target in record["Config"].get("Volumes") or {}:
        if os.path.normpath(target) not in found:
            volume("", os.path.normpath(target), False, False, "")
    record["Mounts"] = list(found.values())


def read_log(path, follow, ended, tail="all", since=0.0):
    """Records of a json-file log, then (follow) those that come until ended()."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        if not follow:
            return
        while not os.path.exists(path):
            if ended():
                return
            time.sleep(0.01)
        file = open(path, "rb")
    with file:
        lines = file.readlines()
        if tail.isdigit():
            lines = lines[len(lines) - min(int(tail), len(lines)) :]
        rest = b""
        while True:
            for line in lines:
                rest += line
                if rest.endswith(b"\n"):
                    yield json.loads(rest)
                    rest = b""
            if not follow:
                return
            over = ended()
            lines = file.readlines()
            if not lines:
                if over:
                    return
                time.sleep(0.005)
