"""Mount and unmount for the people on this host: each mount is an allocation of this node's own.

It is `running` before it claims, and `complete` only after the registry has heard that nothing of it is left. Nothing
of this is kept here: what is mounted is what the registry's work says and the host shows.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from volstore.node.agent import Agent
from volstore.node.codes import Backoff
from volstore.node.paths import VolumeKey
from volstore.node.registry import Refused, Registry, segment
from volstore.node.steps import STAGING
from volstore.node.work import ATTACHED, READ, WRITE, Attachment, Claim, RegistryUnavailable, TargetReport

_SPACE = uuid.UUID("6f4e5f0c-5b0f-4f0e-8a1c-0d6a7c9d1e55")
_RETRY = Backoff(0.5, 5)
UNDO_SECONDS = 600.0
"""For so long a mount that was given up is undone in the caller's sight; the agent goes on after that."""


class Failed(Exception):
    """It didn't come about; the text says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done (`kind` "step"), or what is waited for ("waits"), in words."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`path` empty: only where the agent has it. `wait`: seconds until it is given up."""

    namespace: str
    volume: str
    path: str
    read_only: bool
    job: str
    wait: float


class Mounting:
    """`problem`: why the registry doesn't know this node as it is, "" if it does."""

    def __init__(self, agent: Agent, registry: Registry, problem: Callable[[], str]) -> None:
        self._agent = agent
        self._problem = problem
        self._registry = registry

    def allocation_id(self, namespace: str, volume: str, path: str) -> str:
        """The same whenever the same is mounted at the same place of this node: a repeat joins the first."""
        return str(uuid.uuid5(_SPACE, "\0".join((self._registry.identity.id, namespace, volume, path))))

    # What is there.

    def claims(self) -> list[tuple[Attachment, Claim, TargetReport | None]]:
        """All that is claimed on this node, with what is there of it."""
        attachments = self._agent.work.attachments if self._agent.work is not None else []
        return [(one, claim, self._target(one, claim)) for one in attachments for claim in one.claims]

    def _target(self, one: Attachment, claim: Claim) -> TargetReport | None:
        seen = self._agent.seen
        for volume in seen.attachments if seen else ():
            if (volume.plugin_id, volume.external_id) == (one.plugin_id, one.external_id):
                for target in volume.targets:
                    if target.allocation_id == claim.allocation_id:
                        return target
        return None

    def _find(self, allocation_id: str) -> tuple[Attachment, Claim, TargetReport | None] | None:
        return next((found for found in self.claims() if found[1].allocation_id == allocation_id), None)

    def shown_at(self, one: Attachment, claim: Claim) -> str:
        target = self._agent.paths.target(VolumeKey(one.plugin_id, one.external_id), claim.allocation_id)
        return claim.path or target

    # Mount.

    async def mount(self, wanted: Wanted) -> AsyncIterator[Step]:
        """The last step's text is the path. Raises Failed, after undoing; closed early, it is undone in the back."""
        allocation_id = self.allocation_id(wanted.namespace, wanted.volume, wanted.path)
        deadline = asyncio.get_running_loop().time() + wanted.wait
        mine = self._find(allocation_id)
        if mine is None or mine[1].released:
            self._path_must_be_free(wanted.path)
        try:
            async for step in self._claim(wanted, allocation_id, deadline):
                yield step
            async for step in self._come_up(allocation_id, deadline):
                yield step
        except Failed as error:
            await self._undo(wanted, allocation_id)
            raise Failed(f"{error}; nothing of it is left") from None

    def _path_must_be_free(self, path: str) -> None:
        for one, claim, _ in self.claims():
            if path and claim.path == path:
                raise Failed(f"{path} is taken: volume {claim.volume_id} of plugin {one.plugin_id} is, or was, there")

    async def _claim(self, wanted: Wanted, allocation_id: str, deadline: float) -> AsyncIterator[Step]:
        failures, said = 0, ""
        while True:
            try:
                if problem := self._problem():  # a claim on a node that isn't known would be nobody's
                    raise RegistryUnavailable(problem)
                await self._set(allocation_id, wanted.namespace, wanted.job, "running")
                await self._registry.done(
                    "PUT",
                    f"/v1/volume/csi/{segment(wanted.volume)}/claim",
                    {
                        "AllocationID": allocation_id,
                        "NodeID": self._registry.identity.id,
                        "Mode": READ if wanted.read_only else WRITE,
                        "Path": wanted.path,
                    },
                    parameters={"namespace": wanted.namespace},
                )
            except Refused as error:
                if error.status != 409:
                    raise Failed(str(error)) from None
                why = str(error)
            except RegistryUnavailable as error:
                why = f"the registry can't be asked: {error}"
            else:
                yield Step("step", "claimed")
                return
            failures += 1
            if asyncio.get_running_loop().time() >= deadline:
                raise Failed(why)
            if why != said:
                said = why
                yield Step("waits", why)
            await asyncio.sleep(min(_RETRY.after(failures), max(0.1, deadline - asyncio.get_running_loop().time())))

    async def _come_up(self, allocation_id: str, deadline: float) -> AsyncIterator[Step]:
        attached = staged = False
        said = ""
        while True:
            # Asked before the look, so that nothing falls between.
            news = asyncio.ensure_future(self._agent.news())
            try:
                if (found := self._find(allocation_id)) is not None:
                    one, claim, target = found
                    if claim.released:
                        raise Failed("it was released meanwhile")
                    if one.state == ATTACHED and not attached:
                        attached = True
                        yield Step("step", "attached")
                    if self._is_staged(one) and not staged:
                        staged = True
                        yield Step("step", "staged")
                    if target is not None and target.state == "published":
                        yield Step("step", "published")
                        yield Step("path", self.shown_at(one, claim))
                        return
                    why = one.error or (target.error if target else "") or self._why(one)
                    if why and why != said:
                        said = why
                        yield Step("waits", why)
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise Failed(said or "it took too long")
                await asyncio.wait((news,), timeout=left)
            finally:
                news.cancel()

    def _is_staged(self, one: Attachment) -> bool:
        return any(
            seen.staged and (seen.plugin_id, seen.external_id) == (one.plugin_id, one.external_id)
            for seen in (self._agent.seen.attachments if self._agent.seen else ())
        )

    def _why(self, one: Attachment) -> str:
        return self._agent.waits(VolumeKey(one.plugin_id, one.external_id)).get(STAGING, "")

    async def _undo(self, wanted: Wanted, allocation_id: str) -> None:
        try:
            async with asyncio.timeout(UNDO_SECONDS):
                ending = self._end(wanted.namespace, wanted.volume, allocation_id, wanted.job, force=False)
                async for _ in ending:
                    pass
        except TimeoutError:
            raise Failed("it can't be undone at the moment: the agent goes on trying") from None

    async def undo(self, wanted: Wanted) -> None:
        """Of a mount that nobody waits for any more."""
        allocation_id = self.allocation_id(wanted.namespace, wanted.volume, wanted.path)
        await self._undo(wanted, allocation_id)

    # Unmount.

    async def unmount(self, what: str, namespace: str, *, force: bool, wait: float) -> AsyncIterator[Step]:
        """`what` is a path or a volume's ID. Raises Failed; what was begun goes on then."""
        found = [
            claim
            for one, claim, _ in self.claims()
            if what in (claim.path, self.shown_at(one, claim))
            or (claim.volume_id, claim.namespace) == (what, namespace)
        ]
        if not found:
            raise Failed(f"nothing is mounted here by the name {what}")
        if len(found) > 1:
            places = ", ".join(claim.path or claim.allocation_id for claim in found)
            raise Failed(f"volume {what} is mounted more than once ({places}): give the path")
        claim = found[0]
        try:
            async with asyncio.timeout(wait):
                async for step in self._end(
                    claim.namespace, claim.volume_id, claim.allocation_id, claim.job_id, force=force
                ):
                    yield step
        except TimeoutError:
            held = self._find(claim.allocation_id)
            why = held[2].error if held and held[2] else ""
            raise Failed(f"{why or 'it takes longer'}; the agent goes on trying") from None

    async def _end(
        self, namespace: str, volume: str, allocation_id: str, job: str, *, force: bool
    ) -> AsyncIterator[Step]:
        index = await self._again(lambda: self._release(namespace, volume, allocation_id, force=force))
        yield Step("step", "released")
        said = ""
        while True:
            news = asyncio.ensure_future(self._agent.news())
            try:
                found = self._find(allocation_id)
                # Older work may not have heard of the claim yet.
                if found is None and self._agent.work is not None and self._agent.work.index >= index:
                    break
                why = found[2].error if found and found[2] else ""
                if why and why != said:
                    said = why
                    yield Step("waits", why)
                await news
            finally:
                news.cancel()
        await self._again(lambda: self._set(allocation_id, namespace, job, "complete"))
        yield Step("step", "unmounted")

    async def _release(self, namespace: str, volume: str, allocation_id: str, *, force: bool) -> int:
        """The registry's index of it, 0 if there was nothing to release."""
        try:
            answer = await self._registry.done(
                "PUT",
                f"/v1/volume/csi/{segment(volume)}/claim",
                {"AllocationID": allocation_id, "Mode": "release", "Force": force},
                parameters={"namespace": namespace},
            )
        except Refused as error:
            if error.status != 404:
                raise
            return 0
        return answer.index

    async def _set(self, allocation_id: str, namespace: str, job: str, status: str) -> None:
        await self._registry.done(
            "PUT",
            "/v1/allocations",
            {
                "Allocations": [
                    {
                        "ID": allocation_id,
                        "Namespace": namespace,
                        "NodeID": self._registry.identity.id,
                        "JobID": job,
                        "ClientStatus": status,
                        "DesiredStatus": "run" if status == "running" else "stop",
                    }
                ]
            },
        )

    async def _again(self, do: Callable[[], Any]) -> Any:
        """Until a server answers. Raises Failed for its no."""
        failures = 0
        while True:
            try:
                return await do()
            except Refused as error:
                raise Failed(str(error)) from None
            except RegistryUnavailable:
                failures += 1
                await asyncio.sleep(_RETRY.after(failures))
