"""What stands beside each record: names, category, SIEM metadata and custom fields of one source and stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectord.records import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from collectord.settings import CollectorSettings, SourceSettings


def metadata_of(
    collector: CollectorSettings, source: SourceSettings, stream: str, siem: Mapping[str, str], *, inventory: bool
) -> Metadata:
    """The metadata of one stream, but for the receipt time of each page.

    `siem` is what the source type says of its vendor; it is left out unless `_siemForward` is on.
    """
    config = source.config
    forward = config.siem_forward
    return Metadata(
        collector=collector.name,
        source=config.name,
        category=config.category or collector.category,
        stream=stream,
        receipt_ms=0,
        siem=siem if forward else {},
        data_type="Inventory" if forward and inventory else None,
        fields=collector.fields_schema.kept({**collector.custom_fields, **config.custom_fields}),
        source_type=source.type,
    )
