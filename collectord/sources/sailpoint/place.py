"""Where the collecting of events stands: the saved cursor, and how it moves from page to page.

Times are cut into windows with a frozen end, windows into slices. Beside it, rows are counted by spans of five minutes,
so that each hour can be compared with the tenant's own count when it is an hour old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from collectord.settings import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collectord.records import Cursor

HOUR_MS = int(1000 * HOUR)
SPAN_MS = int(1000 * 5 * MINUTE)
SLICE_MS = 6 * HOUR_MS
"""The longest time that one search covers."""
STILL_MS = 4 * HOUR_MS
"""How long a tenant's index may stand still, and nothing is lost when it goes on."""
RETENTION_SECONDS = 395 * DAY
"""SailPoint keeps a year and the current month."""
AUDITED_MS = 6 * HOUR_MS
"""Hours that are further back, after a pause, are not audited: they were read when they were old already."""

_Ms = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_000)]


class Place(msgspec.Struct, omit_defaults=True, frozen=True):
    """A saved cursor."""

    scope: str = ""
    from_ms: _Ms = 0
    """Where the first poll began; nothing older is ever asked for."""
    newest_ms: _Ms | None = None
    """Time of the newest event of all windows that were read; None: the first is not over."""
    hi_ms: _Ms | None = None
    """End of the window that is being read, not included; None: none is."""
    end_ms: _Ms = 0
    """End of its slice."""
    lo_ms: _Ms = 0
    """Where the search begins, included."""
    after: tuple[str, str] | None = None
    """Time and id of the last row, as they came: where the search goes on."""
    reached_ms: _Ms = 0
    """Time of the newest event of this window as far as it was read."""
    by_time_alone: bool = False
    """The tenant refuses to sort by time and id."""
    limit: int = 0
    """Rows to ask for until the window is over; 0: as configured."""
    counts: dict[str, int] = {}
    """Rows by span, of the hours that are still to be audited; a span without any is left out."""
    tied_ms: _Ms = 0
    tied: int = 0
    """Time of the last row that was counted, and how many of its like were."""
    audit_ms: _Ms = 0
    """Begin of the next hour to be audited."""
    audit_to_ms: _Ms = 0
    """Everything before it was read, and hours of it are due to be audited; 0: none is."""
    again: bool = False
    """The window is this hour, which is read again."""

    def cursor(self) -> Cursor:
        """As it is saved."""
        saved: dict[str, Any] = msgspec.to_builtins(self)
        return saved

    def changed(self, **changes: Any) -> Place:
        """The same but for `changes`."""
        return msgspec.structs.replace(self, **changes)

    def opened(self, now_ms: int, overlap_ms: int) -> Place:
        """With a new window, which ends now and reaches back over what may have been indexed late."""
        assert self.newest_ms is not None
        oldest = max(self.from_ms, now_ms - int(1000 * RETENTION_SECONDS), 0)
        # A clock that was set back makes the window wide, and never one that ends before it begins.
        begin = max(oldest, _floor(min(self.newest_ms, now_ms) - overlap_ms, SPAN_MS))
        return self.changed(reached_ms=0).with_window(begin, max(now_ms, begin))

    def with_window(self, lo_ms: int, hi_ms: int) -> Place:
        """With a window to be read from its first slice on."""
        due = _floor(hi_ms, HOUR_MS) - 2 * HOUR_MS
        audit_ms = self.audit_ms
        if not self.again and not due - AUDITED_MS <= audit_ms <= due + 3 * HOUR_MS:
            audit_ms = max(due, _floor(lo_ms + HOUR_MS - 1, HOUR_MS))
        counts = {span: n for span, n in self.counts.items() if not lo_ms <= _begin(span) < hi_ms}
        return self.changed(
            hi_ms=hi_ms,
            lo_ms=lo_ms,
            end_ms=min(lo_ms + SLICE_MS, hi_ms),
            after=None,
            tied_ms=0,
            tied=0,
            audit_ms=audit_ms,
            counts={span: n for span, n in counts.items() if _begin(span) >= audit_ms},
        )

    def next_slice(self) -> Place:
        """With the slice behind this one."""
        assert self.hi_ms is not None
        return self.changed(lo_ms=self.end_ms, end_ms=min(self.end_ms + SLICE_MS, self.hi_ms), after=None)

    def closed(self) -> Place:
        """Without its window, which has been read to its end."""
        assert self.hi_ms is not None
        newest = max(self.newest_ms or 0, self.reached_ms)
        if not self.again and (self.newest_ms is None or newest < self.hi_ms - STILL_MS - HOUR_MS // 2):
            # A quiet tenant, or an index that stands still: not too far back, and not saved anew at every poll.
            newest = max(newest, self.hi_ms - STILL_MS, self.from_ms)
        at_rest = self.changed(
            newest_ms=min(newest, max(self.hi_ms, self.newest_ms or 0)),
            hi_ms=None,
            end_ms=0,
            lo_ms=0,
            after=None,
            reached_ms=0,
            tied_ms=0,
            tied=0,
            limit=0,
            again=False,
        )
        return at_rest.audited() if self.again else at_rest.with_audit(self.hi_ms)

    @property
    def auditing(self) -> bool:
        """Whether the count of an hour is to be asked for next."""
        return self.hi_ms is None and self.audit_to_ms > 0

    def with_audit(self, read_to_ms: int) -> Place:
        """With the next audit, if its hour is old enough; what was not read yet is none of its business."""
        return self.changed(audit_to_ms=read_to_ms if self.audit_ms + 2 * HOUR_MS <= read_to_ms else 0)

    def audited(self) -> Place:
        """With the hour that was audited behind it."""
        audit_ms = self.audit_ms + HOUR_MS
        counts = {span: n for span, n in self.counts.items() if _begin(span) >= audit_ms}
        return self.changed(audit_ms=audit_ms, counts=counts).with_audit(self.audit_to_ms)

    def counting(self, times: Sequence[int | None]) -> Place:
        """With rows counted that will not be read again; `times` in their order, None where a row has none."""
        last = next((time for time in reversed(times) if time is not None), self.audit_ms)
        if not times or last < self.audit_ms:
            return self
        stood = []
        before = max(self.lo_ms, self.reached_ms)
        for time in times:  # a row without a time stands where it was sorted
            before = before if time is None else time
            stood.append(before)
        counts = dict(self.counts)
        for span, n in Counter(time // SPAN_MS for time in stood if time >= self.audit_ms).items():
            counts[str(span)] = counts.get(str(span), 0) + n
        tied = stood.count(before)
        if tied == len(stood) and before == self.tied_ms:
            tied += self.tied
        return self.changed(counts=counts, tied_ms=before, tied=tied)

    def again_from(self, begin_ms: int) -> Place:
        """Going on at the time of the last row, whose like are read again and must not be counted twice."""
        counts = dict(self.counts)
        span = str(begin_ms // SPAN_MS)
        if self.tied_ms == begin_ms and span in counts:
            counts[span] -= self.tied
        return self.changed(lo_ms=begin_ms, after=None, counts=counts, tied_ms=0, tied=0)

    def sorted_by_time_alone(self, stopped_ms: int | None) -> Place:
        """Going on without ids in the sort, from the span that was being read."""
        begin = self.lo_ms if stopped_ms is None else max(self.lo_ms, _floor(stopped_ms, SPAN_MS))
        counts = {span: n for span, n in self.counts.items() if not begin <= _begin(span) < self.end_ms}
        if begin % SPAN_MS:  # in the middle of a span: what of it was counted before is not known
            begin = max(self.from_ms, _floor(begin, SPAN_MS))
            counts.pop(str(begin // SPAN_MS), None)
        return self.changed(by_time_alone=True, lo_ms=begin, after=None, counts=counts, tied_ms=0, tied=0)

    @property
    def counted(self) -> int:
        """Rows of the hour that is to be audited."""
        end = self.audit_ms + HOUR_MS
        return sum(n for span, n in self.counts.items() if self.audit_ms <= _begin(span) < end)


def place_of(cursor: Cursor | None, scope: str) -> Place:
    """Read a saved cursor, whatever its age and shape; a window belongs to the tenant where it was opened."""
    if cursor is None:
        return Place(scope)
    try:
        place = msgspec.convert(cursor, Place)
        _ = [_begin(span) for span in place.counts]
    except (msgspec.ValidationError, ValueError):
        newest = cursor.get("newest_ms")
        return Place(scope, newest_ms=newest if type(newest) is int and 0 <= newest < 2**47 else None)
    return place if place.scope == scope else Place(scope, place.from_ms, place.newest_ms)


def remember_from(place: Place, overlap_ms: int) -> int:
    """The oldest time that may be read again."""
    reached = max(place.reached_ms, place.newest_ms or 0)
    back = _floor(max(0, reached - max(overlap_ms, SPAN_MS)), SPAN_MS)
    return min(back, place.audit_ms) if place.audit_ms else back


def _floor(ms: int, step: int) -> int:
    return ms // step * step


def _begin(span: str) -> int:
    return int(span) * SPAN_MS
