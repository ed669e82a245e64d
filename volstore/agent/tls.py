"""A node's TLS contexts, made from its files: for the log, for HTTPS, and for requests to other members."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from cluster.net.tcp import TlsContexts
from volstore.agent.config import AgentConfig
from volstore.certificates import (
    ROLES,
    CertificateError,
    Role,
    identifies,
    issued_by,
    names_of,
    read_certificates,
    role_name,
)
from volstore.http.server.members import MembersClient

_EXPIRES_SOON = datetime.timedelta(days=30)

# For TLS 1.2: only forward secrecy and authenticated encryption. All ciphers of TLS 1.3 have both.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_log = structlog.get_logger("volstore.tls")


class TlsError(Exception):
    """A file can't be used; the text names it and says what would be right."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the trusted authorities (two while one is replaced), our certificate with its chain, our key."""

    authorities: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Tls:
    """Contexts for new connections. `expires` is the end of our certificate.

    `members_host` is the DNS name in every member's certificate. HTTPS requests to members check it, not the host.
    """

    raft: TlsContexts
    https: ssl.SSLContext
    client: ssl.SSLContext
    members_host: str
    expires: datetime.datetime


def tls_of(config: AgentConfig) -> Tls | None:
    """Read the files that `config` names; None if it names none. Raises TlsError."""
    authorities, certificate, key = config.tls_ca_file, config.tls_cert_file, config.tls_key_file
    if authorities is None or certificate is None or key is None:
        return None
    now = datetime.datetime.now(datetime.UTC)
    verify, files = config.tls_verify_https_client, TlsFiles(authorities, certificate, key)
    return load_tls(files, name=config.name, region=config.region, verify_https_client=verify, now=now)


def warn_of_expiry(tls: Tls, config: AgentConfig) -> None:
    """Log a warning from thirty days before our certificate expires."""
    left = tls.expires - datetime.datetime.now(datetime.UTC)
    if left < _EXPIRES_SOON:
        file, expires = str(config.tls_cert_file), f"{tls.expires:%Y-%m-%d}"
        _log.warning("certificate_expires_soon", file=file, expires=expires, days_left=left.days)


def members_client(config: AgentConfig, tls: Tls | None) -> MembersClient:
    """The client for requests to other members: HTTPS where `config` serves it, HTTP otherwise."""
    return MembersClient(tls.client, tls.members_host) if tls is not None and config.tls_http else MembersClient()


def load_tls(files: TlsFiles, *, name: str, region: str, verify_https_client: bool, now: datetime.datetime) -> Tls:
    """Read the files of the member `name`. Raises TlsError, also for files that other members would refuse."""
    member = role_name(Role.SERVER, region)
    expires = _check(files, name, region, member, now)
    raft = TlsContexts(_context(files, server=True), _context(files, server=False), member, ROLES)
    # The certificates name members, not hosts. The handshake of the log compares the names.
    raft.client.check_hostname = False
    https = _context(files, server=True)
    https.verify_mode = ssl.CERT_REQUIRED if verify_https_client else ssl.CERT_NONE
    https.set_alpn_protocols(["http/1.1"])
    return Tls(raft, https, _context(files, server=False), member, expires)


def _check(files: TlsFiles, name: str, region: str, member: str, now: datetime.datetime) -> datetime.datetime:
    try:
        authorities = read_certificates(files.authorities)
        chain = read_certificates(files.certificate)
    except CertificateError as error:
        raise TlsError(str(error)) from None
    proven = names_of(chain[0])
    if not identifies(name):
        raise TlsError(f"a node with TLS can't be called {name!r}: every server's certificate has that name")
    how = f"make one with `volstore tls cert create --server --name {name} --region {region}`"
    for wanted, why in ((name, "this node's name"), (member, "the role of a server")):
        if wanted not in proven:
            shown = ", ".join(sorted(proven)) or "no name at all"
            raise TlsError(f"{files.certificate} proves {shown}, but not {wanted!r}, {why}: {how}")
    if not issued_by(chain, authorities):
        raise TlsError(f"{files.certificate} is not signed by an authority in {files.authorities}: {how}")
    expires = min(certificate.not_valid_after_utc for certificate in chain)
    if expires <= now:
        raise TlsError(f"{files.certificate} expired on {expires:%Y-%m-%d}: {how}")
    return expires


def _context(files: TlsFiles, *, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.set_ciphers(_CIPHERS)
        context.load_verify_locations(files.authorities)
        context.load_cert_chain(files.certificate, files.key, _no_password)
    except ssl.SSLError as error:
        raise TlsError(
            f"{files.key} isn't the key of {files.certificate}, or can't be read as a key ({error.reason or error})"
        ) from None
    except OSError as error:
        raise TlsError(f"can't read {files.key}: {error.strerror}") from None
    return context


def _no_password() -> str:
    """Without this callback OpenSSL would prompt at the terminal, and the start would hang."""
    raise TlsError(
        "the key is encrypted with a password: give the node a key without one, in a file that only it can read"
    )
