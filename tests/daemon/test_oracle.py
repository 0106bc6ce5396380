"""Nothing is lost, whatever happens: the oracle holds what was issued against what arrived.

Each test prints its seed; `COLLECTORD_ORACLE_SEED` repeats one. `COLLECTORD_SOAK_SECONDS=600` soaks for so long.
"""

import os
import random

import pytest

from collectord.sources import SOURCE_TYPES
from tests.daemon.crashing import POINTS
from tests.daemon.harness import Site
from tests.daemon.storm import Storm
from tests.daemon.tenants import ALL, OKTA, OTHERS, limited_okta, plain_okta

KILLS = 70
SEED = os.environ.get("COLLECTORD_ORACLE_SEED") or str(random.randrange(10**6))
SOAK_SECONDS = float(os.environ.get("COLLECTORD_SOAK_SECONDS") or 0)


@pytest.mark.parametrize("makes", [[*OKTA, *OTHERS], ALL], ids=["storms", "soak"])
def test_every_stream_of_every_source_type_is_in_it(makes):
    tenants = [make("secret", number) for number, make in enumerate(makes)]
    collected = {(tenant.type, stream) for tenant in tenants for stream in tenant.streams}
    assert collected == {(name, stream) for name, row in SOURCE_TYPES.items() for stream in row.streams}


def test_death_at_any_point_loses_nothing(site: Site):
    storm = Storm(site, SEED, [*OKTA, *OTHERS])
    for point in POINTS:
        storm.die_at(point)
    storm.clear_up()
    storm.wait_until_whole()
    print(storm)
    assert storm.kinds.keys() == POINTS.keys()


@pytest.mark.parametrize(
    ("mistake", "point", "wrong"),
    [
        ("cursor_before_the_batch", "page committed", "missing"),
        ("failed_is_sent", "batch acknowledged", "missing"),
        ("new_key_each_time", "batch acknowledged", "duplicates"),
        ("forgotten_ids", "seen ids read", "duplicates"),
        ("parsed_records", "batch acknowledged", "altered"),
    ],
)
def test_a_daemon_that_is_not_right_is_found_out(site: Site, mistake: str, point: str, wrong: str):
    """What a correct daemon survives shows what is wrong with another one."""
    site.allowed.append("overtook the batch")
    of_events_alone = [plain_okta, limited_okta]  # what is listed comes again and again: none of it is a duplicate
    storm = Storm(site, SEED, of_events_alone, tamper=[mistake])
    storm.die_at(point)
    for tenant in storm.tenants.values():
        for flavour in tenant.flavours:
            site.call(tenant.simulator.issue, 3, **flavour)
    storm.clear_up()
    storm.wait_until_fresh_ones_came()
    assert storm.stop() == 0
    streams = [stream for verdict in storm.verdicts().values() for stream in verdict.streams]
    assert any(stream.wrongs[wrong] for stream in streams), str(storm)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tenants", [OKTA, OTHERS], ids=["okta", "others"])
def test_nothing_is_lost_in_any_storm(site: Site, tenants):
    storm = Storm(site, SEED, tenants)
    storm.rage(kills=KILLS)
    storm.clear_up()
    storm.wait_until_whole()
    print(storm)
    assert storm.stop() == 0
    assert storm.is_whole(), str(storm)
    assert not storm.silent_streams()
    assert not list(storm.complaints())


@pytest.mark.skipif(not SOAK_SECONDS, reason="COLLECTORD_SOAK_SECONDS is not set")
@pytest.mark.timeout(500 + 2 * SOAK_SECONDS)
def test_a_soak_with_all_vendors_loses_nothing_and_leaks_nothing(site: Site):
    """Half of it daemons are killed, a second apart as systemd has it; half of it one lives through everything else."""
    storm = Storm(site, SEED, ALL, pace=3.0, between_lives_seconds=1.0, fault_rate=0.03)
    storm.rage(seconds=SOAK_SECONDS / 2)
    storm.watch(SOAK_SECONDS / 2)
    storm.clear_up()
    storm.wait_until_whole(400.0, pause=10.0)
    print(storm)
    assert storm.stop() == 0
    assert storm.is_whole(), str(storm)
    assert not storm.silent_streams()
    assert not list(storm.complaints())
    resident, descriptors = storm.growth()
    # It knows the ids of an hour, and holds up to 8 MiB for each sink that is away: some MiB more, and then no more.
    assert resident < 1.25, str(storm)
    assert descriptors < 1.5, str(storm)  # connections come and go: between 23 and 36 were seen
