"""`check --connect`: one harmless request to each vendor's stream and to each sink."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from collectord.client import Client, open_session
from collectord.errors import CollectordError
from collectord.limits import Budgets
from collectord.sinks import open_sink
from collectord.sources import SOURCE_TYPES

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from collectord.config import Configuration


async def connect_all(configuration: Configuration) -> bool:
    """Print a line for each stream and sink; returns whether all of them answered as they should."""
    results = []
    async with open_session() as session:
        budgets = Budgets()
        for settings in configuration.sources.values():
            options = settings.options
            proxy = options.proxy.get_secret_value() if options.proxy else None
            connect = partial(Client, session, budgets, proxy=proxy, ca_pem=options.ca_file)
            for name, stream in SOURCE_TYPES[settings.type].open(settings, connect).items():
                results.append(await _say(f"source {settings.name}, {name}", stream.probe()))
        for name, sink_settings in configuration.daemon.sinks.items():
            results.append(await _say(f"sink {name}", open_sink(sink_settings, session).check()))
    return all(results)


async def _say(what: str, attempt: Awaitable[str]) -> bool:
    try:
        print(f"{what}: ok: {await attempt}")
    except CollectordError as error:
        said = f" ({error.info})" if error.info else ""
        print(f"{what}: failed: {error.message}{said}")
        return False
    return True
