"""Whatever is done to a journal, and wherever the power is cut: what was synced is there, and nothing is invented."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.storage.journal import Journal, JournalDamaged, JournalFailed
from tests.cluster.storage.memory_disk import MemoryDisk, PowerCut

State = tuple[Any, ...]
Step = tuple[Any, ...]

RESERVE_BYTES = 512
# Small segments roll all the time; large ones hold writes of many sectors, which a crash tears in the middle.
sizes = st.sampled_from([600, 20_000])

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 700), st.integers(0, 1)),
        st.tuples(st.just("append"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("truncate"), st.integers(0, 5)),
        st.tuples(st.just("vote"), st.integers(0, 2), st.sampled_from([None, "a", "b"])),
        st.tuples(st.just("drop"), st.integers(0, 8)),
        st.tuples(st.just("reset"), st.integers(0, 4)),
        st.tuples(st.just("sync")),
        st.tuples(st.just("start sync")),
        st.tuples(st.just("pause")),
    ),
    max_size=60,
)


def state_of(journal: Journal) -> State:
    entries = journal.slice(journal.base_index + 1, journal.last_index + 1, 1 << 40)
    return (
        journal.base_index,
        journal.base_term,
        tuple((entry.index, entry.term, entry.data) for entry in entries),
        journal.term,
        journal.voted_for,
    )


def open_journal(disk: MemoryDisk, size: int) -> Journal:
    return Journal.open(disk, segment_bytes=size, reserve_bytes=RESERVE_BYTES)


class Run:
    """One life of a journal: every state that it went through, and which of them a sync has promised to keep."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.states = [state_of(journal)]
        self.kept = 0
        self.syncs: list[asyncio.Task[None]] = []

    def change(self, step: Step) -> None:
        journal, kind = self.journal, step[0]
        if kind == "append":
            term = max(journal.term, journal.last_term) + step[2]
            journal.append(Random(step[1]).randbytes(step[1]), term)
        elif kind == "truncate":
            journal.truncate_from(max(journal.base_index + 1, journal.last_index - step[1]))
        elif kind == "vote":
            if step[1] or journal.voted_for is None:
                journal.set_vote(journal.term + step[1], step[2])
        elif kind == "drop":
            journal.drop_to(min(journal.last_index, journal.base_index + step[1]))
        elif kind == "reset":
            journal.reset(journal.base_index + step[1], journal.last_term)
        self.states.append(state_of(journal))

    async def sync(self) -> None:
        promised = len(self.states) - 1
        await self.journal.sync()
        self.kept = max(self.kept, promised)

    async def play(self, plan: list[Step]) -> None:
        for step in plan:
            if step[0] == "sync":
                await self.sync()
            elif step[0] == "start sync":
                self.syncs.append(asyncio.create_task(self.sync()))
            elif step[0] == "pause":
                await asyncio.sleep(0)
            else:
                self.change(step)
                assert self.journal.durable_index <= self.journal.last_index

    async def end(self) -> None:
        await asyncio.gather(*self.syncs, return_exceptions=True)
        cleaning = self.journal._cleaning
        if cleaning is not None:
            await asyncio.gather(cleaning, return_exceptions=True)

    def check(self, found: State) -> None:
        assert found in self.states[self.kept :]
        base, _, entries = found[:3]
        durable = self.journal.durable_index
        assert durable <= base + len(entries)
        for index, term, data in entries:
            if self.journal.base_index < index <= durable:
                assert self.journal.entry(index) == (data, index, term)


def in_a_loop(scene: Callable[[], Any]) -> None:
    asyncio.run(scene())


@settings(max_examples=300, deadline=None)
@given(
    lives=st.lists(st.tuples(steps, st.integers(0, 60)), min_size=1, max_size=4),
    seed=st.integers(0, 1 << 32),
    size=sizes,
)
def test_a_power_cut_at_any_moment_keeps_what_was_synced_and_invents_nothing(
    lives: list[tuple[list[Step], int]], seed: int, size: int
) -> None:
    async def scene() -> None:
        disk = MemoryDisk(Random(seed))
        run = Run(open_journal(disk, size))
        for plan, power in lives:
            disk.power = power
            with contextlib.suppress(PowerCut, JournalFailed):
                await run.play(plan)
            await run.end()
            disk = disk.crash()
            journal = open_journal(disk, size)
            run.check(state_of(journal))
            assert journal.durable_index == journal.last_index
            assert not journal.unsynced
            # What a journal shows when it opens is on the platter: cutting the power at once changes nothing.
            disk = disk.crash()
            again = open_journal(disk, size)
            assert state_of(again) == state_of(journal)
            run = Run(again)

    in_a_loop(scene)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 1500), min_size=1, max_size=20),
    synced=st.integers(0, 20),
    seed=st.integers(0, 1 << 32),
)
def test_a_write_that_was_torn_anywhere_is_cut_at_the_tear_whatever_of_it_came_after(
    lengths: list[int], synced: int, seed: int
) -> None:
    async def scene() -> None:
        disk = MemoryDisk(Random(seed))
        run = Run(open_journal(disk, 1 << 20))
        await run.play([("append", length, 0) for length in lengths[:synced]])
        await run.sync()
        await run.play([("append", length, 0) for length in lengths[synced:]])
        disk.power = 1
        with contextlib.suppress(PowerCut):
            await run.sync()
        run.check(state_of(open_journal(disk.crash(), 1 << 20)))

    in_a_loop(scene)


@settings(max_examples=100, deadline=None)
@given(plan=steps, seed=st.integers(0, 1 << 32), size=sizes, opening=st.integers(0, 30))
def test_a_power_cut_while_the_journal_opens_loses_nothing(
    plan: list[Step], seed: int, size: int, opening: int
) -> None:
    async def scene() -> None:
        disk = MemoryDisk(Random(seed))
        run = Run(open_journal(disk, size))
        await run.play(plan)
        await run.end()
        disk = disk.crash()
        disk.power = opening
        with contextlib.suppress(PowerCut):
            open_journal(disk, size)
        run.check(state_of(open_journal(disk.crash(), size)))

    in_a_loop(scene)


@settings(max_examples=200, deadline=None)
@given(
    lives=st.lists(
        st.tuples(steps, st.sampled_from(["sync", "append", "rename", "sync_folder", "remove"]), st.booleans()),
        min_size=1,
        max_size=3,
    ),
    seed=st.integers(0, 1 << 32),
    size=sizes,
)
def test_after_a_failed_operation_nothing_is_believed_and_a_reopened_journal_is_on_the_platter(
    lives: list[tuple[list[Step], str, bool]], seed: int, size: int
) -> None:
    async def scene() -> None:
        disk = MemoryDisk(Random(seed))
        run = Run(open_journal(disk, size))
        for plan, operation, crash in lives:
            disk.failures[operation] = [errno.EIO]
            try:
                await run.play(plan)
            except JournalFailed:
                assert run.journal.failed is not None
            await run.end()
            disk.failures.clear()
            journal = run.journal
            await journal.reopen()
            assert journal.failed is None
            run.check(state_of(journal))
            before = state_of(journal)
            if crash:
                disk = disk.crash()
                journal = open_journal(disk, size)
                assert state_of(journal) == before
            run = Run(journal)

    in_a_loop(scene)


@settings(max_examples=200, deadline=None)
@given(
    plan=steps, seed=st.integers(0, 1 << 32), size=sizes, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7)
)
def test_a_flipped_bit_after_a_clean_stop_is_found_wherever_it_is(
    plan: list[Step], seed: int, size: int, place: float, bit: int
) -> None:
    async def scene() -> None:
        disk = MemoryDisk(Random(seed))
        run = Run(open_journal(disk, size))
        await run.play(plan)
        await run.end()
        await run.journal.close()
        names = sorted(name for name in disk.files if name.startswith("journal/"))
        contents = [disk.files[name].cached for name in names]
        offset = int(place * sum(map(len, contents)))
        for content in contents:
            if offset < len(content):
                content[offset] ^= 1 << bit
                break
            offset -= len(content)
        try:
            found = open_journal(disk, size)
        except JournalDamaged:
            return
        # In the closing mark, or in bytes that don't count any more, it may do no harm; nowhere else.
        assert state_of(found) == run.states[-1]

    in_a_loop(scene)


@settings(max_examples=100, deadline=None)
@given(
    plan=steps, seed=st.integers(0, 1 << 32), size=sizes, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7)
)
def test_a_flipped_bit_after_a_crash_never_becomes_an_entry(
    plan: list[Step], seed: int, size: int, place: float, bit: int
) -> None:
    async def scene() -> None:
        disk = MemoryDisk(Random(seed))
        run = Run(open_journal(disk, size))
        await run.play(plan)
        await run.end()
        name = max(name for name in disk.files if name.endswith(".segment"))
        content = disk.files[name].cached
        content[int(place * len(content))] ^= 1 << bit
        try:
            found = open_journal(disk, size)
        except JournalDamaged:
            return
        assert state_of(found) in run.states

    in_a_loop(scene)
