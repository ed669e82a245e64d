"""All checks of a drill's record: one for each promise and each objective. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from volstore.drill import checks_order, checks_volumes
from volstore.drill.final_state import Final
from volstore.drill.history import failed, lines, writes
from volstore.drill.record import Absence, Check, Kind, Outage, Outcome, Request
from volstore.drill.scenario import Objective

SHOWN = 12
"""The most requests that a check shows."""


def judge(
    requests: Sequence[Request],
    finals: Sequence[Final],
    outages: Sequence[Outage],
    objective: Objective,
    absences: Sequence[Absence],
) -> list[Check]:
    """One check for each promise, then one for each objective.

    `requests` are all requests of a drill whose load has ended, `finals` the final state of every node, `absences` the
    times in which the drill had broken a node on purpose.
    """
    asked = writes(requests)
    return [
        _something_done(requests),
        checks_volumes.kept(asked, finals),
        checks_volumes.once(asked, requests, finals),
        checks_volumes.linearizable(asked, requests, finals),
        checks_order.in_order(asked, requests),
        checks_order.as_fresh_as_claimed(asked, requests, absences),
        _same_state(finals),
        _outage("writes", outages, objective.write_outage, objective.why),
        _outage("reads", outages, objective.read_outage, objective.why),
        _failed(requests, absences, objective),
    ]


def _something_done(requests: Sequence[Request]) -> Check:
    """Check that writes and reads were done: a drill without load proves nothing."""
    done = [request.kind for request in requests if request.outcome is Outcome.DONE]
    counts = ", ".join(f"{done.count(kind)} {kind.value}" for kind in Kind)
    passed = Kind.REGISTER in done and any(not kind.writes for kind in done)
    why = "" if passed else "; without successful writes and reads nothing is proven"
    return Check("There was a load", passed, f"{len(done)} of {len(requests)} requests done: {counts}{why}")


def _same_state(finals: Sequence[Final]) -> Check:
    name = "All nodes hold the same state"
    unasked = [f"{final.node}: {final.error}" for final in finals if final.error]
    if unasked:
        return Check(name, False, "not every node answered", unasked)
    shown = [f"{final.node} at index {final.index}: {final.digest}" for final in finals]
    if len({final.index for final in finals}) != 1:
        return Check(name, False, "the nodes did not reach the same index: one lags, or is still cut off", shown)
    if len({final.digest for final in finals}) != 1:
        return Check(name, False, f"the digests at index {finals[0].index} differ", shown)
    return Check(name, True, f"digest {finals[0].digest} at index {finals[0].index} on {len(finals)} nodes")


def _outage(what: str, outages: Sequence[Outage], most: float | None, why: str) -> Check:
    """Check the longest outage against the objective. If it is missed, show the reason for the objective."""
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
    of = f"{len(found)} of {len(requests)} requests failed on nodes that should have answered"
    history = lines(found)[:SHOWN]
    if most is None:
        return Check("Failed requests", True, f"{of}; not judged here: {objective.why}", history)
    name = f"At most {most} failed requests" if most else "No failed request"
    passed = len(found) <= most
    return Check(name, passed, of if passed else f"{of}: {objective.why}", history)
