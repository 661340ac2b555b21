"""The small jobs that many tests begin with: a workload with one volume, its data, a snapshot."""

from __future__ import annotations

import os
from pathlib import Path

from .cairnd import Cairnd

# How the engine refuses a pause while a process of the container waits for a disk.
UNFREEZABLE = "Cannot pause container 1: OCI runtime pause failed: unable to freeze: unknown"


def workload(name="web", image="small", volumes=None, **config) -> dict:
    """A workload document; one volume "data" at /data unless told otherwise."""
    if volumes is None:
        volumes = [{"source": "data", "target": "/data", "scope": "project"}]
    # Healthy at once; without a check every start takes the 3 s that a container must survive.
    full = {"image": image, "default_tag": "1", "pull": "never", "healthcheck": "exec:true", "volumes": volumes,
            "stop_timeout": 1, **config}
    return {"name": name, "kind": "image", "config": full}


def deploy(cairn: Cairnd, document: dict) -> dict:
    cairn.apply(document)
    return cairn.ok("workload", "deploy", document["name"])


def place(cairn: Cairnd, name="web", target="/data") -> Path:
    """Where the volume lies on this machine."""
    for one in cairn.ok("volume", "ls", name)["volumes"]:
        if one["target"] == target:
            return Path(one["place"])
    raise AssertionError(f"{name} has no volume at {target}")


def fill(root: Path, mark: str) -> None:
    """A small tree with what is easily lost: owner, mode, times, links, an extended attribute."""
    (root / "deep" / "er").mkdir(parents=True, exist_ok=True)
    (root / "file").write_text(mark)
    (root / "deep" / "er" / "leaf").write_bytes(mark.encode() * 1000)
    (root / "empty").write_text("")
    if not (root / "link").is_symlink():
        (root / "link").symlink_to("../outside")
        os.link(root / "file", root / "hard")
    os.chmod(root / "file", 0o640)
    os.chown(root / "file", 1234, 4321)
    os.setxattr(root / "file", "user.note", mark.encode())
    os.utime(root / "file", ns=(1_000_000_001, 2_000_000_002))
    os.chmod(root, 0o750)
    os.chown(root, 70, 70)


def snapshot(cairn: Cairnd, name="web", *options) -> str:
    return cairn.ok("snapshot", "create", name, *options)["id"]


def restore(cairn: Cairnd, ident: str, *options, name="web") -> dict:
    return cairn.ok("snapshot", "restore", name, ident, "--yes", *options)


def settle(cairn: Cairnd, result: dict) -> None:
    """Waits for the second operation, which stores what the restore replaced."""
    if result.get("storing"):
        cairn.wait_operation(result["storing"])


def reasons(problem: dict) -> set:
    """The codes of a refusal."""
    return {one["code"] for one in problem.get("reasons", [])}


def set_base(path) -> str:
    """A config file whose volumes lie beneath path."""
    return f'[settings]\nbase_volume_path = "{path}"\n'


def running(cairn: Cairnd, name="web") -> list:
    return [one for one in cairn.ok("workload", "show", name)["instances"] if one["state"] == "running"]
