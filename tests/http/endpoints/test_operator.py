"""The operator's routes: what is refused, what is done where, and what a node says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.storage.sealing import Keyring, key_id_of, key_name
from tests.http.cluster_admin import NODE, OneNode, cut_off
from tests.http.registry import SERVER, InProcessRegistry
from volstore.backup.archive import digest_header, pack, unpack
from volstore.backup.sealed import BackupKeys
from volstore.core.commands import DeleteNode, PutNode
from volstore.core.model import Node as NodeRow
from volstore.http.cluster_admin import NewPeer
from volstore.http.endpoints.metrics import metrics_route
from volstore.http.endpoints.operator import operator_routes
from volstore.http.registry import ClusterView
from volstore.http.server.metrics import Figures, families
from volstore.http.server.server import HttpServer
from volstore.http.server.settings import HttpSettings

NEW_PEER = {"Name": "s4", "Address": "127.0.0.1:4677", "Incarnation": "00ff"}


class Registry(InProcessRegistry):
    """`leads`: whose HTTP address the leader has; None: this node leads."""

    leads: str | None = None

    def cluster(self) -> ClusterView:
        view = super().cluster()
        if self.leads is None or view.leader is None:
            return view
        return replace(view, leader=replace(SERVER, name="server2", http_address=self.leads))


@dataclass
class Node:
    url: str
    registry: Registry
    operations: OneNode
    session: aiohttp.ClientSession

    async def do(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.url + path, **options) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()


async def serving(backup_keys: BackupKeys | None = None) -> AsyncIterator[Node]:
    registry, operations = Registry(), OneNode()
    figures: list[Figures] = []
    metrics = metrics_route(lambda: families(operations.node(), registry.state, len(registry.watch), figures[0]))
    server = HttpServer(registry, HttpSettings(deadline=0.3), (*operator_routes(operations, backup_keys), metrics))
    figures.append(Figures(server.requests))
    address = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Node(f"http://{address}", registry, operations, session)
    await server.stop()


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async for one in serving():
        yield one


@pytest.fixture
async def leader() -> AsyncIterator[Node]:
    """Another node, which leads."""
    async for one in serving():
        yield one


async def test_a_member_is_named_by_id_name_or_address(node: Node) -> None:
    for name in ("id=0f0e0d0c", "id=server1", "address=127.0.0.1:4647"):
        assert await node.do("DELETE", f"/v1/operator/raft/peer?{name}") == (200, "")
        assert node.operations.done.pop() == ("remove", "server1")
        status, answer = await node.do("PUT", f"/v1/operator/raft/transfer-leadership?{name}")
        assert (status, answer["Leader"]) == (200, "server1")
    assert (await node.do("POST", "/v1/operator/raft/transfer-leadership"))[0] == 200
    assert node.operations.done[-1] == ("transfer", None)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("DELETE", "peer", 400, "Must specify either ?id with the server's ID or ?address with IP:port"),
        ("DELETE", "peer?id=nope", 404, 'id "nope" was not found in the Raft configuration'),
        ("DELETE", "peer?address=127.0.0.1:9", 404, 'address "127.0.0.1:9" was not found in the Raft configuration'),
        ("PUT", "transfer-leadership?id=nope", 404, 'id "nope" was not found'),
    ],
)
async def test_who_is_not_there_is_not_changed(node: Node, method: str, path: str, status: int, text: str) -> None:
    found, answer = await node.do(method, f"/v1/operator/raft/{path}")
    assert (found, answer[: len(text)]) == (status, text)
    assert node.operations.done == []


@pytest.mark.parametrize(("said", "level"), [({}, 1), ({"Level": None}, 1), ({"Level": 2}, 2)])
async def test_a_new_member_says_who_it_is(node: Node, said: dict[str, Any], level: int) -> None:
    assert await node.do("PUT", "/v1/operator/raft/peer", json=NEW_PEER | said) == (200, "")
    assert node.operations.done == [("add", NewPeer("s4", "127.0.0.1:4677", b"\x00\xff", level))]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"Name": ""}, "Name must be given"),
        ({"Name": None, "Address": None}, "Name and Address must be given"),
        ({"Incarnation": "xyz"}, "Incarnation: expected hexadecimal digits"),
        ({"Name": "a\nb"}, "Name: control character"),
        ({"Address": 7}, "Address: expected a string"),
        ({"Level": 0}, "Level: 0 is out of range, expected 1 to 255"),
        ({"Level": "2"}, "Level: expected a number"),
    ],
)
async def test_a_new_member_that_can_not_be_one_is_refused(node: Node, changes: dict[str, Any], text: str) -> None:
    status, answer = await node.do("PUT", "/v1/operator/raft/peer", json=NEW_PEER | changes)
    assert status == 400
    assert text in answer
    assert node.operations.done == []


async def test_what_the_leader_must_do_is_sent_on_to_it_with_its_token(node: Node, leader: Node) -> None:
    node.registry.leads = leader.url.removeprefix("http://")
    headers = {"X-Nomad-Token": "secret", "X-Request-Id": "req-1"}
    async with node.session.put(f"{node.url}/v1/operator/raft/peer", json=NEW_PEER, headers=headers) as response:
        assert response.status == 200
    assert node.operations.done == []
    assert leader.operations.done == [("add", NewPeer("s4", "127.0.0.1:4677", b"\x00\xff"))]
    assert (await node.do("DELETE", "/v1/operator/raft/peer?id=a%26b"))[1] == (
        'id "a&b" was not found in the Raft configuration'
    )


async def test_nodes_that_take_each_other_for_the_leader_do_not_send_on_for_ever(node: Node, leader: Node) -> None:
    node.registry.leads = leader.url.removeprefix("http://")
    leader.registry.leads = node.url.removeprefix("http://")
    assert await node.do("DELETE", "/v1/operator/raft/peer?id=server1") == (
        503,
        "leadership is moving just now: try again",
    )


async def test_a_leader_that_can_not_be_reached_is_named(node: Node) -> None:
    node.registry.leads = "127.0.0.1:1"
    status, answer = await node.do("DELETE", "/v1/operator/raft/peer?id=server1")
    assert status == 503
    assert answer.startswith("the leader, server2 at 127.0.0.1:1, can't be reached: ")


async def test_without_a_leader_a_change_waits_and_then_says_so(node: Node) -> None:
    node.registry.cut_off = True
    assert await node.do("DELETE", "/v1/operator/raft/peer?id=server1") == (503, "No cluster leader")


async def test_health_checks_tell_alive_from_ready_from_leading(node: Node) -> None:
    async def codes() -> list[int]:
        return [(await node.do("GET", f"/v1/agent/health/{kind}"))[0] for kind in ("live", "ready", "leader")]

    assert await codes() == [200, 200, 200]
    node.operations.view = replace(NODE, role="follower", leader="server2")
    assert await codes() == [200, 200, 503]
    assert (await node.do("GET", "/v1/agent/health/leader"))[1] == "this node doesn't lead; server2 does"
    node.operations.view = cut_off()
    assert await codes() == [200, 503, 503]
    assert (await node.do("GET", "/v1/agent/health/ready"))[1] == "No cluster leader"
    for view, reason in (
        (replace(NODE, fault="the disk is full"), "the disk is full"),
        (replace(NODE, role="learner"), "this node has no vote: it is learner"),
    ):
        node.operations.view = view
        assert await node.do("GET", "/v1/agent/health/ready") == (503, reason)


async def test_a_node_that_failed_says_that_it_does_not_live(node: Node) -> None:
    assert (await node.do("GET", "/v1/agent/health/live"))[0] == 200
    node.operations.failure = "a defect in a tick"
    assert await node.do("GET", "/v1/agent/health/live") == (503, "a defect in a tick")


async def test_autopilots_health_is_429_when_it_is_bad(node: Node) -> None:
    status, answer = await node.do("GET", "/v1/operator/autopilot/health")
    assert (status, answer["Healthy"], answer["FailureTolerance"]) == (200, True, 0)
    assert answer["Servers"][0]["Name"] == "server1.global"
    (peer,) = NODE.peers
    node.operations.view = replace(NODE, peers=(replace(peer, lag=1000),))
    status, text = await node.do("GET", "/v1/operator/autopilot/health")
    assert status == 429
    assert '"Healthy":false' in text


async def test_the_members_are_shown_as_nomads_command_reads_them(node: Node) -> None:
    status, answer = await node.do("GET", "/v1/operator/raft/configuration")
    assert status == 200
    (server,) = answer["Servers"]
    assert server == {
        "Address": "127.0.0.1:4647",
        "ID": "0f0e0d0c",
        "Leader": True,
        "Name": "server1",
        "Node": "server1.global",
        "RaftProtocol": "3",
        "Voter": True,
    }


async def test_a_backup_is_given_and_taken_back(node: Node) -> None:
    async with node.session.get(f"{node.url}/v1/operator/snapshot") as response:
        saved = await response.read()
        assert response.headers["Digest"].startswith("sha-256=")
        assert response.content_type == "application/gzip"
        index = int(response.headers["X-Nomad-Index"])
    async with node.session.put(f"{node.url}/v1/operator/snapshot", data=saved) as response:
        assert response.status == 200, await response.text()
        assert int(response.headers["X-Nomad-Index"]) > index
    status, text = await node.do("PUT", "/v1/operator/snapshot", data=b"nonsense")
    assert status == 400
    assert text.startswith("validation: this is not a backup of volstore")


async def saved_by(node: Node) -> bytes:
    async with node.session.get(f"{node.url}/v1/operator/snapshot") as response:
        content = await response.read()
        assert response.headers["Digest"] == digest_header(content)
        return content


async def test_a_backup_is_sealed_where_there_is_a_key_and_restored_where_there_is_that_key() -> None:
    first, second = bytes(32), bytes([1]) * 32
    name = key_name(key_id_of(first))
    keyring = Keyring([first])
    keys = BackupKeys(keyring)
    async for node in serving(keys):
        node.registry.apply(PutNode(NodeRow(id="n1", name="hush")))
        sealed = await saved_by(node)
        meta, state = unpack(sealed)
        assert (meta.key, b"hush" in state) == (name, False)
        keyring.use([second, first])
        assert unpack(await saved_by(node))[0].key == key_name(key_id_of(second))
        node.registry.apply(DeleteNode("n1"))
        assert (await node.do("PUT", "/v1/operator/snapshot", data=sealed))[0] == 200
        assert node.registry.state.node("n1") is not None
    plain = pack(replace(meta, key="", version=1, size=len(opened := keys.opened(meta, state))), [opened])
    for has, known in ((), "none"), ((second,), f"only {key_name(key_id_of(second))}"):
        async for other in serving(BackupKeys(Keyring(has))):
            before = other.registry.state.index
            status, text = await other.do("PUT", "/v1/operator/snapshot", data=sealed)
            assert status == 400
            assert text.startswith(
                f"validation: the backup is sealed under backup key {name}, and this node has {known}"
            )
            assert other.registry.state.index == before
            assert (await other.do("PUT", "/v1/operator/snapshot", data=plain))[0] == 200
            assert other.registry.state.node("n1") is not None


async def test_metrics_count_requests_by_their_routes(node: Node) -> None:
    for path in ("/v1/volume/csi/a", "/v1/volume/csi/b", "/nowhere"):
        assert (await node.do("GET", path))[0] == 404
    assert (await node.do("PATCH", "/v1/volumes"))[0] == 405
    status, text = await node.do("GET", "/v1/metrics?format=prometheus")
    assert status == 200
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["volstore_http_requests_total", "/v1/volume/csi/{id}", "404", "GET"] == 2
    assert found["volstore_http_requests_total", "404", "other", "unknown"] == 1
    assert found["volstore_http_requests_total", "/v1/volumes", "405", "other"] == 1
    assert found["volstore_http_request_seconds_count", "/v1/volume/csi/{id}", "GET"] == 2
    assert found["volstore_raft_is_leader",] == 1
    assert found["volstore_raft_peer_lag_entries", "server1"] == 0


async def test_metrics_have_nomads_shape_in_json(node: Node) -> None:
    await node.do("GET", "/v1/regions")
    status, answer = await node.do("GET", "/v1/metrics")
    assert status == 200
    assert set(answer) == {"Counters", "Gauges", "Points", "Samples", "Timestamp"}
    gauges = {(one["Name"], *one["Labels"].values()): one["Value"] for one in answer["Gauges"]}
    assert gauges["volstore.raft.term",] == 2
    assert gauges["volstore.fsm.objects", "namespaces"] == 1
    (sample,) = [one for one in answer["Samples"] if one["Labels"].get("route") == "/v1/regions"]
    assert sample["Count"] == 1
    assert 0 < sample["Min"] == sample["Max"] == sample["Sum"] == sample["Mean"] < 10
    assert (await node.do("GET", "/v1/metrics?format=xml"))[0] == 400


async def test_bounded_age_is_asked_as_a_duration(node: Node) -> None:
    assert (await node.do("GET", "/v1/volumes?type=csi&max_stale=2s"))[0] == 200
    status, text = await node.do("GET", "/v1/volumes?type=csi&max_stale=2")
    assert status == 400
    assert text.startswith("Invalid max_stale")
