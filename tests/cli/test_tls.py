"""What `volstore tls` makes: who may be what with it, and every way in which it can't be made."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from tests.cli.conftest import Result
from volstore.certificates import names_of, read_certificates
from volstore.cli import main

Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process; there is no server that it would have to wait for."""

    def run(*arguments: str) -> Result:
        code = main(arguments)
        return Result(code, *capsys.readouterr())

    return run


def made(cli: Cli, *arguments: str) -> list[Path]:
    result = cli("tls", *arguments)
    assert result.code == 0, result.stderr
    return [Path(line.split("  ")[0]) for line in result.stdout.splitlines()]


@pytest.fixture
def authority(cli: Cli) -> None:
    made(cli, "ca", "create")


def test_an_authority_and_certificates_of_each_role_are_made_for_their_owner_alone(cli: Cli) -> None:
    files = made(cli, "ca", "create")
    files += made(cli, "cert", "create", "--server", "--name", "s1", "--host", "10.0.0.1", "-host=db.example")
    files += made(cli, "cert", "create", "--client", "--name", "app")
    files += made(cli, "cert", "create", "--cli")
    assert [file.name for file in files] == [
        *("ca.pem", "ca-key.pem", "server-s1.pem", "server-s1-key.pem"),
        *("client-app.pem", "client-app-key.pem", "cli-cli.pem", "cli-cli-key.pem"),
    ]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    server, client, person = (read_certificates(Path(name))[0] for name in ("server-s1.pem", files[4], files[6]))
    assert names_of(server) == {"s1", "server.global.volstore", "localhost", "db.example"}
    assert names_of(client) == {"app", "client.global.volstore"}
    assert names_of(person) == {"cli", "cli.global.volstore"}
    addresses = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one) for one in addresses.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.1"]
    lifetime = server.not_valid_after_utc - server.not_valid_before_utc
    assert lifetime.days == 365


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """One over a real connection; raises what the side that refused raised."""
    refused: list[Exception] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            try:
                with server.wrap_socket(connection, server_side=True) as secured:
                    secured.sendall(b"x")
            except (OSError, ssl.SSLError) as error:
                refused.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname()) as plain,
                client.wrap_socket(plain, server_hostname=host) as secured,
            ):
                secured.recv(1)
        finally:
            thread.join()
    if refused:
        raise refused[0]


def context(protocol: int, name: str, authority: str = "ca.pem") -> ssl.SSLContext:
    made = ssl.SSLContext(protocol)
    made.load_verify_locations(authority)
    made.load_cert_chain(f"{name}.pem", f"{name}-key.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    return made


@pytest.mark.usefixtures("authority")
def test_servers_serve_and_ask_clients_only_ask_and_strict_checks_find_nothing(cli: Cli) -> None:
    made(cli, "cert", "create", "--server", "--name", "s1", "--host", "10.0.0.1")
    made(cli, "cert", "create", "--client", "--name", "app")
    server = context(ssl.PROTOCOL_TLS_SERVER, "server-s1")
    for name in ("server-s1", "client-app"):
        for host in ("localhost", "127.0.0.1", "10.0.0.1", "server.global.volstore"):
            client = context(ssl.PROTOCOL_TLS_CLIENT, name)
            client.verify_flags |= ssl.VERIFY_X509_STRICT
            handshake(server, client, host)
    with pytest.raises(ssl.SSLError, match="verify failed"):
        handshake(server, context(ssl.PROTOCOL_TLS_CLIENT, "server-s1"), "elsewhere")
    with pytest.raises(ssl.SSLError):
        handshake(context(ssl.PROTOCOL_TLS_SERVER, "client-app"), context(ssl.PROTOCOL_TLS_CLIENT, "server-s1"), "app")


@pytest.mark.usefixtures("authority")
def test_nothing_is_overwritten(cli: Cli) -> None:
    before = Path("ca.pem").read_bytes(), Path("ca-key.pem").read_bytes()
    result = cli("tls", "ca", "create")
    assert (result.code, result.stderr) == (1, "ca-key.pem exists already and is not overwritten\n")
    Path("ca-key.pem").rename("kept-key.pem")
    result = cli("tls", "ca", "create")
    assert (result.code, result.stderr) == (1, "ca.pem exists already and is not overwritten\n")
    assert not Path("ca-key.pem").exists()
    assert (Path("ca.pem").read_bytes(), Path("kept-key.pem").read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--name s1", "say what it is for: --server, --client or --cli"),
        ("--server", "a server's certificate needs --name NAME"),
        ("--client", "a client's certificate needs --name NAME"),
        ("--server --name a/b", "the name 'a/b' must be 1 to 64 letters, digits"),
        ("--server --name s1 --region ../x", "the region '../x' must be"),
        ("--server --name s1 --host no!host", "'no!host' is neither a host's name nor an IP address"),
        ("--server --name s1 --host 10.0.0.256.", "'10.0.0.256.' is neither"),
        ("--client --name x --host h", "a client's certificate proves no hosts"),
        (
            "--client --name server.global.volstore",
            "'server.global.volstore' can't be requested: names under .volstore",
        ),
        ("--server --name s1 --host server.EU.Volstore", "can't be requested"),
        ("--server --name s1 --days 0", "a certificate is valid for 1 to 36500 days, not 0"),
        ("--server --name s1 --ca none.pem", "can't read none.pem: No such file"),
        ("--server --name s1 --ca ca-key.pem", "ca-key.pem holds no certificate in PEM"),
        ("--server --name s1 --ca-key ca.pem", "ca.pem holds no private key in PEM"),
        ("--server --name s1 --ca-key none.pem", "can't read none.pem"),
        ("--server --name s1 --ca-key other/ca-key.pem", "isn't the key of the authority in ca.pem"),
        ("--server --name s1 --dir nowhere --ca ca.pem --ca-key ca-key.pem", "can't write nowhere/server-s1-key.pem"),
    ],
)
@pytest.mark.usefixtures("authority")
def test_what_can_not_be_made_is_told_and_leaves_nothing(cli: Cli, arguments: str, expected: str) -> None:
    Path("other").mkdir()
    made(cli, "ca", "create", "--dir", "other")
    before = sorted(Path().rglob("*"))
    result = cli("tls", "cert", "create", *arguments.split())
    assert result.code in (1, 2)
    assert re.search(re.escape(expected), result.stderr)
    assert len(result.stderr.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_a_certificate_does_not_outlive_its_authority(cli: Cli) -> None:
    made(cli, "ca", "create", "--days", "10")
    made(cli, "cert", "create", "--cli", "--days", "300")
    authority, person = read_certificates(Path("ca.pem"))[0], read_certificates(Path("cli-cli.pem"))[0]
    assert person.not_valid_after_utc == authority.not_valid_after_utc
