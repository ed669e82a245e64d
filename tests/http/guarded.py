"""A server with access control on, and something in three namespaces to be seen or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

from tests.http.conftest import SETTINGS, Api, serve
from volstore.core.acl.commands import PutAclPolicy, PutAclToken, PutNamespace
from volstore.core.acl.policy import parse_policy
from volstore.core.commands import PutAllocations, RegisterVolumes
from volstore.core.model import Allocation, Volume

MANAGEMENT = "11111111-1111-1111-1111-111111111111"
NODE_SECRET = "22222222-2222-2222-2222-222222222222"
NOT_FOUND, DENIED = (403, "ACL token not found"), (403, "Permission denied")
SEES_PROD = 'namespace "prod" { capabilities = ["csi-list-volume", "read-job"] }'
VOLUMES, EVERYWHERE = "/v1/volumes?type=csi", "/v1/volumes?type=csi&namespace=*"


def with_token(secret: str) -> dict[str, Any]:
    return {"headers": {"X-Nomad-Token": secret}}


async def served(**settings: Any) -> AsyncIterator[Api]:
    """A node with its secret, volumes and allocations in three namespaces, and a management token."""
    async for api in serve(replace(SETTINGS, acl_enabled=True, **settings)):
        make_token(api, MANAGEMENT)
        body = {"Name": "n1", "SecretID": NODE_SECRET, "CSINodePlugins": {"plugin-id1": {"Healthy": True}}}
        status, _, answer = await api.do("PUT", "/v1/node/n1", json=body, **with_token(MANAGEMENT))
        assert status == 200, answer
        for namespace in ("default", "prod", "test"):
            api.registry.apply(PutNamespace(namespace))
            row = Volume(
                id=f"of-{namespace}",
                plugin_id="plugin-id1",
                access_mode="single-node-writer",
                attachment_mode="file-system",
                secrets={"key": "hush"},
            )
            api.registry.apply(RegisterVolumes(namespace, (row,)))
            allocation = Allocation(
                id=f"alloc-{namespace}",
                namespace=namespace,
                node_id="n1",
                job_id="web",
                client_status="running",
                desired_status="run",
                stub={"ID": f"alloc-{namespace}", "Namespace": namespace, "NodeID": "n1"},
            )
            api.registry.apply(PutAllocations((allocation,)))
        yield api


def make_token(api: Api, secret: str, *rules: str, ttl: int = 0) -> str:
    """A token of that secret with a policy of these rules (none: management); its accessor."""
    accessor = f"accessor-of-{secret[:8]}"
    for text in rules:
        outcome = api.registry.apply(PutAclPolicy(f"p-{secret[:8]}", "", text, parse_policy(text)))
        assert outcome.status == 200, outcome
    policies = (f"p-{secret[:8]}",) if rules else ()
    command = PutAclToken(
        accessor, sha256(secret.encode()).digest(), secret[:8], "client" if rules else "management", policies, ttl=ttl
    )
    assert api.registry.apply(command).status == 200
    return accessor


def client(api: Api, number: int, rules: str) -> str:
    secret = f"{number:08x}-3333-3333-3333-333333333333"
    make_token(api, secret, rules)
    return secret


async def ids(api: Api, path: str, secret: str = MANAGEMENT) -> list[str]:
    status, _, listed = await api.get(path, **with_token(secret))
    assert status == 200, listed
    return [one["ID"] for one in listed]


async def waiting(api: Api, count: int = 1) -> None:
    """Until so many blocking queries wait at the server."""
    while len(api.registry.watch) < count:  # noqa: ASYNC110 - each turn of the server's own loop brings it on
        await asyncio.sleep(0)
