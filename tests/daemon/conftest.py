"""A site for each test, and what is looked at when the test is over."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.daemon.forkserver import ForkServer
from tests.daemon.harness import Site


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """The thread in which vendors and sinks live."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """What most daemons are started by."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def site(tmp_path, portal, server) -> Iterator[Site]:
    """Fails the test when a secret was seen, a simulator was ill-treated, or the log tells of a mistake."""
    with ExitStack() as life:
        site = Site(tmp_path, portal, server, life)
        try:
            yield site
        finally:
            site.close()
        assert not site.unexpected_complaints()
