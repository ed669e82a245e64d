"""Creates a cluster's certificates: its authority, and certificates for servers, clients and the command line.

A certificate's role is one of its DNS names, `ROLE.REGION.volstore`. Only the authority can give it: without the role
`server` nobody takes part in the log. Keys are EC P-256; only their owner can read the files.
"""

from __future__ import annotations

import datetime
import enum
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from volstore.private_files import create_private

DOMAIN = "volstore"
"""Names under it state a role and can't be requested."""
ROLES = f".{DOMAIN}"
"""The suffix of names that state a role."""
CA_DAYS = 3650
CERTIFICATE_DAYS = 365
MOST_DAYS = 36_500

# Clocks differ: a new certificate must be valid at once on a machine whose clock is a little behind.
_BACKDATED = datetime.timedelta(hours=1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?", re.ASCII)


class CertificateError(Exception):
    """The certificate can't be created, or a file can't be used; the text says why and what would be right."""


class Role(enum.Enum):
    """The role of a certificate's holder."""

    SERVER = "server"
    """A member: it takes part in the log, serves HTTPS, and sends requests to other members."""
    CLIENT = "client"
    """A program that uses the HTTP API."""
    CLI = "cli"
    """A person at the command line."""


def role_name(role: Role, region: str) -> str:
    """The DNS name that states `role` in a certificate."""
    return f"{role.value}.{region}.{DOMAIN}"


def identifies(name: str) -> bool:
    """Whether `name` identifies one holder. Roles and `localhost` are in many certificates."""
    plain = name.lower().rstrip(".")
    return plain != "localhost" and not plain.endswith(ROLES)


@dataclass(frozen=True, slots=True)
class Made:
    """The files of a certificate and its key, and the end of its validity."""

    certificate: Path
    key: Path
    until: datetime.datetime


def create_authority(folder: Path, *, days: int = CA_DAYS, now: datetime.datetime) -> Made:
    """Write `ca.pem` and `ca-key.pem`. Raises CertificateError if one exists or can't be written."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # The name contains the serial number: while one authority replaces another, the two need different names.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"volstore authority {serial:x}"[:64])])
    until = now + _lifetime(days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _write(folder, "ca", certificate, key, until)


def create_certificate(
    folder: Path,
    role: Role,
    name: str,
    *,
    ca: Path,
    ca_key: Path,
    region: str = "global",
    hosts: Sequence[str] = (),
    days: int = CERTIFICATE_DAYS,
    now: datetime.datetime,
) -> Made:
    """Write `ROLE-NAME.pem` and `ROLE-NAME-key.pem`, signed by the authority in the files `ca` and `ca_key`.

    For a server `name` is the member's name, otherwise any. `hosts` are names and addresses of a server. The
    certificate expires with the authority at the latest. Raises CertificateError.
    """
    for what, value in (("name", name), ("region", region)):
        if not _NAME.fullmatch(value):
            raise CertificateError(f"the {what} {value!r} must be 1 to 64 letters, digits, dots, dashes, underscores")
    authority, authority_key = _authority(ca, ca_key, now)
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + _lifetime(days), authority.not_valid_after_utc)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role is Role.SERVER:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(role, name, region, hosts)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return _write(folder, f"{role.value}-{name}", certificate, key, until)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, in order. Raises CertificateError if there is none, or one is broken."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CertificateError(f"can't read {path}: {error.strerror}") from None
    except ValueError:
        raise CertificateError(f"{path} holds no certificate in PEM") from None


def issued_by(chain: Sequence[x509.Certificate], authorities: Iterable[x509.Certificate]) -> bool:
    """Whether `chain`, with the certificate first, leads to one of `authorities`."""
    steps = [(chain[n], chain[n + 1]) for n in range(len(chain) - 1)]
    return all(_signed(below, above) for below, above in steps) and any(
        chain[-1] == authority or _signed(chain[-1], authority) for authority in authorities
    )


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """The DNS names in a certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def _signed(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _lifetime(days: int) -> datetime.timedelta:
    if not 1 <= days <= MOST_DAYS:
        raise CertificateError(f"a certificate is valid for 1 to {MOST_DAYS} days, not {days}")
    return datetime.timedelta(days=days)


def _alternatives(role: Role, name: str, region: str, hosts: Sequence[str]) -> list[x509.GeneralName]:
    names = [name, role_name(role, region)]
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    if role is Role.SERVER:
        names.append("localhost")
        addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    elif hosts:
        raise CertificateError(f"a {role.value}'s certificate proves no hosts: nobody connects to it")
    for host in hosts:
        try:
            addresses.append(ipaddress.ip_address(host))
        except ValueError:
            if not _HOST.fullmatch(host):
                raise CertificateError(f"{host!r} is neither a host's name nor an IP address") from None
            names.append(host)
    for given in (name, *hosts):
        if given.lower().rstrip(".").endswith(ROLES):
            raise CertificateError(f"{given!r} can't be requested: names under {ROLES} state a holder's role")
    if not identifies(name):
        raise CertificateError(f"a {role.value} can't be called {name!r}: every server's certificate has that name")
    found: list[x509.GeneralName] = [x509.DNSName(one) for one in dict.fromkeys(names)]
    return found + [x509.IPAddress(one) for one in dict.fromkeys(addresses)]


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(ca: Path, ca_key: Path, now: datetime.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = read_certificates(ca)[0]
    try:
        key = serialization.load_pem_private_key(ca_key.read_bytes(), None)
    except OSError as error:
        raise CertificateError(f"can't read {ca_key}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError(f"{ca_key} holds no private key in PEM that can be used without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError(f"the key in {ca_key} isn't the key of the authority in {ca}")
    if certificate.not_valid_after_utc <= now:
        raise CertificateError(
            f"the authority in {ca} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: make a new one, and let "
            "the members trust both until all certificates are replaced"
        )
    return certificate, key


def _write(
    folder: Path, stem: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, until: datetime.datetime
) -> Made:
    made = Made(folder / f"{stem}.pem", folder / f"{stem}-key.pem", until)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        create_private(made.key, pem)
        try:
            create_private(made.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        except OSError:
            made.key.unlink()
            raise
    except FileExistsError as error:
        raise CertificateError(f"{error.filename} exists already and is not overwritten") from None
    except OSError as error:
        raise CertificateError(f"can't write {error.filename}: {error.strerror}") from None
    return made
