"""Which request meets which fault: by order (so many times, on this path) or by chance with a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random

from collectord.demo.exchange import Call
from collectord.demo.faults import CHAOS, Fault


@dataclass(slots=True)
class Planned:
    """One fault that waits for its requests."""

    fault: Fault
    path: str
    """Pattern of the path without query: `*` stands for anything."""
    times: int | None
    """Requests still to be hit; None = until cleared."""
    after: int
    """Matching requests to let pass first."""
    when: Callable[[Call], bool] | None


class FaultPlan:
    """The faults that are to come; the first that fits a request is played."""

    def __init__(self) -> None:
        self._planned: list[Planned] = []
        self._rate = 0.0
        self._random = Random()
        self._kinds: Sequence[Fault] = CHAOS

    @property
    def pending(self) -> int:
        """Faults ordered by number that no request has met yet."""
        return sum(planned.times or 0 for planned in self._planned)

    def add(
        self,
        fault: Fault,
        *,
        path: str = "*",
        times: int | None = 1,
        after: int = 0,
        when: Callable[[Call], bool] | None = None,
    ) -> None:
        self._planned.append(Planned(fault, path, times, after, when))

    def chaos(self, rate: float, seed: int, kinds: Sequence[Fault] = CHAOS) -> None:
        """From now on each request meets a fault with this probability; 0 ends it."""
        self._rate, self._random, self._kinds = rate, Random(seed), kinds

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._planned.clear()
        self._rate = 0.0

    def take(self, call: Call) -> Fault | None:
        """The fault for this request, which is thereby used up."""
        for planned in self._planned:
            if not fnmatchcase(call.path, planned.path) or (planned.when and not planned.when(call)):
                continue
            if planned.after:
                planned.after -= 1
                continue
            if planned.times is not None:
                planned.times -= 1
                if planned.times <= 0:
                    self._planned.remove(planned)
            return planned.fault
        if self._rate and self._random.random() < self._rate:
            return self._random.choice(self._kinds)
        return None
