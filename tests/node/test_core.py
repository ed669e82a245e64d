"""Laws of the pure core, against a host, a driver and a registry that are as unreliable as a seed likes.

The driver may carry out a call that seemed to fail, at any later moment until the same target's next two negations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from volstore.node.codes import DONE as CERTAIN
from volstore.node.codes import FINAL, NOT_SENT, PENDING, UNKNOWN, WAITS
from volstore.node.mountinfo import Mount
from volstore.node.record import ABSENT, UNDOING, PluginView, Record, Seen
from volstore.node.steps import (
    BIND,
    CLEAN_UP,
    FORGET,
    MAKE_READ_ONLY,
    PUBLISH,
    STAGE,
    UNBIND,
    UNPUBLISH,
    UNSTACK,
    UNSTAGE,
    Step,
    next_step,
)
from volstore.node.transitions import NOT_MOUNTED, Outcome, begin, bound, finish, loaded, rebuilt
from volstore.node.work import Attachment, Claim

ALLOCATIONS = ("a1", "a2", "a3")
FAILURES = (UNKNOWN, PENDING, WAITS, FINAL, NOT_SENT)


def mount(point: str, *, read_only: bool = False, root: str = "/volume") -> Mount:
    return Mount("8:1", root, point, frozenset({"ro" if read_only else "rw"}), "ext4", True)


@dataclass
class World:
    """A volume on a host. The lists hold what could still happen late."""

    stages: bool
    staged: bool = False
    targets: dict[str, list[Mount]] = field(default_factory=dict)
    paths: dict[str, list[Mount]] = field(default_factory=dict)
    late: list[tuple[str, bool]] = field(default_factory=list)
    negations: dict[str, int] = field(default_factory=dict)

    def seen(self) -> Seen:
        return Seen(
            targets={item: tuple(mounts) for item, mounts in self.targets.items() if mounts},
            paths={item: tuple(mounts) for item, mounts in self.paths.items() if mounts},
        )

    def perform(self, step: Step, desired: Attachment | None, record: Record, outcome: str, effect: bool) -> Outcome:
        """What a step does here, checked against what a driver must never be told."""
        if step.kind == STAGE:
            self.staged = self.staged or effect or outcome == CERTAIN
        elif step.kind == UNSTAGE:
            assert not any(self.targets.values()), "unstaged while a target is there"
            if outcome == CERTAIN or effect:
                self.staged = False
        elif step.kind == PUBLISH:
            assert not self.stages or self.staged, "published before it was staged"
            read_only = record.targets[step.item].read_only
            self.negations[step.item] = 0
            if outcome == CERTAIN or effect:
                self.targets.setdefault(step.item, []).append(mount("t", read_only=read_only and effect))
            elif outcome in (UNKNOWN, PENDING):
                self.late.append((step.item, read_only))
            if outcome == CERTAIN and not self.targets.get(step.item):
                return Outcome(NOT_MOUNTED)
        elif step.kind in (UNPUBLISH, CLEAN_UP):
            assert len(self.targets.get(step.item, ())) < 2, "told to unpublish a stack of mounts"
            assert not self.paths.get(step.item), "unpublished while the user's path shows it"
            if outcome == CERTAIN or effect:
                self.targets[step.item] = []
            self.negations[step.item] = self.negations.get(step.item, 0) + 1 if outcome == CERTAIN else 0
            if self.negations[step.item] == 2:
                self.late = [late for late in self.late if late[0] != step.item]
        elif step.kind == UNSTACK:
            del self.targets[step.item][1:]
        elif step.kind == MAKE_READ_ONLY:
            self.targets[step.item][-1] = mount("t", read_only=True)
        elif step.kind == UNBIND:
            if outcome != CERTAIN:
                return Outcome(UNKNOWN)
            self.paths[step.item] = []
        return Outcome(outcome)


def take(world: World, record: Record, step: Step, desired: Attachment | None, outcome: str, effect: bool) -> Record:
    begun = begin(record, step, desired, world.seen())
    if step.kind == BIND:
        shown = world.targets[step.item][-1]
        begun = bound(begun, step.item, shown.origin, made=True)
        claim = next(claim for claim in desired.claims if claim.allocation_id == step.item) if desired else None
        assert claim is not None
        assert shown.read_only or claim.mode != "read", "a user sees a writable mount where reading was claimed"
        world.paths.setdefault(step.item, []).append(shown)
        return begun
    return finish(begun, step, world.perform(step, desired, begun, outcome, effect))


def _claims(random: Random) -> list[Claim]:
    return [
        Claim(
            allocation_id=item,
            namespace="default",
            volume_id="v",
            mode=random.choice(["read", "write", "write"]),
            path=random.choice(["", "/srv/x"]),
            released=random.random() < 0.4,
        )
        for item in random.sample(ALLOCATIONS, random.randint(0, len(ALLOCATIONS)))
    ]


def run(random: Random, events: int) -> None:
    """Random events, then quiet: all must come to be as it is wanted, and nothing forbidden be done on the way."""
    stages = random.random() < 0.7
    world = World(stages)
    desired = Attachment(plugin_id="p", external_id="v", state="attached")
    record = rebuilt(desired, world.seen(), "boot")
    up = True
    for _ in range(random.randint(0, events)):
        effect = random.random() < 0.5
        match random.choices(
            ["want", "step", "crash", "late", "stack", "reboot", "plugin"], [2, 12, 2, 1, 1, 0.3, 0.5]
        )[0]:
            case "want":
                wanted = replace(
                    desired,
                    state=random.choice(["attaching", "attached", "attached", "attached", "leaving"]),
                    access_mode=random.choice(["single-node-writer", "multi-node-multi-writer"]),
                    claims=_claims(random),
                )
                desired = replace(wanted, claims=_all_listed(wanted, record))
            case "step":
                outcome = CERTAIN if random.random() < 0.6 else random.choice(FAILURES)
                step = next_step(desired, record, world.seen(), _plugin(stages, up))
                if isinstance(step, Step) and step.kind != FORGET:
                    record = take(world, record, step, desired, outcome, effect and outcome != NOT_SENT)
            case "crash":
                # The agent dies after its record was written and before it heard of the outcome.
                step = next_step(desired, record, world.seen(), _plugin(stages, up))
                if isinstance(step, Step) and step.kind not in (FORGET, BIND):
                    begun = begin(record, step, desired, world.seen())
                    world.perform(step, desired, begun, random.choice([CERTAIN, UNKNOWN]), effect)
                    record = begun
                record = loaded(record, record.boot_id)
            case "late" if world.late:
                item, read_only = world.late.pop(random.randrange(len(world.late)))
                if not stages or world.staged:
                    world.targets.setdefault(item, []).append(mount("t", read_only=read_only))
            case "stack" if any(world.targets.values()):
                item = random.choice([item for item, mounts in world.targets.items() if mounts])
                world.targets[item].append(mount("t"))
            case "reboot":
                world.targets, world.paths, world.staged, world.late = {}, {}, False, []
                record = loaded(record, record.boot_id + "x")
            case "plugin":
                up = not up
    record = _settles(world, record, desired, stages)
    # The registry has heard that they are gone and lists them no more. Then the last late calls are carried out.
    desired = replace(desired, claims=[claim for claim in desired.claims if not claim.released])
    for item, read_only in world.late:
        if not stages or world.staged:
            world.targets.setdefault(item, []).append(mount("t", read_only=read_only))
    world.late = []
    _settles(world, record, desired, stages)
    wanted_items = {claim.allocation_id for claim in desired.claims}
    assert not [item for item, mounts in world.targets.items() if mounts and item not in wanted_items]


SEEDS = 3000


def test_whatever_happens_all_is_as_wanted_in_the_end_and_nothing_forbidden_was_done() -> None:
    for seed in range(SEEDS):
        try:
            run(Random(seed), events=60)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def _settles(world: World, record: Record, desired: Attachment, stages: bool) -> Record:
    """From here on everything works: then what is wanted comes about, in a bounded number of steps."""
    seen_wanted = {claim.allocation_id: claim for claim in desired.claims if not claim.released}
    for _ in range(200):
        step = next_step(desired, record, world.seen(), _plugin(stages, True))
        if not isinstance(step, Step) or step.kind == FORGET:
            break
        record = take(world, record, step, desired, CERTAIN, True)
    else:
        raise AssertionError("it never settles")
    released = {claim.allocation_id for claim in desired.claims if claim.released}
    for item in released:
        assert not world.targets.get(item)
        assert not world.paths.get(item)
    if desired.state == "attached":
        writers = [item for item, claim in seen_wanted.items() if claim.mode == "write"]
        for item, claim in seen_wanted.items():
            if claim.mode == "write" and desired.access_mode == "single-node-writer" and len(writers) > 1:
                continue
            assert len(world.targets[item]) == 1
            assert world.targets[item][0].read_only == (claim.mode == "read")
            assert bool(world.paths.get(item)) == bool(claim.path)
    if not seen_wanted and desired.state == "leaving":
        assert not world.staged
        assert record.stage.phase == ABSENT
        assert not any(target.progress.phase == UNDOING for target in record.targets.values())
    return record


def _all_listed(wanted: Attachment, record: Record) -> list[Claim]:
    """A registry that hasn't lost anything lists what this node has, as released if it isn't claimed any more."""
    claims = {claim.allocation_id: claim for claim in wanted.claims}
    for item, target in record.targets.items():
        if item not in claims and target.progress.phase != ABSENT:
            claims[item] = Claim(allocation_id=item, namespace="default", volume_id="v", released=True)
    if wanted.state == "leaving":
        return [replace(claim, released=True) for claim in claims.values()]
    return list(claims.values())


def _plugin(stages: bool, up: bool) -> PluginView:
    return PluginView(why_not="" if up else "down", stages=stages)
