"""Histories written by hand: requests and finals in few words, for tests of what is judged."""

from __future__ import annotations

from itertools import count
from typing import Any

from volstore.drill.checks import judge
from volstore.drill.final_state import Final, Held
from volstore.drill.record import Absence, Check, Kind, Outage, Outcome, Request
from volstore.drill.scenario import Objective

ANY = Objective(None, None, None, "nothing is asked")
KEPT = "No acknowledged write is lost"
ONCE = "Every write takes effect once, or not at all where it was refused"
LINEARIZABLE = "Every volume's history is linearizable"
ORDER = "Later requests see no earlier state"
FRESH = "Stale reads are no older than they say, and never go back"
SAME = "All nodes hold the same state"


class History:
    """Requests one after the other, each from second n to n + 0.5, on node s1, volume "a", by one client."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._numbers = count(1)

    def _add(self, kind: Kind, outcome: Outcome, fields: dict[str, Any]) -> Request:
        number = next(self._numbers)
        start = fields.pop("start", float(number))
        given = {"client": 1, "node": "s1", "volume": "a", "end": start + 0.5, **fields}
        request = Request(number=number, kind=kind, outcome=outcome, start=start, **given)
        self.requests.append(request)
        return request

    def register(self, value: str, index: int | None, **fields: Any) -> Request:
        """Done at `index`; None: unknown."""
        outcome = Outcome.DONE if index is not None else Outcome.UNKNOWN
        return self._add(Kind.REGISTER, outcome, {"value": value, "index": index, **fields})

    def refused(self, value: str, **fields: Any) -> Request:
        return self._add(Kind.REGISTER, Outcome.REFUSED, {"value": value, "status": 503, **fields})

    def deregister(self, index: int | None, **fields: Any) -> Request:
        outcome = Outcome.DONE if index is not None else Outcome.UNKNOWN
        return self._add(Kind.DEREGISTER, outcome, {"index": index, **fields})

    def finds_nothing(self, **fields: Any) -> Request:
        return self._add(Kind.DEREGISTER, Outcome.REFUSED, {"status": 404, **fields})

    def read(self, value: str | None, index: int, **fields: Any) -> Request:
        return self._add(
            fields.pop("kind", Kind.READ_DEFAULT), Outcome.DONE, {"value": value, "index": index, **fields}
        )

    def stale(self, value: str | None, index: int, staleness: float | None, **fields: Any) -> Request:
        return self.read(value, index, kind=Kind.READ_STALE, staleness=staleness, **fields)

    def judged(
        self,
        *finals: Final,
        absences: tuple[Absence, ...] = (),
        outages: tuple[Outage, ...] = (),
        objective: Objective = ANY,
    ) -> dict[str, Check]:
        return {check.name: check for check in judge(self.requests, finals, outages, objective, absences)}

    def violations(self, *finals: Final, absences: tuple[Absence, ...] = ()) -> list[str]:
        """The names of the checks that are not passed, but for that of whether there was a load at all."""
        checks = self.judged(*finals, absences=absences)
        return [name for name, check in checks.items() if not check.passed and name != "There was a load"]


def holds(index: int = 9, node: str = "s1", digest: str = "d", **volumes: tuple[str, int]) -> Final:
    """What a node holds at the end: volumes as (value, ModifyIndex)."""
    return Final(node, index, digest, {name: Held(*held) for name, held in volumes.items()})
