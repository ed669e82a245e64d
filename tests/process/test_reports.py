"""What goes wrong where nobody waits for it, in a task or a transport of the event loop, is told to the log; the node
ends if it was the node's own work."""

from __future__ import annotations

import asyncio

import structlog

from volstore.agent.process import _report
from volstore.http.server.deadlines import Deadlines
from volstore.http.server.listener import HttpListener


async def test_a_task_that_nobody_waited_for_is_an_error_in_the_log_without_what_it_held() -> None:
    secret = "hunter2"

    async def fails() -> None:
        held = secret
        raise RuntimeError(f"a defect {len(held)}")

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    failed: list[BaseException] = []
    loop.set_exception_handler(lambda _loop, context: _report(context, failed.append))
    try:
        with structlog.testing.capture_logs() as logged:
            task = loop.create_task(fails(), name=secret)
            await asyncio.wait([task])
            del task
            loop.call_exception_handler({"message": "a transport failed", "transport": secret})
    finally:
        loop.set_exception_handler(before)
    told = {event["what"]: event for event in logged}
    assert all(event["event"] == "loop_error" and event["log_level"] == "error" for event in logged)
    never_retrieved = told["Task exception was never retrieved"]
    assert never_retrieved["reason"] == "a defect 7"
    assert isinstance(never_retrieved["exc_info"], RuntimeError)
    assert told["a transport failed"]["transport"] == "str"
    assert secret not in str(logged)
    assert failed == []


async def test_a_timer_of_the_node_that_fails_ends_it_and_one_of_a_connection_does_not() -> None:
    """A timer that is set again at its end is never set again."""
    loop = asyncio.get_running_loop()
    failed: list[BaseException] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: _report(context, failed.append))
    try:
        with structlog.testing.capture_logs():
            loop.call_soon(Deadlines._expire, None)  # type: ignore[arg-type]  # it fails at once
            loop.call_soon(HttpListener._accept, None)  # type: ignore[arg-type]  # as above
            await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(before)
    assert [type(error) for error in failed] == [AttributeError]
