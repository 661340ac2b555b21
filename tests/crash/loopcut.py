"""Power loss on a real file system: what had not reached the disk at call N is gone.

The program runs on ext4, xfs or btrfs on a loop device. At call N the tracer stops the tree, and

    copy      copies the backing image: the page cache of the mounted file system is not in it, so
              the copy holds what had reached the disk, neither more nor less
    shutdown  asks the file system to stop at once without flushing its log (xfs and ext4; harder)

then kills the tree. The image is mounted again at the same place, so its journal is replayed.
Inode numbers, generations and so file handles are those of the run: a program that knows its trees
by handle can recover here, which it cannot on the states powerloss.py builds.

    with LoopDisk("xfs") as disk:
        ... put the starting tree below disk.path; disk.settle() ...
        run = disk.cut(argv, at=12)           # killed, power lost, mounted again
        ... recover, check below disk.path ...

    disk.snapshot() / disk.rewind() bring one prepared state back for every cut.

A cut shows one legal state, and a kind one: real file systems order metadata more strongly than
POSIX does (ext4's and xfs's journals hide a missing directory sync, not a missing file sync).
Needs root.
"""

import ctypes
import fcntl
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crashlib import Injection, run_traced

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "functional"))

from lib.loopfs import attach, detach  # noqa: E402

# XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN are one number, _IOR('X', 125, u32); 2 is NOLOGFLUSH.
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
BLKFLSBUF = 0x1261

# Replacing by rename would be flushed by ext4 on its own, and a five-second commit would make
# cuts depend on the clock: both hide what the tests look for.
MOUNT_OPTIONS = {"ext4": "noauto_da_alloc,commit=300", "xfs": "", "btrfs": "commit=300"}
MKFS = {"ext4": ["mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
        "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}
SIZE_BYTES = 400 << 20  # xfs refuses less than 300 MiB


def _run(*words):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout.strip()


def shutdown_file_system(path):
    """Everything not yet in the log on disk is lost from here on."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(fd)


class LoopDisk:
    """One file system on a loop device, mounted at `path`. Everything is undone on close()."""

    def __init__(self, kind="ext4", size_bytes=SIZE_BYTES, directory=None, options=None):
        self.kind = kind
        self.options = MOUNT_OPTIONS[kind] if options is None else options
        self._scratch = Path(tempfile.mkdtemp(prefix="crash-disk.", dir=directory))
        self._image = self._scratch / "image"
        self._cut_image = self._scratch / "cut"
        self._saved = self._scratch / "saved"
        self.path = self._scratch / "mnt"
        self._device = None
        self._mounted = False  # a file system that was shut down cannot be asked
        try:
            self.path.mkdir()
            with open(self._image, "wb") as image:
                image.truncate(size_bytes)
            _run(*MKFS[kind], self._image)
            self._mount()
        except BaseException:
            self.close()
            raise

    def _mount(self, other_than=""):
        self._device = attach(self._image, other_than)
        # The device was another image a moment ago: nothing of that one may be read.
        with open(self._device, "rb") as device:
            fcntl.ioctl(device, BLKFLSBUF)
        options = ["-o", self.options] if self.options else []
        _run("mount", "-t", self.kind, *options, self._device, self.path)
        self._mounted = True

    def _unmount(self):
        """Waits, for a bounded time, until the killed tree has let go of the mount, and every other
        namespace of the image."""
        end = time.monotonic() + 20
        while self._mounted:
            try:
                _run("umount", self.path)
                self._mounted = False
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        if self._device:
            detach(self._device, self._image, end - time.monotonic())
            self._device = None

    def settle(self):
        """Makes the present state durable: the base that a cut may fall back to."""
        fd = os.open(self.path, os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
        os.close(fd)

    def snapshot(self):
        """Keeps the present state (unmounts and mounts: it is clean) for rewind()."""
        self._unmount()
        copy_image(self._image, self._saved)
        self._mount()

    def rewind(self):
        """Back to the last snapshot()."""
        self._unmount()
        copy_image(self._saved, self._image)
        self._mount()

    def hook(self, how="copy"):
        """The command for the tracer's --hook, when the caller runs the tracer on its own
        (a daemon: then kill it and call lose_power())."""
        if how == "copy":
            return copy_command(self._image, self._cut_image)
        return shlex.join([sys.executable, str(Path(__file__).resolve()), "shutdown",
                           str(self.path)])

    def lose_power(self, how="copy"):
        """Mounts what was on disk when the hook ran, by another device number: a boot may find the disk
        by another one. The traced tree must be dead."""
        before = self._device
        self._unmount()
        if how == "copy":
            os.replace(self._cut_image, self._image)
        self._mount(other_than=before)

    def cut(self, argv, at, how="copy", **options):
        """Runs argv to call `at`, loses power there, mounts again; the Run. A run that ends
        before that call loses power right after its end."""
        options.setdefault("only", [self.path])
        run = run_traced(argv, Injection("kill", at, self.hook(how)), **options)
        if "hook failed" in run.stderr:
            raise RuntimeError(f"the image was not cut: {run.stderr}")
        if not run.killed:
            subprocess.run(["sh", "-c", self.hook(how)], check=True)
        self.lose_power(how)
        return run

    def close(self):
        try:
            self._unmount()
        finally:
            if not self._mounted:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def copy_command(source, target):
    return shlex.join(["cp", "--reflink=auto", "--sparse=always", str(source), str(target)])


def copy_image(source, target):
    """Never over the old file: a loop device is let go late and may still write to that one."""
    Path(target).unlink(missing_ok=True)
    subprocess.run(["sh", "-c", copy_command(source, target)], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "shutdown":
        sys.exit("usage: loopcut.py shutdown MOUNTPOINT")
    shutdown_file_system(sys.argv[2])
