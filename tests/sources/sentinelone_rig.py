"""A SentinelOne source on a simulated console: the module alone, or with the real loop and outbox behind it."""

from contextlib import asynccontextmanager

from pydantic import SecretStr

from collectord.demo.sentinelone import SentinelOneSimulator
from collectord.demo.sentinelone_knobs import SentinelOneKnobs
from collectord.settings import SourceOptions, SourceSettings
from collectord.sources.sentinelone import SOURCE_TYPE, SentinelOneConfig
from tests.sources.rig import connecting, rigged

TOKEN = "S1testTESTtestTESTtest"
NAME = "s1"
APIS = ("activities", "threats", "agents")


def settings(base_url, apis=APIS, **options):
    config = SentinelOneConfig(
        name=NAME,
        base_url="https://acme.sentinelone.net/",
        api_secret=SecretStr(TOKEN),
        supported_apis=apis,
        fields={"_siemForward": True},
    )
    return SourceSettings(type=SOURCE_TYPE.name, config=config, options=SourceOptions(base_url=base_url, **options))


@asynccontextmanager
async def console(**knobs):
    """A console without limits, unless they are asked for."""
    simulator = SentinelOneSimulator(
        TOKEN, SentinelOneKnobs(**{"rate_limits": None, "agreed_per_second": None, **knobs})
    )
    async with simulator.serve():
        yield simulator


@asynccontextmanager
async def streams(base_url, apis=APIS, *, calm=False, **options):
    """The streams of one source; only `calm` ones keep to four requests a second."""
    async with connecting(calm=calm) as connect:
        yield SOURCE_TYPE.open(settings(base_url, apis, **options), connect)


@asynccontextmanager
async def one(simulator, name, **options):
    async with streams(simulator.base_url, (name,), **options) as opened:
        yield opened[name]


def rig(simulator, directory):
    """The real loops and outbox, see `rigged`."""
    return rigged(simulator, directory, settings)
