"""The contract a sink fulfils: finish batches, and try once to hand one over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectord.records import Batch, Metadata, Record


class Sink(Protocol):
    """One place that batches go to.

    `encode` is pure and may run in a worker thread. Whoever calls `send` retries, splits and bisects; a sink only
    raises an error of the right class.
    """

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """Finish the records of one page as batches, in order, each within the sink's own size limit."""

    async def send(self, batch: Batch) -> None:
        """Send once; returns when the sink has acknowledged.

        Raises SinkUnavailable, SinkRefused, BatchTooLarge or BatchRejected.
        """

    async def check(self) -> str:
        """Reach the sink without delivering anything; returns one sentence for the operator or raises SinkError."""
