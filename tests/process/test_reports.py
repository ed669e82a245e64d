"""What goes wrong where nobody waits for it, in a task or a transport of the event loop, is told to the log."""

from __future__ import annotations

import asyncio

import structlog

from volstore.agent.process import _report


async def test_a_task_that_nobody_waited_for_is_an_error_in_the_log_without_what_it_held() -> None:
    secret = "hunter2"

    async def fails() -> None:
        held = secret
        raise RuntimeError(f"a defect {len(held)}")

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(_report)
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
