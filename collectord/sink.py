"""The contract a sink fulfils: finish batches, and try once to hand one over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectord.errors import BatchRejected, SinkUnavailable
    from collectord.records import Batch, Metadata, Notice, Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch that was not just taken; what is not named here the sink has."""

    refused: Sequence[tuple[Batch, BatchRejected]] = ()
    """Parts that it refuses for good, each with its reason."""
    rest: Batch | None = None
    """A part to be sent again."""
    because: SinkUnavailable | None = None
    """Why `rest` has to wait; None: it may follow at once, since something else got out of its way."""
    notices: tuple[Notice, ...] = ()
    """What an operator should know although the batch was taken."""


class Sink(Protocol):
    """One place that batches go to.

    `encode` is pure and may run in a worker thread. Whoever calls `send` retries, splits, bisects and buries; a sink
    only says what became of the batch, or raises an error of the right class.
    """

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """Finish the records of one page as batches, in order, each within the sink's own size limit."""

    async def send(self, batch: Batch) -> Outcome | None:
        """Send once; returns when the sink has acknowledged, None: all of it, and without a word.

        Raises SinkUnavailable, SinkRefused, BatchTooLarge or BatchRejected where the batch as a whole failed.
        """

    async def check(self) -> str:
        """Reach the sink without delivering anything; returns one sentence for the operator or raises SinkError."""
