"""Nothing is lost, whatever happens: the oracle holds what was issued against what arrived.

Each test prints its seed; `COLLECTORD_ORACLE_SEED` repeats one. `COLLECTORD_SOAK_SECONDS=600` lets the storm last.
"""

import os
import random
from collections.abc import Iterator

import pytest

from tests.daemon.forkserver import ForkServer
from tests.daemon.harness import Site
from tests.daemon.storm import Storm
from tests.daemon.tenants import OKTA

KILLS = 100
SEED = os.environ.get("COLLECTORD_ORACLE_SEED") or str(random.randrange(10**6))
SOAK_SECONDS = float(os.environ.get("COLLECTORD_SOAK_SECONDS") or 0)


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.mark.timeout(240 + 2 * SOAK_SECONDS)
def test_nothing_is_lost_in_any_storm(site: Site, server: ForkServer):
    storm = Storm(site, server, SEED, OKTA)
    storm.rage(kills=0 if SOAK_SECONDS else KILLS, seconds=SOAK_SECONDS)
    storm.clear_up()
    storm.wait_until_whole()
    print(storm)
    assert storm.daemon is not None
    assert storm.daemon.stop() == 0
    assert storm.is_whole(), storm
    assert not list(storm.complaints())
