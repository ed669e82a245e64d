"""Results of drills that never were, for what no real one shows: one that failed, one that is hostile, one of a day."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from volstore.drill.record import Check, Event, Kind, Outage, Outcome, Request, Result

HOSTILE = "<script>alert('x')</script>\"&amp;</pre>]]>--><b>|*_`\x1b[31m\x00\ud800 @all #1 http://127.0.0.1/ www.x"


def nothing() -> Result:
    """A drill in which nothing came about."""
    return Result("nothing", "", "", 0, 0.0, 0.0, [], {}, {}, [], [], [], [])


def failed(result: Result, *, lines: int = 4) -> Result:
    """The same drill, that lost a write."""
    history = [f"{n}.00 s  client 1 at s1  register v{n}: done (`index {n}`)" for n in range(lines)]
    return replace(result, checks=[*result.checks, Check("No write lost", False, "1 of 200 is gone", history)])


def hostile() -> Result:
    """Every text of it is somebody else's."""
    said = HOSTILE
    done = Request(1, 1, said, Kind.REGISTER, said, 0.0, 1.0, Outcome.DONE, 200, said)
    return Result(
        scenario=said,
        about=said,
        target=said,
        seed=1,
        started=0.0,
        seconds=2.0,
        nodes=[said],
        configuration={said: {said: [said]}},
        versions={said: said},
        requests=[done, replace(done, outcome=Outcome.REFUSED, error=said), replace(done, outcome=Outcome.UNKNOWN)],
        events=[Event(0.5, what, said, said) for what in ("phase", "leader", "fault", "heal", "note")],
        outages=[Outage(said, "writes", 0.5, 0.3, said), Outage(said, "reads", 0.5, 0.3)],
        checks=[Check(said, False, said, [said, said]), Check(said, True, said)],
    )


def long(seconds: float = 86_400.0, requests: int = 20_000, faults: int = 3_000) -> Result:
    """A gauntlet of a day on five nodes, as far as the report's size depends on it."""
    random = Random(9)
    nodes = [f"s{n}" for n in range(1, 6)]
    made: list[Request] = []
    for number in range(requests):
        start = seconds * number / requests
        outcome = random.choices(list(Outcome), [96, 2, 2])[0]
        made.append(
            Request(
                number,
                number % 15,
                nodes[number % 5],
                random.choice(list(Kind)),
                f"drill-{number % 60}",
                start,
                start + random.lognormvariate(-6, 1.2),
                outcome,
                200 if outcome is Outcome.DONE else None,
                error="" if outcome is Outcome.DONE else f"no answer, try {number}",
            )
        )
    events: list[Event] = []
    outages: list[Outage] = []
    for number in range(faults):
        at, node = seconds * (number + 0.5) / faults, random.choice(nodes)
        text = f"partition of {node}, fault {number}"
        events += [
            Event(at, "fault", text, node),
            Event(at + 0.4, "leader", "another leads", random.choice(nodes)),
            Event(at + seconds / faults / 3, "heal", text, node),
        ]
        outages += [Outage(text, "writes", at, random.random()), Outage(text, "reads", at, random.random(), node)]
    return replace(
        nothing(),
        scenario="gauntlet",
        about="Faults that are drawn, for a day.",
        seconds=seconds,
        nodes=nodes,
        requests=made,
        events=events,
        outages=outages,
    )
