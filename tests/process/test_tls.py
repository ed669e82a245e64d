"""Real nodes over TLS: who gets in, and all certificates and their authority replaced while writes go on."""

from __future__ import annotations

import asyncio
import datetime
import random
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import structlog

from cluster.net.tcp import TcpNetwork
from cluster.net.transport import Identity, Transport
from cluster.storage.disk import RealDisk
from cluster.storage.identity import held
from tests.process.agents import Agent, add_plugin, agents, free_ports, get, leader, until, volume
from volstore.agent.tls import TlsFiles, load_tls
from volstore.certificates import Role, create_authority, create_certificate

NOW = datetime.datetime.now(datetime.UTC)


def authority(folder: Path) -> Path:
    folder.mkdir()
    return create_authority(folder, now=NOW).certificate


def issue(ca: Path, role: Role, name: str, folder: Path, days: int = 365) -> None:
    """cert.pem and key.pem of `folder`, each replaced at once, the way a program that renews them does."""
    made = create_certificate(ca.parent, role, name, ca=ca, ca_key=ca.with_name("ca-key.pem"), days=days, now=NOW)
    folder.mkdir(exist_ok=True)
    made.certificate.replace(folder / "cert.pem")
    made.key.replace(folder / "key.pem")


def context(ca: Path, own: Path | None = None) -> ssl.SSLContext:
    """A client's that trusts `ca` and shows what is in the folder `own`."""
    made = ssl.create_default_context(cafile=str(ca))
    if own is not None:
        made.load_cert_chain(own / "cert.pem", own / "key.pem")
    return made


@contextmanager
def secured(folder: Path, count: int, ca: Path) -> Iterator[list[Agent]]:
    with agents(folder, count, "--tls-http") as nodes:
        for node in nodes:
            own = folder / f"tls-{node.name}"
            issue(ca, Role.SERVER, node.name, own)
            shutil.copy(ca, own / "ca.pem")
            node.scheme = "https"
            node.flags = [*node.flags, "--tls-ca-file", f"{own}/ca.pem"]
            node.flags += ["--tls-cert-file", f"{own}/cert.pem", "--tls-key-file", f"{own}/key.pem"]
        yield nodes


async def reload(nodes: list[Agent], event: str = "reloaded") -> None:
    for node in nodes:
        told = partial(_count, node, event, node.output().count(event) + 1)
        node.send(signal.SIGHUP)
        await until(told, what=event)


def _count(node: Agent, event: str, wanted: int) -> bool:
    return node.output().count(event) >= wanted


class Writer:
    """Registers volumes through one node, on one connection that it keeps; every refusal is a failure."""

    def __init__(self, node: Agent, trust: ssl.SSLContext) -> None:
        self.node, self.trust = node, trust
        self.written = 0
        self.stopping = False
        self.connections = 0

    async def run(self) -> None:
        async def connected(*_: object) -> None:
            self.connections += 1

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(connected)
        connector = aiohttp.TCPConnector(ssl=self.trust, limit=1)
        async with aiohttp.ClientSession(connector=connector, trace_configs=[trace]) as session:
            while not self.stopping:
                volume_id = f"{self.node.name}-{self.written}"
                body = {"Volumes": [volume(volume_id)]}
                async with session.put(f"{self.node.url}/v1/volume/csi/{volume_id}", json=body) as response:
                    assert response.status == 200, await response.text()
                    await response.read()
                self.written += 1


def knock(address: str, own: ssl.SSLContext) -> bytes:
    """What a raft port answers to whoever shows that certificate: nothing, or the reset of a connection."""
    host, port = address.split(":")
    own.check_hostname = False
    try:
        with (
            socket.create_connection((host, int(port)), 10) as plain,
            own.wrap_socket(plain) as stream,
        ):
            return stream.recv(100)
    except OSError:
        return b""


@pytest.mark.timeout(180)
async def test_all_certificates_and_their_authority_are_replaced_while_writes_go_on(tmp_path: Path) -> None:
    old, new = authority(tmp_path / "old"), authority(tmp_path / "new")
    both = tmp_path / "both.pem"
    both.write_bytes(old.read_bytes() + new.read_bytes())
    with secured(tmp_path, 3, old) as nodes:
        for node in nodes:
            node.start()
        trust = context(old)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
            await leader(session, nodes)
            await add_plugin(session, nodes[0].url)
        writers = [Writer(node, trust) for node in nodes]
        tasks = [asyncio.create_task(writer.run()) for writer in writers]

        async def more() -> None:
            before = [writer.written for writer in writers]
            await until(
                lambda: (
                    any(t.done() for t in tasks)
                    or all(w.written > b + 20 for w, b in zip(writers, before, strict=True))
                ),
                what="writes through every node",
            )

        await more()
        for node in nodes:
            shutil.copy(both, tmp_path / f"tls-{node.name}" / "ca.pem")
        await reload(nodes)
        await more()
        for node in nodes:
            issue(new, Role.SERVER, node.name, tmp_path / f"tls-{node.name}")
        await reload(nodes)
        await more()
        for node in nodes:
            shutil.copy(new, tmp_path / f"tls-{node.name}" / "ca.pem")
        await reload(nodes)
        await more()
        for writer in writers:
            writer.stopping = True
        await asyncio.gather(*tasks)
        assert [writer.connections for writer in writers] == [1, 1, 1]

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(old))) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await get(session, f"{nodes[0].url}/v1/regions")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(new))) as session:
            for node in nodes:  # one by one, each joins the others under the new authority alone
                assert node.stop() == 0
                node.start()
                await leader(session, nodes)
                await until_served(session, node)
            for node in nodes:
                status, volumes = await get(session, f"{node.url}/v1/volumes?type=csi")
                assert (status, len(volumes)) == (200, sum(writer.written for writer in writers))
        for node in nodes:
            assert '"level": "error"' not in node.output()
            assert "[error" not in node.output()


async def until_served(session: aiohttp.ClientSession, node: Agent) -> None:
    async def served() -> bool:
        try:
            return (await get(session, f"{node.url}/v1/volumes?type=csi"))[0] == 200
        except aiohttp.ClientError:
            return False

    await until(served, what=f"a read through {node.name}")


@pytest.mark.timeout(120)
async def test_members_ask_each_other_over_https_and_a_new_one_joins_so(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    with secured(tmp_path, 4, ca) as (*nodes, new):
        for node in nodes:
            node.servers = [server for server in node.servers if not server.startswith(f"{new.name}=")]
            node.flags.append("--tls-verify-https-client")
            node.start()
        mine = tmp_path / "mine"
        issue(ca, Role.CLI, "me", mine)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(ca, mine))) as session:
            leads = await leader(session, nodes)
            follower = next(node for node in nodes if node is not leads)
            new.servers = []
            new.flags += ["--join", follower.url]
            new.start()

            async def healthy() -> bool:
                try:
                    answers = [await get(session, f"{node.url}/v1/operator/health") for node in (*nodes, new)]
                except aiohttp.ClientError:
                    return False
                return all(status == 200 and len(found["Nodes"]) == 4 and found["Healthy"] for status, found in answers)

            await until(healthy, what="four members that hear each other")
            url = f"{follower.url}/v1/operator/raft/transfer-leadership?address={follower.raft}"
            async with session.put(url) as response:  # which is sent on to the leader
                assert response.status == 200, await response.text()
            assert await leader(session, nodes) is follower


@pytest.mark.timeout(120)
async def test_who_is_no_server_gets_no_further_than_the_handshake(tmp_path: Path) -> None:
    ca, other = authority(tmp_path / "ca"), authority(tmp_path / "other")
    for role in (Role.CLIENT, Role.CLI):
        issue(ca, role, "s2", tmp_path / role.value)
    issue(other, Role.SERVER, "s2", tmp_path / "foreign")
    issue(ca, Role.SERVER, "s2", tmp_path / "member")
    with secured(tmp_path, 1, ca) as (node,):
        node.flags.append("--tls-verify-https-client")
        node.start()
        mine = context(ca, tmp_path / "client")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=mine)) as session:
            await leader(session, [node])
            for name in ("client", "cli", "foreign"):
                assert await asyncio.to_thread(knock, node.raft, context(ca, tmp_path / name)) == b""
            assert await asyncio.to_thread(knock, node.raft, context(ca)) == b""
            assert "it lacks the name server.global.volstore" in node.output()
            # A member is at least invited to say who it is.
            assert b"replicated-log" in await asyncio.to_thread(knock, node.raft, context(ca, tmp_path / "member"))
            assert (await get(session, f"{node.url}/v1/regions")) == (200, ["global"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(ca))) as session:
            with pytest.raises(aiohttp.ClientError):
                await get(session, f"{node.url}/v1/regions")


@pytest.mark.timeout(120)
async def test_what_puts_a_node_at_risk_is_told_at_each_start(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    with secured(tmp_path, 1, ca) as (node,):
        own = tmp_path / "tls-s1"
        issue(ca, Role.SERVER, "s1", own, days=10)
        node.flags += ["--http-addr", node.http.replace("127.0.0.1", "0.0.0.0"), "--insecure-bind"]
        for starts in (1, 2):
            node.start()
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(ca))) as session:
                await leader(session, [node])
            assert node.output().count("certificate_expires_soon") == starts
            # Over TLS, but open to everybody: access control is off.
            assert node.output().count("listening_unprotected") == starts
            assert node.stop() == 0


@pytest.mark.timeout(120)
async def test_files_that_can_not_be_used_stop_a_start_and_leave_a_running_node_as_it_was(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    with secured(tmp_path, 1, ca) as (node,):
        certificate = tmp_path / "tls-s1" / "cert.pem"
        good = certificate.read_bytes()
        certificate.write_text("nonsense")
        node.start()
        assert node.process is not None
        assert await asyncio.to_thread(node.process.wait, 30) == 1
        assert "cert.pem holds no certificate in PEM" in node.output()
        certificate.write_bytes(good)
        node.start()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(ca))) as session:
            await leader(session, [node])
            certificate.write_text("nonsense")
            await reload([node], "reload_refused")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(ca))) as session:
            assert (await get(session, f"{node.url}/v1/regions")) == (200, ["global"])


class Stranger:
    """Bears a server's certificate of the cluster's authority, and says that it knows a later configuration."""

    def __init__(self, name: str, own: Path, cluster: str) -> None:
        tls = load_tls(
            TlsFiles(own / "ca.pem", own / "cert.pem", own / "key.pem"),
            name=name,
            region="global",
            verify_https_client=False,
            now=NOW,
        )
        address = f"127.0.0.1:{free_ports(1)[0]}"
        self.refused: list[str] = []
        self.transport = Transport(
            network=TcpNetwork(structlog.get_logger("tests"), tls.raft),
            random=random.SystemRandom(),
            me=Identity(name, b"a stranger's own", cluster, {"configuration": "999999", "raft": address}),
            bind=address,
            log=structlog.get_logger("tests"),
            admit=lambda *_: None,
            on_message=lambda _peer, _frame: None,
            on_peer=lambda _peer, _connected: None,
            on_failure=lambda _error: None,
            on_refused=lambda _peer, reason, _who: self.refused.append(reason),
        )

    async def refused_by(self, nodes: list[Agent]) -> None:
        before = len(self.refused)
        self.transport.set_peers({node.name: node.raft for node in nodes})
        await until(lambda: len(self.refused) >= before + 2 * len(nodes), what=f"{self.refused}")
        assert not self.transport.connected()


@pytest.mark.timeout(180)
async def test_a_server_certificate_of_no_member_is_heard_neither_beside_a_leader_nor_by_a_node_alone(
    tmp_path: Path,
) -> None:
    ca = authority(tmp_path / "ca")
    own = tmp_path / "tls-s9"
    issue(ca, Role.SERVER, "s9", own)
    shutil.copy(ca, own / "ca.pem")
    with secured(tmp_path, 3, ca) as nodes:
        for node in nodes:
            node.start()
        trust = context(ca)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
            await leader(session, nodes)
            known = held(RealDisk(tmp_path / nodes[0].name))
            assert known is not None
            stranger = Stranger("s9", own, known.cluster_id)
            await stranger.transport.start()
            try:
                await stranger.refused_by(nodes)
                for node in nodes[1:]:
                    node.kill()
                await until(lambda: any("vouched" in reason for reason in stranger.refused))
                await stranger.refused_by(nodes[:1])
                for node in nodes[1:]:
                    node.start()
                await leader(session, nodes)
                await stranger.refused_by(nodes)
            finally:
                await stranger.transport.stop()
            assert all(node.process is not None and node.process.poll() is None for node in nodes)
