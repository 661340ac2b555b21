"""Engines for the contract suite: every test runs against the fake and the real one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "functional"))

from lib.engines import FakeDocker, RealDocker, make_empty_image, make_small_image  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--engines", default="fake,real", help="which engines: fake, real, or both (default)")


def pytest_generate_tests(metafunc):
    if "engine_kind" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("--engines", "fake,real").split(",")
        metafunc.parametrize("engine_kind", kinds, scope="session")


def _images(engine):
    make_small_image(engine, "small:1")
    make_small_image(engine, "crash:1", cmd=["app", "crash", "3"])
    make_small_image(engine, "health:1", health="--interval=200ms --timeout=2s --retries=2 CMD test ! -e /tmp/sick")
    make_small_image(engine, "filled:1", cmd=["app", "idle"], changes=["ENV A=1 B=2", "LABEL one=two"])
    make_empty_image(engine, "empty:1")


@pytest.fixture(scope="session")
def shared_engine(engine_kind):
    with {"fake": FakeDocker, "real": RealDocker}[engine_kind]() as engine:
        _images(engine)
        yield engine


@pytest.fixture
def engine(shared_engine):
    """The session's engine, without containers. Tests may kill it if they start it again."""
    yield shared_engine
    if not shared_engine.daemon.alive():
        shared_engine.start()
    for container in shared_engine.client.containers():
        shared_engine.client.remove(container["Id"])
    shared_engine.client.post("/volumes/prune")


@pytest.fixture
def client(engine):
    return engine.client
