"""Kill the leader of three real agents under load, or all of them, again and again, and print what writers felt.

    python -m tests.bench.failover [--kills 20] [--signal KILL|STOP] [--all]

Every node gets writers that wait up to 5 s, as the API's default is. Outage: the longest silence on the nodes that
live, from the kill until 200 registers were answered there; a request that fails counts as failed. At the end
everything that was acknowledged is looked for, and all nodes must come to the same digest. Exit code 1 if anything is
lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import aiohttp

from tests.process.agents import Agent, add_plugin, agents, digests_agree, get, leader, until, volume

ANSWERS = 200


class Load:
    """Writers against one node each; `successes` are loop times, `acknowledged` volume IDs."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.successes: list[tuple[float, str]] = []
        self.acknowledged: set[str] = set()
        self.failed: list[str] = []
        self.dead: set[str] = set()
        self.under_way: Counter[str] = Counter()
        self.running = True

    def has(self, successes: int) -> bool:
        return len(self.successes) >= successes

    async def write(self, node: Agent, number: int) -> None:
        loop = asyncio.get_running_loop()
        count = 0
        while self.running:
            if node.name in self.dead:
                await asyncio.sleep(0.02)
                continue
            volume_id = f"{node.name}-{number}-{count}"
            count += 1
            self.under_way[node.name] += 1
            try:
                body = {"Volumes": [volume(volume_id)]}
                async with self.session.put(f"{node.url}/v1/volume/csi/{volume_id}", json=body) as response:
                    text = await response.text()
                    if response.status == 200:
                        self.successes.append((loop.time(), node.name))
                        self.acknowledged.add(volume_id)
                    elif node.name not in self.dead:
                        self.failed.append(f"{node.name}: {response.status} {text}")
            except (aiohttp.ClientError, TimeoutError) as error:
                if node.name not in self.dead:
                    self.failed.append(f"{node.name}: {error!r}")
            finally:
                self.under_way[node.name] -= 1


async def go_on(session: aiohttp.ClientSession, victims: list[Agent], how: str) -> None:
    """Let who was killed or stopped run again; return once they answer."""
    for victim in victims:
        if how == "KILL":
            victim.kill()  # which waits for its end
            victim.start()
        else:
            victim.send(signal.SIGCONT)
    for victim in victims:

        async def back(url: str = victim.url) -> bool:
            try:
                return (await get(session, f"{url}/v1/status/leader"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(back, what=f"the return of {victim.name}")


async def run(kills: int, how: str, writers: int, *, everybody: bool = False) -> dict[str, object]:
    outages: list[float] = []
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder, agents(Path(folder), 3) as nodes:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=15)) as session:
            for node in nodes:
                node.start()
            await leader(session, nodes)
            await add_plugin(session, nodes[0].url)
            load = Load(session)
            tasks = [asyncio.create_task(load.write(node, n)) for node in nodes for n in range(writers)]
            for _ in range(kills):
                enough = len(load.successes) + 200
                await until(partial(load.has, enough), what="load")
                victims = nodes if everybody else [await leader(session, nodes)]
                names = {victim.name for victim in victims}
                load.dead |= names
                at = loop.time()
                for victim in victims:
                    victim.send(signal.SIGKILL if how == "KILL" else signal.SIGSTOP)
                if everybody:
                    await go_on(session, victims, how)
                    load.dead -= names

                def enough_answers(at: float = at) -> list[float]:
                    answers = [t for t, by in load.successes if t > at and by not in load.dead]
                    return answers if len(answers) >= ANSWERS else []

                # What was committed before the kill may be answered after it: the outage is the longest silence.
                answers = await until(enough_answers, what="writes after the kill")
                outages.append(max(b - a for a, b in pairwise([at, *answers])))
                if not everybody:
                    await go_on(session, victims, how)
                    load.dead -= names
            load.running = False
            await asyncio.gather(*tasks)
            await digests_agree(session, nodes)
            lost = {}
            for node in nodes:
                _status, volumes = await get(session, f"{node.url}/v1/volumes?type=csi")
                lost[node.name] = len(load.acknowledged - {one["ID"] for one in volumes})
    return {
        "kills": kills,
        "whom": "everybody" if everybody else "the leader",
        "signal": how,
        "outage_p50_s": round(statistics.median(outages), 3),
        "outage_worst_s": round(max(outages), 3),
        "outages_s": [round(outage, 3) for outage in outages],
        "acknowledged": len(load.acknowledged),
        "failed_requests": len(load.failed),
        "failures": load.failed[:5],
        "lost": lost,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", choices=("KILL", "STOP"), default="KILL")
    parser.add_argument("--writers", type=int, default=2, help="writers on each node")
    parser.add_argument("--all", action="store_true", help="all three at once, not the leader alone")
    given = parser.parse_args()
    figures = asyncio.run(run(given.kills, given.signal, given.writers, everybody=given.all))
    print(json.dumps(figures, indent=2))
    return 1 if any(figures["lost"].values()) else 0  # type: ignore[attr-defined]  # a dict of counts


if __name__ == "__main__":
    sys.exit(main())
