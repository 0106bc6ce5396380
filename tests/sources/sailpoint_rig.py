"""A SailPoint source on a simulated tenant: the module alone, or with the real loop and outbox behind it."""

import json
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from collectord.demo.faults import Fault
from collectord.demo.sailpoint import SailPointSimulator
from collectord.demo.sailpoint_knobs import SailPointKnobs
from collectord.settings import SourceOptions, SourceSettings
from collectord.sources.sailpoint import SOURCE_TYPE
from collectord.sources.sailpoint.config import SailPointConfig
from tests.sources.rig import connecting, rigged

CLIENT = "5e1fTESTtest00112233445566778899"
SECRET = "s3cretTESTtestTESTtest"
NAME = "isc"
APIS = ("Events", "Users")
STREAMS = ("events", "users")


def settings(base_url, apis=APIS, *, client=CLIENT, secret=SECRET, version="v3", **options):
    config = SailPointConfig(
        name=NAME,
        org_name="acme",
        client_id=SecretStr(client),
        client_secret=SecretStr(secret),
        supported_apis=apis,
        api_version=version,
        fields={"_siemForward": True},
    )
    return SourceSettings(type=SOURCE_TYPE.name, config=config, options=SourceOptions(base_url=base_url, **options))


@asynccontextmanager
async def tenant(**knobs):
    """A tenant without limits, unless they are asked for; the client must have done nothing wrong in the end."""
    given = {"rate_limit": None, "agreed_per_window": None, **knobs}
    simulator = SailPointSimulator(CLIENT, SECRET, SailPointKnobs(**given))
    async with simulator.serve():
        yield simulator
    assert simulator.violations == []


@asynccontextmanager
async def streams(base_url, apis=APIS, *, calm=False, **options):
    """The streams of one source."""
    async with connecting(calm=calm) as connect:
        yield SOURCE_TYPE.open(settings(base_url, apis, **options), connect)


@asynccontextmanager
async def one(simulator, name="events", **options):
    async with streams(simulator.base_url, (name.title(),), **options) as opened:
        yield opened[name]


def heard(simulator, path="*"):
    """Every request from now on, with its body."""
    calls: list[Any] = []

    def hear(call):
        calls.append(call)
        return False

    simulator.fail(Fault(), path=path, times=None, when=hear)
    return calls


def searches(calls):
    """The bodies of the searches among them."""
    return [json.loads(call.body) for call in calls if call.path.endswith(("/search", "/search/v1"))]


def bounds(search):
    """Begin and end of what is searched, as written."""
    span = search["filters"]["created"]["range"]
    assert (span["lower"]["inclusive"], span["upper"]["inclusive"]) == (True, False)
    return span["lower"]["value"], span["upper"]["value"]


def raws(pages):
    return [bytes(record.raw) for page in pages for record in page.records]


def names(pages):
    """What the pages tell an operator."""
    return [notice.name for page in pages for notice in page.notices]


def rig(simulator, directory):
    """The real loops and outbox, see `rigged`."""
    return rigged(simulator, directory, settings, rare=("users",))
