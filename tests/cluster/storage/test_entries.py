"""The log in memory does what a plain list would do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.raft.storage import Entry
from cluster.storage.entries import EntryLog


def filled(count: int, *, base: int = 0, term: int = 1) -> EntryLog:
    log = EntryLog(base, term)
    for number in range(count):
        log.append(b"%d" % number, term)
    return log


@given(
    st.integers(0, 3000),
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 1500), st.integers(0, 1)),
            st.tuples(st.just("truncate"), st.floats(0, 1), st.none()),
            st.tuples(st.just("drop"), st.floats(0, 1), st.none()),
            st.tuples(st.just("reset"), st.integers(0, 1500), st.none()),
        ),
        max_size=10,
    ),
)
def test_it_agrees_with_a_list_at_every_index(base: int, changes: list[tuple[str, float, int | None]]) -> None:
    log, model, base_term = EntryLog(base, 3), list[Entry](), 3
    for kind, amount, step in changes:
        if kind == "append":
            term = log.last_term + (step or 0)
            for _ in range(int(amount)):
                index = log.append(b"%d" % len(model), term)
                model.append(Entry(b"%d" % len(model), index, term))
        elif kind == "truncate" and model:
            keep = int(amount * (len(model) - 1))
            log.truncate_from(model[keep].index)
            del model[keep:]
        elif kind == "drop" and model:
            drop = int(amount * len(model))
            if drop:
                base, base_term = model[drop - 1].index, model[drop - 1].term
                log.drop_to(base)
                del model[:drop]
        elif kind == "reset":
            base, base_term = log.last_index + int(amount), log.last_term
            log.reset(base, base_term)
            model.clear()
        assert (log.base_index, log.base_term) == (base, base_term)
        assert log.last_index == base + len(model)
        assert log.last_term == (model[-1].term if model else base_term)
        assert log.slice(base + 1, log.last_index + 1, 1 << 40) == model
        assert log.term_at(base) == base_term
        for entry in model[:: max(1, len(model) // 7)]:
            assert log.entry(entry.index) == entry
            assert log.term_at(entry.index) == entry.term


def test_a_slice_stops_at_its_bounds_and_at_its_bytes() -> None:
    log = filled(20)
    assert [entry.index for entry in log.slice(3, 6, 1000)] == [3, 4, 5]
    assert [entry.index for entry in log.slice(3, 100, 4)] == [3, 4, 5, 6]
    assert [entry.index for entry in log.slice(11, 21, 0)] == [11]
    assert log.slice(21, 30, 1000) == []
    assert log.slice(5, 5, 1000) == []


def test_an_index_outside_the_log_is_refused_naming_what_there_is() -> None:
    log = filled(5, base=10)
    for index in (0, 10, 16):
        with pytest.raises(IndexError, match="entries 11 to 15"):
            log.entry(index)
    for start in (10, 17):
        with pytest.raises(IndexError, match="entries 11 to 15"):
            log.slice(start, 20, 1)
    assert log.term_at(9) is None
    assert log.term_at(16) is None


def test_what_a_snapshot_covers_is_not_truncated_and_what_is_not_there_not_dropped() -> None:
    log = filled(5, base=10)
    with pytest.raises(ValueError, match="covered by the snapshot at 10"):
        log.truncate_from(10)
    with pytest.raises(ValueError, match="ends at 15"):
        log.drop_to(16)
    log.truncate_from(16)
    log.drop_to(10)
    assert (log.base_index, log.last_index) == (10, 15)


def test_dropping_a_long_log_frees_its_blocks_bit_by_bit() -> None:
    log = filled(10_000)
    log.drop_to(9_999)
    waiting = len(log._dead)
    assert waiting == 9
    for left in range(waiting - 1, -1, -1):
        log.append(b"", 1)
        assert len(log._dead) == left


@pytest.mark.parametrize("kept", [1, 1023, 1024, 1025, 2500])
def test_a_truncation_leaves_no_block_behind_it(kept: int) -> None:
    """What is left over of a log that was cut would stay in memory until as many entries came again."""
    log = filled(4000)
    log.truncate_from(kept + 1)
    assert max(log._blocks) == (kept + 1) >> 10
    for number in range(kept, 4000):
        log.append(b"new %d" % number, 2)
    assert [log.data(index) for index in (kept, kept + 1, 4000)] == [b"%d" % (kept - 1), b"new %d" % kept, b"new 3999"]
