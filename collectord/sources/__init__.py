"""The table of source types: one vendor module, one row."""

from __future__ import annotations

from collectord.source import SourceType
from collectord.sources import netskope, okta, sailpoint, sentinelone

SOURCE_TYPES: dict[str, SourceType] = {
    row.name: row for row in (okta.SOURCE_TYPE, sailpoint.SOURCE_TYPE, sentinelone.SOURCE_TYPE, netskope.SOURCE_TYPE)
}
