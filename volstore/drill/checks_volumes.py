"""Checks each volume: no acknowledged write is lost, each took effect once, and the history is linearizable. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from volstore.drill.final_state import Final, Held
from volstore.drill.history import Effect, Write, line, lines
from volstore.drill.linearizability import Operation, TooManyStates
from volstore.drill.record import Check, Kind, Outcome, Request
from volstore.drill.shrinking import Known, explained, shrink

_SHOWN = 20
_CLASHES = (400, 404, 409)
"""Statuses with which the state machine refuses a command."""


def kept(asked: Sequence[Write], finals: Sequence[Final]) -> Check:
    """On every node each volume is as its last acknowledged write, or a later write without an answer, left it."""
    name = "No acknowledged write is lost"
    acknowledged = sum(write.effect is Effect.DONE for write in asked)
    lost: list[tuple[Write, str]] = []
    volumes = _by_volume(asked)
    for node in finals:
        if node.error:
            return Check(name, False, f"{node.node} could not be read at the end: {node.error}")
        for volume, of_volume in volumes.items():
            last = max((w for w in of_volume if w.effect is Effect.DONE), key=_index, default=None)
            held = node.volumes.get(volume)
            if last is not None and not _explains(last, of_volume, held):
                lost.append((last, _holds(node, volume)))
    if not lost:
        return Check(name, True, f"{acknowledged} acknowledged writes looked for on {len(finals)} nodes")
    shown = [text for write, held in lost[: _SHOWN // 2] for text in (line(_answered(write)), held)]
    detail = (
        f"{len({write.volume for write, _ in lost})} of {len(volumes)} volumes are not as acknowledged writes left them"
    )
    return Check(name, False, detail, shown)


def _explains(last: Write, of_volume: Sequence[Write], held: Held | None) -> bool:
    """Whether `held` is possible if `last` is the acknowledged write with the highest index."""
    if held is None:
        return last.value is None or any(w.effect is Effect.UNKNOWN and w.value is None for w in of_volume)
    if last.value == held.value:
        return True
    writers = (write for write in of_volume if write.value == held.value)
    return any(write.effect is Effect.UNKNOWN for write in writers) and held.index > _index(last)


def once(asked: Sequence[Write], requests: Sequence[Request], finals: Sequence[Final]) -> Check:
    """No write took effect twice, no refused write took effect, and every value was written by somebody."""
    name = "Every write takes effect once, or not at all where it was refused"
    for detail, history in _strange(asked, requests, finals):
        return Check(name, False, detail, history)
    repeated = sum(len(write.requests) > 1 for write in asked)
    refused = sum(write.effect is Effect.NONE for write in asked)
    return Check(
        name, True, f"{len(asked)} writes, {repeated} of them repeated under their key, {refused} refused on all tries"
    )


def _strange(
    asked: Sequence[Write], requests: Sequence[Request], finals: Sequence[Final]
) -> Iterator[tuple[str, list[str]]]:
    at: dict[int, Write] = {}
    for write in asked:
        done = [request for request in write.requests if request.outcome is Outcome.DONE]
        if len({request.index for request in done}) > 1:
            yield "a repeat under the same Idempotency-Key was carried out as another write", lines(done)
        again = [r for r in write.requests if r.status in _CLASHES and done and r.start >= done[0].end]
        if again:
            yield "a repeat of an acknowledged write was executed again", lines([done[0], again[0]])
        if write.effect is Effect.DONE and write.index is not None:
            if write.index in at:
                other = at[write.index]
                yield f"two writes were answered index {write.index}", lines([_answered(other), _answered(write)])
            at[write.index] = write
    writers = {write.value: write for write in asked if write.value is not None}
    for request in requests:
        if not request.kind.writes and request.outcome is Outcome.DONE and request.value is not None:
            detail = _impossible(request.value, request.volume, writers)
            if detail:
                yield detail, lines([*_requests_of(writers.get(request.value)), request])
    for node in finals:
        for volume, held in node.volumes.items():
            writer = writers.get(held.value)
            detail = _impossible(held.value, volume, writers)
            if not detail and writer is not None and writer.effect is Effect.DONE and held.index != writer.index:
                detail = (
                    f"the write of {held.value} was answered index {writer.index}, and took effect at {held.index} too"
                )
            if detail:
                yield detail, [*lines(_requests_of(writer)), _holds(node, volume)]


def _impossible(value: str, volume: str, writers: dict[str, Write]) -> str:
    """Why `volume` can't have had `value`; "" if it may have had it."""
    writer = writers.get(value)
    if writer is None or writer.volume != volume:
        return f"{volume} shows {value}, which nobody wrote there"
    return f"{volume} shows {value}, whose write was refused" if writer.effect is Effect.NONE else ""


def linearizable(asked: Sequence[Write], requests: Sequence[Request], finals: Sequence[Final]) -> Check:
    """For each volume, some order of its operations within their times explains every answer."""
    name = "Every volume's history is linearizable"
    histories = _histories(asked, requests, finals)
    undecided = []
    for volume, history in histories.items():
        try:
            if explained(history):
                continue
        except TooManyStates as error:
            undecided.append(f"{volume}: {error}")
            continue
        rest = shrink(history)
        detail = f"no order explains the answers about {volume}; {len(rest)} of its {len(history)} operations show it"
        return Check(name, False, detail, rest)
    if undecided:
        return Check(name, False, f"{len(undecided)} of {len(histories)} histories could not be decided", undecided)
    operations = sum(len(history) for history in histories.values())
    return Check(name, True, f"{operations} operations on {len(histories)} volumes")


def _histories(
    asked: Sequence[Write], requests: Sequence[Request], finals: Sequence[Final]
) -> dict[str, list[Known[str]]]:
    """The history of each volume; the final state of each node counts as a read at the end."""
    found: dict[str, list[Known[str]]] = defaultdict(list)
    end = 0.0
    for write in asked:
        operation = _operation(write)
        if operation is not None:
            found[write.volume].append(Known(operation, line(_answered(write))))
    for request in requests:
        end = max(end, request.end)
        if request.kind in (Kind.READ_DEFAULT, Kind.READ_CONSISTENT) and request.outcome is Outcome.DONE:
            operation = Operation(request.start, request.end, ("read",), request.value)
            found[request.volume].append(Known(operation, line(request)))
    for node in finals:
        for volume, history in found.items():
            if not node.error:
                held = node.volumes.get(volume)
                operation = Operation(end + 1, end + 2, ("read",), held.value if held else None)
                history.append(Known(operation, _holds(node, volume)))
    return found


def _operation(write: Write) -> Operation | None:
    if write.effect is Effect.NONE:
        return None
    if write.kind is Kind.REGISTER:
        return Operation(write.start, write.end, ("write", write.value), True if write.end is not None else None)
    output = None if write.end is None else write.effect is Effect.DONE
    return Operation(write.start, write.end, ("delete",), output)


def _by_volume(asked: Iterable[Write]) -> dict[str, list[Write]]:
    found: dict[str, list[Write]] = defaultdict(list)
    for write in asked:
        found[write.volume].append(write)
    return found


def _index(write: Write) -> int:
    return write.index if write.index is not None else 0


def _answered(write: Write) -> Request:
    """The request that shows a write's outcome best: the first that was answered, otherwise the last."""
    return next((request for request in write.requests if request.end == write.end), write.requests[-1])


def _requests_of(write: Write | None) -> Sequence[Request]:
    return write.requests if write is not None else ()


def _holds(node: Final, volume: str) -> str:
    held = node.volumes.get(volume)
    what = f"holds {volume}: {held.value}, ModifyIndex {held.index}" if held else f"does not hold {volume}"
    return f"at the end {node.node} {what}"
