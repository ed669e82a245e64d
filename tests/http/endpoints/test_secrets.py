"""Every way to an answer that carries secrets, and who gets it (README, "Who gets secrets")."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.http.cluster_admin import OneNode
from tests.http.conftest import SETTINGS, Api, stub, volume
from tests.http.guarded import DENIED, MANAGEMENT, NODE_SECRET, client, make_token, served, with_token
from volstore.core.acl.commands import PutAclPolicy
from volstore.core.acl.policy import parse_policy
from volstore.core.commands import ClaimVolume, PutAllocations, PutNode, RegisterVolumes
from volstore.core.idempotency import TOO_MANY_OF_ONE
from volstore.core.model import READ, Allocation, MountOptions, Node
from volstore.core.model import Volume as Row
from volstore.http.endpoints.operator import operator_routes
from volstore.http.server.declaration import Write
from volstore.http.server.router import API
from volstore.http.server.server import HttpServer

SECRET, FLAG = "hush", "password=hush-too"
PROD = "/v1/volume/csi/of-prod"
IN_PROD = f"{PROD}/claim?namespace=prod"
MOUNTS_PROD = 'namespace "prod" { capabilities = ["csi-mount-volume", "read-job"] } plugin { policy = "read" }'
READS_PROD = 'namespace "prod" { capabilities = ["csi-read-volume"] }'
NODE = with_token(NODE_SECRET)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """As guarded.py has it, with mount options that hold a secret, and a node n2 without one."""
    async for one in served():
        for namespace in ("default", "prod", "test"):
            row = Row(
                id=f"of-{namespace}",
                plugin_id="plugin-id1",
                access_mode="multi-node-multi-writer",
                attachment_mode="file-system",
                secrets={"key": SECRET},
                mount_options=MountOptions("ext4", (FLAG,)),
            )
            assert one.registry.apply(RegisterVolumes(namespace, (row,))).status == 200
        one.registry.apply(PutNode(Node(id="n2", name="n2")))
        yield one


def body(mode: str = "read", allocation_id: str = "alloc-prod", **fields: Any) -> dict[str, Any]:
    return {"AllocationID": allocation_id, "Mode": mode, **fields}


async def put(api: Api, path: str, json: Any, **options: Any) -> tuple[int, Any]:
    status, _, answer = await api.do("PUT", path, json=json, **options)
    return status, answer


def shows_secrets(answer: Any) -> bool:
    if not isinstance(answer, dict) or SECRET not in str(answer):
        assert SECRET not in str(answer)
        return False
    assert (answer["Secrets"], answer["MountOptions"]["MountFlags"]) == ({"key": SECRET}, [FLAG])
    return True


# A claim.


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("who", ["node", "token", "management"])
async def test_a_claim_that_is_held_gets_what_mounting_takes(api: Api, mode: str, who: str) -> None:
    caller = {"node": NODE, "token": with_token(client(api, 1, MOUNTS_PROD)), "management": with_token(MANAGEMENT)}[who]
    for _ in range(2):  # also for what is claimed already: an agent may have lost it since
        status, answer = await put(api, IN_PROD, body(mode), **caller)
        assert (status, shows_secrets(answer)) == (200, True)


@pytest.mark.parametrize("state", [0, 1, 2, 3])
@pytest.mark.parametrize("who", ["node", "token"])
async def test_a_release_gets_none(api: Api, state: int, who: str) -> None:
    caller = NODE if who == "node" else with_token(client(api, 1, MOUNTS_PROD))
    await put(api, IN_PROD, body("write"), **caller)
    status, answer = await put(api, IN_PROD, body("release", State=state), **caller)
    assert (status, shows_secrets(answer)) == (200, False)
    assert (answer["Secrets"], answer["MountOptions"]) == (None, {"FSType": "ext4", "MountFlags": ["[REDACTED]"]})


@pytest.mark.parametrize("mode", ["release", 2])
@pytest.mark.parametrize("allocation_id", ["nonexistent", "alloc-default", "alloc-prod"])
@pytest.mark.parametrize("who", ["node", "token", "management"])
async def test_a_release_of_nothing_says_so_and_moves_nothing(
    api: Api, mode: Any, allocation_id: str, who: str
) -> None:
    caller = {"node": NODE, "token": with_token(client(api, 1, MOUNTS_PROD)), "management": with_token(MANAGEMENT)}[who]
    index = api.registry.state.index
    for state in (None, 0, 1, 3):
        asked = body(mode, allocation_id, NodeID="n1", State=state)
        status, answer = await put(api, IN_PROD, asked, **caller)
        assert (status, answer) == (
            404,
            f"nothing to release: allocation {allocation_id} has no claim on volume of-prod",
        )
    assert api.registry.state.index == index  # nor does it cost an entry of the log


async def test_a_node_releases_nothing_that_another_claims(api: Api) -> None:
    other = Allocation(
        id="on-n2", namespace="prod", node_id="n2", job_id="x", client_status="running", desired_status="run"
    )
    api.registry.apply(PutAllocations((other,)))
    assert (await put(api, IN_PROD, body("write", "on-n2"), **with_token(MANAGEMENT)))[0] == 200
    for fields in ({}, {"NodeID": "n1"}, {"NodeID": "n2"}):
        assert await put(api, IN_PROD, body("release", "on-n2", **fields), **NODE) == DENIED
        assert await put(api, IN_PROD, body("read", "on-n2", **fields), **NODE) == DENIED


async def test_a_repeat_under_a_key_gets_them_only_while_the_claim_is_held(api: Api) -> None:
    options = {"headers": {"X-Nomad-Token": NODE_SECRET, "Idempotency-Key": "k"}}
    for _ in range(2):
        status, answer = await put(api, IN_PROD, body("write"), **options)
        assert (status, shows_secrets(answer)) == (200, True)
    release = {"headers": {"X-Nomad-Token": NODE_SECRET, "Idempotency-Key": "r"}}
    for _ in range(2):  # the second is the first's outcome, and not a release of nothing
        assert (await put(api, IN_PROD, body("release"), **release))[0] == 200
    status, answer = await put(api, IN_PROD, body("write"), **options)
    assert (status, shows_secrets(answer)) == (200, False)


async def test_who_has_no_right_to_mount_gets_none(api: Api) -> None:
    without = (READS_PROD, 'namespace "prod" { policy = "write" }', 'node { policy = "write" }')
    for number, rules in enumerate(without, 1):
        secret = client(api, number, rules)
        for mode in ("read", "write", "release"):
            assert await put(api, IN_PROD, body(mode), **with_token(secret)) == DENIED
    assert await put(api, IN_PROD, body()) == DENIED


# Namespaces.


@pytest.mark.parametrize("who", ["node", "token", "management"])
async def test_a_claim_does_not_leave_its_allocations_namespace(api: Api, who: str) -> None:
    caller = {"node": NODE, "token": with_token(client(api, 1, MOUNTS_PROD)), "management": with_token(MANAGEMENT)}[who]
    index = api.registry.state.index
    answers = [await put(api, IN_PROD, body("read", id, NodeID="n1"), **caller) for id in IDS]
    known, unknown = ((status, str(text).replace(id, "X")) for (status, text), id in zip(answers, IDS, strict=True))
    assert known == unknown  # whoever may not see it learns nothing
    assert known == (404, 'Unknown allocation: X: none of this ID is in namespace "prod", where the volume is')
    assert api.registry.state.index == index + 1  # what is here and foreign costs no entry
    assert (await put(api, "/v1/allocation/alloc-test", FOREIGN, **with_token(MANAGEMENT)))[0] == 200


IDS = ("alloc-test", "never-seen")
FOREIGN = {**stub("alloc-test", NodeID="n2", JobID="another"), "Namespace": "test"}


async def test_an_old_claim_across_namespaces_shows_nobody_what_they_may_not_see(api: Api) -> None:
    assert api.registry.apply(ClaimVolume("prod", "of-prod", "alloc-test", READ)).status == 200
    assert api.registry.apply(ClaimVolume("prod", "of-prod", "alloc-prod", READ)).status == 200
    seen = {}
    tokens = {"prod": client(api, 1, MOUNTS_PROD), "reads": client(api, 2, READS_PROD), "management": MANAGEMENT}
    for _ in range(2):  # what is kept for one isn't shown to another
        for name, secret in {**tokens, "node": NODE_SECRET}.items():
            _, _, read = await api.get(f"{PROD}?namespace=prod", **with_token(secret))
            assert set(read["ReadClaims"]) == {"alloc-prod", "alloc-test"}
            seen[name] = [one["ID"] for one in read["Allocations"]]
        assert seen == {
            "prod": ["alloc-prod"],
            "reads": [],
            "management": ["alloc-prod", "alloc-test"],
            "node": ["alloc-prod", "alloc-test"],  # both are on it
        }


async def test_a_claims_answer_shows_of_claims_and_allocations_its_own(api: Api) -> None:
    for id in ("p2", "p3"):
        more = Allocation(
            id=id,
            namespace="prod",
            node_id="n1",
            job_id="web",
            client_status="running",
            desired_status="run",
            stub={"ID": id},
        )
        api.registry.apply(PutAllocations((more,)))
        await put(api, IN_PROD, body("read", id), **with_token(MANAGEMENT))
    _, answer = await put(api, IN_PROD, body("read"), **NODE)
    assert (list(answer["ReadClaims"]), [one["ID"] for one in answer["Allocations"]]) == (
        ["alloc-prod"],
        ["alloc-prod"],
    )
    secret = client(api, 1, 'namespace "prod" { capabilities = ["csi-mount-volume"] } plugin { policy = "read" }')
    _, answer = await put(api, IN_PROD, body("read"), **with_token(secret))
    assert (list(answer["ReadClaims"]), answer["Allocations"], shows_secrets(answer)) == (["alloc-prod"], [], True)


# A node's secret.


async def test_a_node_claims_with_no_allocation_of_its_own_making(api: Api) -> None:
    made = {**stub("made", NodeID="n1"), "Namespace": "prod"}
    for path, asked in (("/v1/allocation/made", made), ("/v1/allocations", {"Allocations": [made]})):
        assert await put(api, path, asked, **NODE) == DENIED
    assert (await put(api, IN_PROD, body("read", "made", NodeID="n1"), **NODE))[0] == 404
    assert (await put(api, "/v1/allocation/made", made, **with_token(MANAGEMENT)))[0] == 200
    status, answer = await put(api, IN_PROD, body("read", "made"), **NODE)
    assert (status, shows_secrets(answer)) == (200, True)


async def test_a_node_reports_of_what_is_placed_on_it_and_moves_it_nowhere(api: Api) -> None:
    def report(**changes: Any) -> dict[str, Any]:
        return {**stub("alloc-prod", NodeID="n1", Namespace="prod"), **changes}

    async def reported(**changes: Any) -> int:
        return (await put(api, "/v1/allocation/alloc-prod", report(**changes), **NODE))[0]

    for changes in ({"Namespace": "test"}, {"JobID": "another"}, {"NodeID": "n2"}):
        assert await reported(**changes) == 403
    for status in ("running", "lost", "running", "complete", "failed"):
        assert await reported(ClientStatus=status) == 200
    assert await reported(ClientStatus="running") == 403  # its end is its end
    assert (await put(api, IN_PROD, body(), **NODE))[0] == 409


async def test_a_node_places_allocations_where_its_own_policy_lets_it_mount(api: Api) -> None:
    rules = 'namespace "prod" { capabilities = ["csi-mount-volume"] }'
    api.registry.apply(PutAclPolicy("node-n1", "", rules, parse_policy(rules)))
    made = {**stub("made", NodeID="n1"), "Namespace": "prod"}
    assert (await put(api, "/v1/allocation/made", made, **NODE))[0] == 200
    status, answer = await put(api, IN_PROD, body("read", "made"), **NODE)
    assert (status, shows_secrets(answer)) == (200, True)
    for changes in ({"Namespace": "test"}, {"NodeID": "n2"}, {"Namespace": "test", "ID": "b"}):
        assert (await put(api, f"/v1/allocation/{changes.get('ID', 'c')}", {**made, "ID": "", **changes}, **NODE))[
            0
        ] == 403
    # It grants nothing else.
    assert (await api.get("/v1/volumes?type=csi&namespace=prod", **NODE))[0] == 403


# Everything else.


async def test_no_other_answer_of_any_route_has_a_secret_in_it(api: Api) -> None:
    await put(api, IN_PROD, body("write"), **NODE)
    options, bodies = with_token(MANAGEMENT), {"registerVolumes": {"Volumes": [volume("w", Secrets={"a": SECRET})]}}
    for route in API:
        for method, endpoint in route.endpoints.items():
            if endpoint.name in ("claimVolume", "deregisterVolume", "bootstrapAcl") or "Acl" in endpoint.name:
                continue
            if isinstance(endpoint, Write) and method == "DELETE":
                continue
            id = "w" if endpoint.name == "registerVolumes" else "of-prod"
            for namespace in ("prod", "*"):
                path = f"{route.path.replace('{id}', id)}?namespace={namespace}&type=csi&node=n1"
                async with api.request(method, path, json=bodies.get(endpoint.name, {}), **options) as response:
                    assert SECRET not in await response.text(), (method, path)
                    assert SECRET not in str(response.headers)


SNAPSHOT = "/v1/operator/snapshot"


@pytest.mark.parametrize(
    ("rules", "saves"),
    [
        ('operator { policy = "read" }', False),
        ('operator { policy = "write" }', True),
        ('operator { capabilities = ["snapshot-save"] }', True),
        ('operator { policy = "read" capabilities = ["snapshot-save"] }', True),
        ('operator { policy = "deny" capabilities = ["snapshot-save"] }', False),
        ('node { policy = "write" } agent { policy = "write" } namespace "*" { policy = "write" }', False),
        (None, True),
    ],
)
async def test_a_backup_is_for_who_may_save_one_and_is_put_back_by_management_alone(
    api: Api, rules: str | None, saves: bool
) -> None:
    secret = MANAGEMENT if rules is None else client(api, 1, rules)
    server = HttpServer(api.registry, replace(SETTINGS, acl_enabled=True), operator_routes(OneNode()))
    url = f"http://{await server.start('127.0.0.1', 0)}{SNAPSHOT}"
    try:
        async with api.session.get(url, **with_token(MANAGEMENT)) as response:
            backup = await response.read()
        async with api.session.get(url, **with_token(secret)) as response:
            assert response.status == (200 if saves else 403)
        index = api.registry.state.index
        async with api.session.put(url, data=backup, **with_token(secret)) as response:
            assert response.status == (200 if rules is None else 403)
        assert rules is None or api.registry.state.index == index
    finally:
        await server.stop()


# What strangers can do to the log and to the table of keys.


async def test_a_bootstrap_that_is_done_costs_no_entry_of_the_log() -> None:
    async for api in served():
        assert (await api.do("POST", "/v1/acl/bootstrap"))[0] == 200
        index = api.registry.state.index
        for _ in range(3):
            status, _, text = await api.do("POST", "/v1/acl/bootstrap")
            assert (status, text) == (400, f"ACL bootstrap already done (reset index: {index})")
        assert api.registry.state.index == index


async def test_the_anonymous_keep_no_keys(api: Api) -> None:
    index = api.registry.state.index
    status, _, text = await api.do("POST", "/v1/acl/bootstrap", headers={"Idempotency-Key": "k"})
    assert (status, text) == (
        400,
        "validation: an Idempotency-Key is kept for the token that sends it: send one, or no key",
    )
    assert api.registry.state.index == index


async def test_nobody_takes_all_the_keys(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("volstore.core.idempotency", "volstore.core.fsm"):
        monkeypatch.setattr(f"{module}.CAPACITY", 12)

    async def kept(secret: str, count: int) -> int:
        """How many of so many keys were taken."""
        done = 0
        for number in range(count):
            headers = {"X-Nomad-Token": secret, "Idempotency-Key": f"{secret[:8]}-{number}"}
            status, _, text = await api.do("PUT", IN_PROD, json=body("write"), headers=headers)
            assert status in (200, 429), text
            assert status == 200 or text == TOO_MANY_OF_ONE
            done += status == 200
        return done

    greedy = client(api, 1, MOUNTS_PROD)
    assert await kept(greedy, 9) == 6
    make_token(api, "4" * 36)
    assert await kept("4" * 36, 9) == 3
    assert await kept(greedy, 9) == 6  # its own are still answered
    assert (await put(api, IN_PROD, body("write"), **with_token(greedy)))[0] == 200
