"""Waiters are woken by what concerns them, by nothing else where that can be told, and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from volstore.core.acl.tables import POLICY, TOKEN
from volstore.core.errors import Overloaded
from volstore.core.events import AccessChanged, Event, NodeChanged, PluginChanged, VolumeChanged
from volstore.core.model import Claim, Node, Plugin, Volume
from volstore.core.queries import VolumeQuery
from volstore.http.server.watch import (
    ALL_PLUGINS,
    NamespacesTopic,
    NodesTopic,
    NodeTopic,
    PluginTopic,
    Topic,
    VolumeTopic,
    Watch,
)

CLAIM = Claim(allocation_id="a", node_id="n1", mode=0)
PLAIN = Volume(id="v", plugin_id="p1")
CLAIMED = Volume(id="v", plugin_id="p1", read_claims={"a": CLAIM})
ELSEWHERE = Volume(id="v", plugin_id="p1", namespace="other")
PLUGIN = Plugin(id="p1", nodes_healthy=1, nodes_expected=1, touch_index=1)
MOVED = Plugin(id="p1", nodes_healthy=0, nodes_expected=1, touch_index=2)
DESCRIBED = Plugin(id="p1", nodes_healthy=1, nodes_expected=1, touch_index=1, modify_index=2)
NODE = Node(id="n1")

THIS = VolumeTopic("default", "v")
THAT = VolumeTopic("default", "w")
WHOLE = VolumeQuery("default")
ALL = VolumeQuery(None)
TOPICS: dict[Topic, str] = {
    THIS: "p1",
    THAT: "p2",
    VolumeTopic("other", "v"): "",
    WHOLE: "",
    ALL: "",
    VolumeQuery("other"): "",
    VolumeQuery("default", prefix="v"): "",
    VolumeQuery("default", prefix="w"): "",
    VolumeQuery("default", plugin_id="p"): "",
    VolumeQuery("default", plugin_id="p2"): "",
    VolumeQuery("default", node_id="n1"): "",
    ALL_PLUGINS: "",
    PluginTopic("p1"): "",
    PluginTopic("p2"): "",
    NodeTopic("n1"): "",
    NodeTopic("n2"): "",
    NodesTopic(""): "",
    NodesTopic("n1"): "",
    NodesTopic("n2"): "",
    NamespacesTopic(): "",
}
LISTS_OF_V = {WHOLE, ALL, VolumeQuery("default", prefix="v"), VolumeQuery("default", plugin_id="p")}


async def test_who_waits_longest_is_woken_first() -> None:
    watch, woken = Watch(), []

    async def wait(number: int) -> None:
        await watch.wait(THIS, asyncio.get_running_loop().time() + 60, "p1")
        woken.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(wait(number))
        await asyncio.sleep(0)
        watch.notify([VolumeChanged(None, PLAIN)])
    assert woken == list(range(100))
    watch.close()


@pytest.mark.parametrize(
    ("event", "woken"),
    [
        (VolumeChanged(None, PLAIN), {THIS, *LISTS_OF_V}),
        (VolumeChanged(PLAIN, None), {THIS, *LISTS_OF_V}),
        (VolumeChanged(PLAIN, CLAIMED), {THIS, *LISTS_OF_V, VolumeQuery("default", node_id="n1")}),
        (VolumeChanged(CLAIMED, PLAIN), {THIS, *LISTS_OF_V, VolumeQuery("default", node_id="n1")}),
        (VolumeChanged(None, ELSEWHERE), {VolumeTopic("other", "v"), ALL, VolumeQuery("other")}),
        (
            PluginChanged(PLUGIN, MOVED),
            # Of lists it can't be told without looking at what they list.
            {THIS, PluginTopic("p1"), ALL_PLUGINS, *LISTS_OF_V}
            | {VolumeQuery("other"), VolumeQuery("default", prefix="w"), VolumeQuery("default", node_id="n1")},
        ),
        (PluginChanged(PLUGIN, DESCRIBED), {PluginTopic("p1"), ALL_PLUGINS}),
        (NodeChanged(None, NODE), {NodeTopic("n1"), NodesTopic(""), NodesTopic("n1")}),
        (NodeChanged(NODE, None), {NodeTopic("n1"), NodesTopic(""), NodesTopic("n1")}),
    ],
)
async def test_an_event_wakes_whom_it_may_concern(event: Event, woken: set[Topic]) -> None:
    watch = Watch()
    waiters = {topic: _waiter(watch, topic, plugin) for topic, plugin in TOPICS.items()}
    await _started(watch, len(waiters))
    watch.notify([event])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert {topic for topic, waiter in waiters.items() if waiter.done()} == woken
    watch.wake_all()
    await asyncio.gather(*waiters.values())
    assert _is_empty(watch)


async def test_a_reader_is_woken_by_what_its_rights_follow_from_and_by_no_others() -> None:
    watch = Watch()
    sources = {
        "a": ((TOKEN, "t1"), (POLICY, "p1")),
        "b": ((TOKEN, "t2"), (POLICY, "p1")),
        "c": ((POLICY, "t1"),),
        "d": (),
    }
    for event, woken in (
        (AccessChanged(POLICY, "p1"), {"a", "b"}),
        (AccessChanged(TOKEN, "t1"), {"a"}),
        (AccessChanged(TOKEN, "t3"), set()),
    ):
        waiters = {name: asyncio.create_task(watch.wait(WHOLE, 1e9, "", of)) for name, of in sources.items()}
        await _started(watch, len(waiters))
        watch.notify([event])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert {name for name, waiter in waiters.items() if waiter.done()} == woken
        watch.wake_all()
        await asyncio.gather(*waiters.values())
        assert _is_empty(watch)


async def test_waiters_leave_nothing_behind_whether_woken_timed_out_or_gone() -> None:
    watch = Watch()
    now = asyncio.get_running_loop().time()
    short = [_waiter(watch, THIS, "p1", until=now + 0.01) for _ in range(3)]
    gone = [_waiter(watch, WHOLE, until=now + 1000) for _ in range(3)]
    woken = [_waiter(watch, NodesTopic("n"), until=now + 1000) for _ in range(3)]
    await _started(watch, 9)
    for waiter in gone:
        waiter.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    watch.notify([NodeChanged(None, NODE)])
    await asyncio.gather(*short, *woken)
    assert _is_empty(watch)


async def test_a_wait_ends_at_its_time_and_not_before() -> None:
    watch = Watch()
    loop = asyncio.get_running_loop()
    untils = [loop.time() + part / 100 for part in (5, 1, 3, 1)]
    ended = await asyncio.gather(*(_ends(watch, until) for until in untils))
    assert all(end >= until for end, until in zip(ended, untils, strict=True))


async def test_a_waiter_of_a_volume_made_anew_is_woken_by_its_new_plugin() -> None:
    watch = Watch()
    old = _waiter(watch, THIS, "p1")
    await _started(watch, 1)
    new = _waiter(watch, THIS, "p2")
    await old  # whoever still looks at the old one looks again
    watch.notify([PluginChanged(None, Plugin(id="p1", touch_index=5))])
    await asyncio.sleep(0)
    assert not new.done()
    watch.notify([PluginChanged(None, Plugin(id="p2", touch_index=5))])
    await new
    assert _is_empty(watch)


async def test_one_waiter_too_many_is_refused() -> None:
    watch = Watch(limit=2)
    waiting = [_waiter(watch, THIS), _waiter(watch, WHOLE)]
    await _started(watch, 2)
    with pytest.raises(Overloaded) as refused:
        await watch.wait(THAT, 1e9)
    assert refused.value.retry_after == 1
    watch.wake_all()
    await asyncio.gather(*waiting)
    assert _is_empty(watch)


async def test_nobody_waits_after_the_close() -> None:
    watch = Watch()
    waiting = _waiter(watch, THIS)
    await _started(watch, 1)
    watch.close()
    await waiting
    await watch.wait(THIS, 1e9)
    assert _is_empty(watch)


async def test_ten_thousand_waiters_share_a_few_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    loop = asyncio.get_running_loop()
    timers = 0
    call_at = loop.call_at

    def counted(*arguments: object, **more: object) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*arguments, **more)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(loop, "call_at", counted)
    now = loop.time()
    waiting = [_waiter(watch, VolumeTopic("default", str(n)), until=now + 300 + n / 10_000) for n in range(10_000)]
    await _started(watch, 10_000)
    assert timers <= 40
    watch.close()
    await asyncio.gather(*waiting)


async def _ends(watch: Watch, until: float) -> float:
    await watch.wait(THIS, until)
    return asyncio.get_running_loop().time()


def _waiter(watch: Watch, topic: Topic, plugin_id: str = "", until: float = 1e9) -> asyncio.Task[None]:
    return asyncio.create_task(watch.wait(topic, until, plugin_id))


async def _started(watch: Watch, count: int) -> None:
    await asyncio.sleep(0)
    assert len(watch) == count


def _is_empty(watch: Watch) -> bool:
    """No waiter, and nothing kept of one but the bucket of its deadline, until that passes."""
    kept = (watch._groups, watch._volumes_of_plugin, watch._lists, watch._node_lists, watch._readers)
    return len(watch) == 0 and not any(kept) and len(watch._deadlines) == 0
