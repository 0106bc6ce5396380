"""The table of sink types: one module, one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from collectord.sinks.elasticsearch import ElasticsearchSink
from collectord.sinks.http import HttpSink
from collectord.sinks.splunk_hec import SplunkHecSink
from collectord.sinks.sumologic import SumoLogicSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import ClientSession

    from collectord.settings import SinkSettings
    from collectord.sink import Sink

SINK_TYPES: Mapping[str, Callable[[Any, ClientSession], Sink]] = {
    "http": HttpSink,
    "elasticsearch": ElasticsearchSink,
    "splunk_hec": SplunkHecSink,
    "sumologic": SumoLogicSink,
}
"""By the `type` of its settings."""


def open_sink(settings: SinkSettings, session: ClientSession) -> Sink:
    """Build a sink; makes no request."""
    return SINK_TYPES[settings.type](settings, session)
