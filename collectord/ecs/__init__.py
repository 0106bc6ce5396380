"""Vendor records as documents of the Elastic Common Schema: `mapper(type, stream)` makes one out of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectord.ecs.documents import DATASETS, Mapper, UnknownStream, Unreadable

if TYPE_CHECKING:
    from collectord.records import Metadata

__all__ = ["DATASETS", "Mapper", "UnknownStream", "Unreadable", "dataset", "mapper"]


def dataset(source_type: str, stream: str) -> str:
    """`event.dataset` of a stream, named as Elastic's integration names it: the middle of `logs-<dataset>-<namespace>`.

    Raises UnknownStream, whose text says which there are.
    """
    try:
        return DATASETS[source_type, stream]
    except KeyError:
        raise UnknownStream(source_type, stream) from None


def mapper(
    source_type: str,
    stream: str,
    metadata: Metadata | None = None,
    *,
    namespace: str = "default",
    original: bool = False,
) -> Mapper:
    """Make the function that turns a record of this stream into a document: JSON in, JSON out, no line break.

    `source_type` and `stream` are a source file's (`SentinelOne Mgmt API`, `threats`); raises UnknownStream for others.
    The tables are read and compiled once in a process, so a new mapper is cheap: make one for each page, because
    `metadata` holds the page's receipt time. The same record with the same metadata always gives the same bytes.

    No record is dropped and nothing is raised: a value that does not fit its field is left out, `error.message` says
    which and why, and `event.original` keeps the whole record; of what is no JSON object at all nothing else remains,
    under `event.kind: pipeline_error`. Every document has:

    * `@timestamp`: the record's own time, else the receipt time, else 1970;
    * `data_stream.type` (`logs`), `.dataset`, `.namespace`; `event.module`, `event.dataset`; `ecs.version`;
    * `event.kind`, `event.category`, `event.type` as ECS allows them;
    * `tags`: `forwarded` and the dataset's own, as Elastic's integrations set them;
    * with `original=True`: `event.original`, the record as it came, and the tag `preserve_original_event`.

    And from `metadata`, if it is given: `event.created` and `event.ingested` (the receipt time; Elastic's own final
    pipeline, where it is installed, overwrites the second), `agent.name` (the collector) and `agent.type`, `labels`
    (the custom fields, with `source` and `source_category`; a dot in a name becomes `_`, as `labels` wants it).

    `_id` is no part of a document: Elasticsearch takes it beside, and the sink makes it.
    """
    dataset(source_type, stream)
    return Mapper(source_type, stream, metadata, namespace=namespace, original=original)
