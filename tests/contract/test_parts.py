"""The parts that tests are made of: PostgreSQL in a container, file systems, tree comparison."""

import errno
import os
import subprocess

import pytest

from lib.dockerapi import wait_for
from lib.engines import LoopFs, diff_trees, make_postgres_image, tree_digest
from lib.loopfs import subvolume_create


def sql(engine, address, text, port=5432):
    argv = engine.enter(["psql", "-h", address, "-p", port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-tAc", text])
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def test_postgres_keeps_its_data_over_stop_and_start(engine, client, tmp_path):
    make_postgres_image(engine, "postgres:15")
    data = tmp_path / "data"
    data.mkdir()
    tmp_path.chmod(0o755)
    ident = client.run("postgres:15", None, "pg", HostConfig={"Binds": [f"{data}:/var/lib/postgresql/data"]})
    try:
        client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy", 60)
        address = client.inspect(ident)["NetworkSettings"]["IPAddress"]
        sql(engine, address, "create table t as select generate_series(1, 1000) n")
        assert data.stat().st_uid == 999
        client.stop(ident, 20)
        assert client.state(ident)["ExitCode"] == 0
        client.start(ident)
        client.wait_state(ident, lambda s: s["Health"]["Status"] == "healthy", 60)
        address = client.inspect(ident)["NetworkSettings"]["IPAddress"]
        assert sql(engine, address, "select sum(n) from t") == "500500"
    except BaseException:
        print(client.logs(ident))
        raise


def test_the_counters_files_never_disagree_by_more_than_one(engine, client, tmp_path):
    ident = client.run("small:1", ["app", "counter", "/data"], "web", HostConfig={"Binds": [f"{tmp_path}:/data"]})
    wait_for(lambda: (tmp_path / "b").exists(), 5, "counter")
    for _ in range(5):
        client.post(f"/containers/{ident}/pause")
        a, b = (int((tmp_path / name).read_text()) for name in "ab")
        assert a - b in (0, 1)
        client.post(f"/containers/{ident}/unpause")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_file_systems_mount_and_go(kind):
    with LoopFs(kind) as fs:
        (fs.path / "file").write_text("x")
        assert os.stat(fs.path).st_dev != os.stat(fs.base).st_dev
        device = fs.device
        if kind == "btrfs":
            subvolume_create(fs.path / "sub")
            assert os.stat(fs.path / "sub").st_ino == 256
    assert not fs.base.exists()
    attached = subprocess.run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"],
                              capture_output=True, text=True, check=True).stdout
    assert not [line for line in attached.splitlines() if line.split()[0] == device and str(fs.image) in line]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_shutdown_loses_what_was_not_synced(kind):
    with LoopFs(kind) as fs:
        with open(fs.path / "synced", "w") as file:
            file.write("synced")
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(fs.path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        (fs.path / "lost").write_text("lost")
        fs.godown()
        with pytest.raises(OSError) as caught:
            (fs.path / "more").write_text("x")
        assert caught.value.errno in (errno.EIO, 117)
        fs.remount()
        assert (fs.path / "synced").read_text() == "synced"
        assert not (fs.path / "lost").exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_shut_down_comes_back_when_another_namespace_has_let_go(kind):
    with LoopFs(kind) as fs:
        (fs.path / "synced").write_text("synced")
        os.sync()
        holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; sleep 1"],
                                  stdout=subprocess.PIPE)
        holder.stdout.readline()
        fs.godown()
        fs.remount()
        assert (fs.path / "synced").read_text() == "synced"
        holder.stdout.close()
        holder.wait(timeout=10)


def build(root):
    root.mkdir()
    (root / "dir").mkdir(mode=0o750)
    (root / "file").write_bytes(b"content")
    os.link(root / "file", root / "dir" / "hard")
    os.symlink("nowhere", root / "link")
    os.setxattr(root / "file", "user.note", b"1")
    for path in (root / "file", root / "dir", root):
        os.utime(path, ns=(10**18, 10**18 + 5))
    os.utime(root / "link", ns=(10**18, 10**18 + 5), follow_symlinks=False)


def change_time(root):
    os.utime(root / "file", ns=(10**18, 10**18 + 6))


def break_link(root):
    info = os.stat(root / "file")
    (root / "dir" / "hard").unlink()
    (root / "dir" / "hard").write_bytes(b"content")
    os.setxattr(root / "dir" / "hard", "user.note", b"1")
    os.utime(root / "dir" / "hard", ns=(info.st_atime_ns, info.st_mtime_ns))
    os.utime(root / "dir", ns=(10**18, 10**18 + 5))


@pytest.mark.parametrize(
    "change, word",
    [
        (change_time, "mtime_ns"),
        (break_link, "group"),
        (lambda r: (r / "dir").chmod(0o755), "mode"),
        (lambda r: r.chmod(0o700), "mode"),
        (lambda r: os.chown(r / "file", 1, 0), "uid"),
        (lambda r: os.setxattr(r / "file", "user.note", b"2"), "xattrs"),
        (lambda r: ((r / "link").unlink(), os.symlink("elsewhere", r / "link")), "target"),
        (lambda r: (r / os.fsdecode(b"odd\xff")).write_text(""), "only in the second"),
        (lambda r: (r / "file").write_bytes(b"CONTENT"), "sha256"),
    ],
)
def test_every_difference_is_seen(tmp_path, change, word):
    build(tmp_path / "a")
    build(tmp_path / "b")
    assert diff_trees(tmp_path / "a", tmp_path / "b") == []
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")
    change(tmp_path / "b")
    assert any(word in line for line in diff_trees(tmp_path / "a", tmp_path / "b"))
    assert tree_digest(tmp_path / "a") != tree_digest(tmp_path / "b")
