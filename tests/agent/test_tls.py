"""What a node makes of its TLS files, and what it says of files that other members would refuse."""

from __future__ import annotations

import datetime
import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from volstore.agent.tls import Tls, TlsError, TlsFiles, load_tls
from volstore.certificates import CertificateError, Role, create_authority, create_certificate

NOW = datetime.datetime.now(datetime.UTC)
YEAR = datetime.timedelta(days=365)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_authority(tmp_path, now=NOW)
    issue(tmp_path, Role.SERVER, "s1")
    return tmp_path


def issue(folder: Path, role: Role, name: str, *, now: datetime.datetime = NOW, region: str = "global") -> None:
    ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
    create_certificate(folder, role, name, ca=ca, ca_key=ca_key, region=region, days=365, now=now)


def load(folder: Path, stem: str = "server-s1", *, key: str = "", verify: bool = False, ca: str = "ca.pem") -> Tls:
    files = TlsFiles(folder / ca, folder / f"{stem}.pem", folder / (key or f"{stem}-key.pem"))
    return load_tls(files, name="s1", region="global", verify_https_client=verify, now=NOW)


def test_contexts_are_modern_and_those_of_members_verify_both_sides(folder: Path) -> None:
    tls = load(folder)
    contexts = [tls.raft.server, tls.raft.client, tls.https, tls.client]
    assert {context.minimum_version for context in contexts} == {ssl.TLSVersion.TLSv1_2}
    ciphers = {cipher["name"] for context in contexts for cipher in context.get_ciphers()}
    assert all(re.match(r"TLS_|ECDHE-.*(GCM|POLY1305)", name) for name in ciphers), ciphers
    assert [context.verify_mode for context in contexts] == [ssl.CERT_REQUIRED] * 2 + [ssl.CERT_NONE, ssl.CERT_REQUIRED]
    assert load(folder, verify=True).https.verify_mode is ssl.CERT_REQUIRED
    assert tls.raft.every_member == tls.members_host == "server.global.volstore"
    assert tls.client.check_hostname
    assert NOW + YEAR - tls.expires < datetime.timedelta(seconds=1)


def test_a_bundle_may_hold_two_authorities(folder: Path) -> None:
    (folder / "new").mkdir()
    create_authority(folder / "new", now=NOW)
    both = (folder / "ca.pem").read_bytes() + (folder / "new/ca.pem").read_bytes()
    (folder / "both.pem").write_bytes(both)
    assert len(load(folder, ca="both.pem").raft.client.get_ca_certs()) == 2
    with pytest.raises(TlsError, match=r"is not signed by an authority in .*new/ca\.pem: make one with `volstore tls"):
        load(folder, ca="new/ca.pem")


def test_a_certificate_that_other_members_would_refuse_is_told_at_once(folder: Path) -> None:
    for role, name, region, expected in (
        (Role.SERVER, "s2", "global", "server-s2.pem proves localhost, s2, server.global.volstore, but not 's1', this"),
        (Role.CLIENT, "s1", "global", "but not 'server.global.volstore', the role of a server"),
        (Role.SERVER, "s1", "eu", "but not 'server.global.volstore'"),
    ):
        (folder / "server-s1.pem").unlink(missing_ok=True)
        (folder / "server-s1-key.pem").unlink(missing_ok=True)
        issue(folder, role, name, region=region)
        with pytest.raises(TlsError, match=re.escape(expected)):
            load(folder, f"{role.value}-{name}")


def test_an_expired_certificate_is_told(folder: Path) -> None:
    (folder / "server-s1.pem").unlink()
    (folder / "server-s1-key.pem").unlink()
    issue(folder, Role.SERVER, "s1", now=NOW - 2 * YEAR)
    with pytest.raises(TlsError, match=r"server-s1\.pem expired on \d{4}-\d\d-\d\d: make one with"):
        load(folder)


def test_files_that_can_not_be_used_are_named(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "server-s1-key.pem").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (folder / "locked.pem").write_bytes(locked)
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    issue(folder, Role.CLIENT, "other")
    for given, expected in (
        ({"ca": "none.pem"}, "can't read .*none.pem: No such file"),
        ({"ca": "broken.pem"}, "broken.pem holds no certificate in PEM"),
        ({"stem": "broken"}, "broken.pem holds no certificate in PEM"),
        ({"key": "none.pem"}, "can't read .*none.pem: No such file"),
        ({"key": "ca.pem"}, "ca.pem isn't the key of .*server-s1.pem, or can't be read as a key"),
        ({"key": "client-other-key.pem"}, "client-other-key.pem isn't the key of .*server-s1.pem"),
        ({"key": "locked.pem"}, "the key is encrypted with a password"),
    ):
        with pytest.raises(TlsError, match=expected):
            load(folder, **given)  # type: ignore[arg-type]  # settings by name


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "server.global.volstore"])
def test_a_name_that_every_server_proves_is_no_members(folder: Path, name: str) -> None:
    with pytest.raises(CertificateError, match="can't be"):
        issue(folder, Role.SERVER, name)
    files = TlsFiles(folder / "ca.pem", folder / "server-s1.pem", folder / "server-s1-key.pem")
    with pytest.raises(TlsError, match="a node with TLS can't be called"):
        load_tls(files, name=name, region="global", verify_https_client=False, now=NOW)
