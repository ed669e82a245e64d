"""Access control of real agents: across restarts, with the reset file, and with an audit file that is rotated."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.process.agents import Agent, agents, leader, until
from tests.process.test_removed_token import Client, bootstrapped

pytestmark = pytest.mark.timeout(120)


async def test_tokens_survive_and_the_reset_file_of_the_data_directory_allows_one_more_bootstrap(
    tmp_path: Path,
) -> None:
    timeout = aiohttp.ClientTimeout(total=20)
    with agents(tmp_path, 1, "--acl-enabled", "--snapshot-threshold", "5") as (node,):
        async with aiohttp.ClientSession(timeout=timeout) as session:
            node.start()
            await leader(session, [node])
            first = await bootstrapped(session, node.url)
            for number in range(20):
                await first.put(f"{node.url}/v1/acl/policy/p{number}", {"Name": f"p{number}", "Rules": ""})
            await until(lambda: list((tmp_path / node.name).rglob("*snap*")), what="a snapshot")
            node.kill()
            node.start()
            await leader(session, [node])
            status, text = await first.do("GET", f"{node.url}/v1/acl/policies")
            assert (status, len(json.loads(text))) == (200, 20)

            status, text = await first.do("PUT", f"{node.url}/v1/acl/bootstrap")
            assert (status, text.startswith("ACL bootstrap already done (reset index: ")) == (400, True)
            index = text.rpartition(" ")[2].rstrip(")")
            (tmp_path / node.name / "acl-bootstrap-reset").write_text(index)
            second = await bootstrapped(session, node.url)
            assert (await second.do("GET", f"{node.url}/v1/acl/tokens"))[0] == 200
            assert (await second.do("PUT", f"{node.url}/v1/acl/bootstrap"))[0] == 400


async def test_an_audit_file_that_is_rotated_is_reopened_on_sighup_and_no_entry_is_lost(tmp_path: Path) -> None:
    audit, rotated = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    flags = ("--acl-enabled", "--audit-file", str(audit), "--audit-enforce")
    with agents(tmp_path, 1, *flags) as (node,):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            node.start()
            await leader(session, [node])
            management = await bootstrapped(session, node.url)
            names = [f"n{number}" for number in range(20)]
            for name in names[:10]:
                await _put(management, node, name)
            audit.rename(rotated)
            await _put(management, node, names[10])
            node.send(signal.SIGHUP)
            await until(audit.exists, what="a new audit file")
            for name in names[11:]:
                await _put(management, node, name)
            assert node.stop() == 0
    entries = [json.loads(line) for file in (rotated, audit) for line in file.read_text().splitlines()]
    for outcome in ("attempted", "done"):
        assert [e["object"] for e in entries if e["outcome"] == outcome and e["action"] == "putNamespace"] == names
    assert audit.read_text().count("putNamespace") >= 2 * len(names[11:])
    assert audit.stat().st_mode & 0o777 == 0o600


async def _put(client: Client, node: Agent, name: str) -> None:
    await client.put(f"{node.url}/v1/namespace/{name}", {"Name": name})


async def test_an_agent_says_when_its_audit_file_can_not_be_opened_and_does_not_start(tmp_path: Path) -> None:
    with agents(tmp_path, 1, "--audit-file", str(tmp_path / "none" / "audit")) as (node,):
        node.start()
        assert node.process is not None
        code = await until(node.process.poll, what="the agent's end")
    assert code == 1
    assert "agent_cannot_start" in node.output()
    assert "No such file or directory" in node.output()
