"""Fixtures of the functional tests: an engine for the session, a daemon of its own for each test."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib.cairnd import Cairnd  # noqa: E402
from lib.engines import FakeDocker, RealDocker, make_small_image  # noqa: E402


def small_images(engine):
    make_small_image(engine, "small:1")
    make_small_image(engine, "counter:1", cmd=["app", "counter", "/data"])
    make_small_image(engine, "crash:1", cmd=["app", "crash", "3"])
    make_small_image(engine, "web:1", cmd=["app", "http", "8080", "/data"])


@pytest.fixture(scope="session")
def fake_session():
    with FakeDocker() as engine:
        small_images(engine)
        yield engine


@pytest.fixture
def fake(fake_session):
    """The session's fake engine, without containers and faults."""
    yield fake_session
    if not fake_session.daemon.alive():
        fake_session.start()
    fake_session.clear_faults()
    for container in fake_session.client.containers():
        fake_session.client.remove(container["Id"])


@pytest.fixture(scope="session")
def real_session():
    with RealDocker() as engine:
        small_images(engine)
        yield engine


@pytest.fixture
def real(real_session):
    """The session's real engine, without containers."""
    yield real_session
    if not real_session.daemon.alive():
        real_session.start()
    for container in real_session.client.containers():
        real_session.client.remove(container["Id"])


@pytest.fixture
def cairn(fake):
    """A daemon on the fake engine; fsck must be clean at the end."""
    with Cairnd(fake) as daemon:
        yield daemon
