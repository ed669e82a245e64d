"""Certificates for both peers' mutual TLS between nodes, made as `volstore tls` makes them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process.agents import Agent, agents
from volstore.certificates import Made, Role, create_authority, create_certificate


class Certificates:
    """An authority of its own in `folder`, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tls"
        self._folder.mkdir()
        self._now = datetime.datetime.now(datetime.UTC)
        self._authority = create_authority(self._folder, now=self._now)

    @property
    def authority(self) -> Path:
        return self._authority.certificate

    def server(self, name: str) -> Made:
        """For 127.0.0.1, to be shown by who is asked and by who asks."""
        made = self._authority
        return create_certificate(
            self._folder, Role.SERVER, name, ca=made.certificate, ca_key=made.key, days=2, now=self._now
        )


@contextmanager
def secured_agents(folder: Path, count: int, *flags: str) -> Iterator[list[Agent]]:
    """As `agents`, with mutual TLS between the nodes; their HTTP stays plain."""
    certificates = Certificates(folder)
    with agents(folder, count, *flags) as nodes:
        for node in nodes:
            own = certificates.server(node.name)
            node.flags += ["--tls-ca-file", str(certificates.authority)]
            node.flags += ["--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key)]
        yield nodes
