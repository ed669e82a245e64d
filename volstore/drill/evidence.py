"""Was everything kept that was promised? The whole judgement over what a drill wrote down; pure."""

from __future__ import annotations

from collections.abc import Sequence

from volstore.drill import evidence_order, evidence_volumes
from volstore.drill.finals import Final
from volstore.drill.history import failed, lines, writes
from volstore.drill.record import Absence, Check, Kind, Outage, Outcome, Request
from volstore.drill.scenario import Objective

SHOWN = 12
"""Requests that a check shows at most."""


def judge(
    requests: Sequence[Request],
    finals: Sequence[Final],
    outages: Sequence[Outage],
    objective: Objective,
    absences: Sequence[Absence],
) -> list[Check]:
    """One check for each promise, then one for each objective.

    `requests` are all of a drill whose load has ended, `finals` what every node held afterwards, `absences` when the
    drill had broken a node on purpose.
    """
    asked = writes(requests)
    return [
        _something_done(requests),
        evidence_volumes.kept(asked, finals),
        evidence_volumes.once(asked, requests, finals),
        evidence_volumes.linearizable(asked, requests, finals),
        evidence_order.in_order(asked, requests),
        evidence_order.as_fresh_as_claimed(asked, requests, absences),
        _same_state(finals),
        _outage("writes", outages, objective.write_outage, objective.why),
        _outage("reads", outages, objective.read_outage, objective.why),
        _failed(requests, absences, objective),
    ]


def _something_done(requests: Sequence[Request]) -> Check:
    """Nothing done is nothing proven."""
    done = [request.kind for request in requests if request.outcome is Outcome.DONE]
    counts = ", ".join(f"{done.count(kind)} {kind.value}" for kind in Kind)
    passed = Kind.REGISTER in done and any(not kind.writes for kind in done)
    why = "" if passed else "; without writes and reads that were done nothing is proven"
    return Check("There was a load", passed, f"{len(done)} of {len(requests)} requests done: {counts}{why}")


def _same_state(finals: Sequence[Final]) -> Check:
    name = "All nodes hold the same state"
    unasked = [f"{final.node}: {final.error}" for final in finals if final.error]
    if unasked:
        return Check(name, False, "not every node could be asked", unasked)
    shown = [f"{final.node} at index {final.index}: {final.digest}" for final in finals]
    if len({final.index for final in finals}) != 1:
        return Check(name, False, "the nodes did not come to the same index: one lags, or is cut off still", shown)
    if len({final.digest for final in finals}) != 1:
        return Check(name, False, f"the digests at index {finals[0].index} differ", shown)
    return Check(name, True, f"digest {finals[0].digest} at index {finals[0].index} on {len(finals)} nodes")


def _outage(what: str, outages: Sequence[Outage], most: float | None, why: str) -> Check:
    """The longest of them against the objective; why that is what it is, where it was missed."""
    longest = max((one for one in outages if one.what == what), key=lambda one: one.seconds, default=None)
    felt = "no fault was measured"
    if longest is not None:
        where = f"at {longest.node}" if longest.node else "on all nodes"
        felt = f"{longest.seconds:.3f} s {where} from {longest.start:.3f} s on, after {longest.fault}"
    if most is None:
        return Check(f"Outage of {what}", True, f"{felt}; not judged here: {why}")
    passed = longest is not None and longest.seconds <= most
    return Check(f"Outage of {what} at most {most:g} s", passed, felt if passed else f"{felt}: {why}")


def _failed(requests: Sequence[Request], absences: Sequence[Absence], objective: Objective) -> Check:
    found, most = failed(requests, absences), objective.failed_requests
    of = f"{len(found)} of {len(requests)} requests failed on nodes that were meant to answer"
    history = lines(found)[:SHOWN]
    if most is None:
        return Check("Failed requests", True, f"{of}; not judged here: {objective.why}", history)
    name = f"At most {most} failed requests" if most else "No failed request"
    passed = len(found) <= most
    return Check(name, passed, of if passed else f"{of}: {objective.why}", history)
