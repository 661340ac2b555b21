"""File systems of their own on loop devices."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from . import process

# _IOR('X', 125, __u32): XFS_IOC_GOINGDOWN, which ext4 answers too (EXT4_IOC_SHUTDOWN).
_GOINGDOWN = 0x8004587D
SHUTDOWN_DEFAULT = 0  # freeze, so all is flushed first
SHUTDOWN_LOGFLUSH = 1  # the log is flushed, data is not
SHUTDOWN_NOLOGFLUSH = 2  # nothing is: what power loss leaves

_MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
_MIN_BYTES = {"ext4": 8 << 20, "xfs": 300 << 20, "btrfs": 128 << 20}


class LoopFs:
    """A fresh file system: `.path` is its root. The backing file is sparse.

    size: bytes, raised to the least that the kind can be made with; base: where image and mount point
    are made, a directory that is removed at the end.
    """

    def __init__(self, kind: str = "ext4", size: int = 512 << 20, options: str = "", mkfs_args=(), base=None):
        self.kind = kind
        self.size = max(size, _MIN_BYTES[kind])
        self.options = options
        self.mkfs_args = list(mkfs_args)
        self.base = Path(base) if base else process.scratch_dir(kind)
        self.image = self.base / "image"
        self.path = self.base / "mnt"
        self.device = ""

    def __enter__(self):
        try:
            self.path.mkdir()
            with open(self.image, "wb") as file:
                file.truncate(self.size)
            subprocess.run([*_MKFS[self.kind], *self.mkfs_args, self.image], check=True, capture_output=True)
            self.attach()
            self.mount()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def attach(self) -> None:
        self.device = attach(self.image)

    def mount(self) -> None:
        options = ["-o", self.options] if self.options else []
        subprocess.run(["mount", "-t", self.kind, *options, self.device, self.path], check=True)

    def umount(self) -> None:
        subprocess.run(["umount", self.path], check=True)

    def remount(self) -> None:
        """Unmounts and mounts again: what recovery after godown() needs. While another mount namespace
        holds the file system, a mount would only show the one that was shut down."""
        self.umount()
        detach(self.device, self.image)
        self.device = ""
        self.attach()
        self.mount()

    def uuid(self) -> str:
        """Of the file system, 32 hex digits."""
        told = subprocess.run(["blkid", "-p", "-o", "value", "-s", "UUID", self.image], check=True, capture_output=True)
        return told.stdout.decode().strip().replace("-", "")

    def move(self) -> None:
        """Unmounts and mounts again by another device number, as a boot may find it."""
        before, self.device = self.device, ""
        self.umount()
        detach(before, self.image)
        self.device = attach(self.image, other_than=before)
        self.mount()

    def godown(self, how: int = SHUTDOWN_NOLOGFLUSH) -> None:
        """Shuts the file system down as a power loss would; ext4 and xfs only."""
        if self.kind not in ("ext4", "xfs"):
            raise OSError(errno.EOPNOTSUPP, f"no shutdown ioctl on {self.kind}")
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _GOINGDOWN, struct.pack("I", how))
        finally:
            os.close(fd)

    def close(self) -> None:
        for point in process.mounts_beneath(self.path):
            if subprocess.run(["umount", point], capture_output=True).returncode != 0:
                subprocess.run(["umount", "--lazy", point], check=True)
        if self.device:
            subprocess.run(["losetup", "--detach", self.device], check=True)
            self.device = ""
        process.remove_tree(self.base)


def attach(image: Path, other_than: str = "") -> str:
    """Attaches the image to a free loop device: its name. other_than: one that is free and not to be taken."""
    with tempfile.NamedTemporaryFile() as other:
        other.truncate(1 << 20)
        # Fails where somebody else took it meanwhile, which is as good.
        kept = other_than and subprocess.run(["losetup", other_than, other.name], capture_output=True).returncode == 0
        try:
            found = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
        finally:
            if kept:
                detach(other_than, Path(other.name))
    device = found.stdout.strip()
    assert device != other_than
    return device


def detach(device: str, image: Path, within_s: float = 20) -> None:
    """Detaches a loop device that is not mounted here, and waits until the kernel has let go of its
    image: a container that is being started elsewhere copies every mount of the host into a namespace
    of its own, and holds the file system for a moment."""
    subprocess.run(["losetup", "--detach", device], check=True)
    backing_file = Path("/sys/block", Path(device).name, "loop", "backing_file")
    end = time.monotonic() + within_s
    while _backs(image, backing_file):
        if time.monotonic() > end:
            raise TimeoutError(f"another mount namespace still holds the file system of {image}")
        time.sleep(0.005)


def _backs(image: Path, backing_file: Path) -> bool:
    try:
        return Path(backing_file.read_text().strip()) == Path(image)
    except OSError:
        return False


def subvolume_create(path: Path) -> None:
    """Makes a btrfs subvolume."""
    subprocess.run(["btrfs", "-q", "subvolume", "create", str(path)], check=True)


def subvolume_snapshot(of: Path, path: Path) -> None:
    """Makes a btrfs subvolume that is another one as it is now."""
    subprocess.run(["btrfs", "-q", "subvolume", "snapshot", str(of), str(path)], check=True)


def subvolume_delete(path: Path) -> None:
    subprocess.run(["btrfs", "-q", "subvolume", "delete", str(path)], check=True)
