"""A small synchronous client of the HTTP API, for the command line.

It uses `http.client` because that imports fastest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from volstore.text import join_address

DEFAULT_ADDRESS = "http://127.0.0.1:4646"
DEFAULT_PORT = 4646
TIMEOUT = 60.0
"""Seconds: more than the 5 s that a server waits for a leader, and enough for a snapshot."""


class ClientError(Exception):
    """The request failed; the text says why in one line."""


class BadAddress(ClientError):
    """The server's address or a certificate file can't be used."""


class Unreachable(ClientError):
    """No answer came. A write that was sent may have been applied all the same."""


class HttpError(ClientError):
    """The server answered `status` and `text`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{text or 'no text'} ({status})")
        self.status = status
        self.text = text


class BadAnswer(ClientError):
    """The answer is no JSON: the server is neither volstore nor Nomad."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The server and our identity; empty strings mean the server's defaults. `cacert`, … name PEM files."""

    address: str = DEFAULT_ADDRESS
    token: str = ""
    namespace: str = ""
    region: str = ""
    cacert: str = ""
    client_cert: str = ""
    client_key: str = ""
    tls_server_name: str = ""

    def __repr__(self) -> str:
        return f"Connection({self.address})"


def from_environment(environ: Mapping[str, str], given: Mapping[str, str | None]) -> Connection:
    """The connection from flags (`given`), then VOLSTORE_* variables, then Nomad's; empty values count as not set.

    Raises BadAddress for a value that isn't UTF-8.
    """
    found = {}
    for field in ("address", "token", "namespace", "region", "cacert", "client_cert", "client_key", "tls_server_name"):
        variable = "ADDR" if field == "address" else field.upper()
        value = given.get(field) or environ.get(f"VOLSTORE_{variable}") or environ.get(f"NOMAD_{variable}")
        if value:
            found[field] = value
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadAddress(f"the {field.replace('_', ' ')} given is not UTF-8") from None
    return Connection(**found)


class Client:
    """Sends requests to one server, one at a time, each on its own TCP connection. It follows no redirects."""

    def __init__(self, connection: Connection, timeout: float = TIMEOUT) -> None:
        """Raises BadAddress. `timeout` is in seconds, for each step of a request."""
        self.connection = connection
        self._timeout = timeout
        address = connection.address
        if "://" not in address:
            address = "http://" + address
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadAddress(f"bad address {connection.address!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query or parts.username:
            raise BadAddress(f"bad address {connection.address!r}: write one like {DEFAULT_ADDRESS}")
        self._scheme, self._host, self._port = parts.scheme, host, port or DEFAULT_PORT

    def get(self, path: str, **parameters: str) -> Any:
        return self.request("GET", path, parameters)

    def put(self, path: str, body: Any, **parameters: str) -> Any:
        return self.request("PUT", path, parameters, body)

    def delete(self, path: str, **parameters: str) -> Any:
        return self.request("DELETE", path, parameters)

    def page(self, path: str, parameters: Mapping[str, str]) -> tuple[Any, str]:
        """A list, and the token of its next page ("" for none). Raises as `request` does."""
        found, headers = self._request("GET", path, parameters)
        return found, headers.get("X-Nomad-NextToken", "")

    def request(self, method: str, path: str, parameters: Mapping[str, str], body: Any = None) -> Any:
        """The decoded JSON of the answer; None if it has no body. `path` is quoted; empty parameters are omitted.

        Raises Unreachable, HttpError (any status from 300), BadAnswer, BadAddress.
        """
        return self._request(method, path, parameters, body)[0]

    def _request(
        self, method: str, path: str, parameters: Mapping[str, str], body: Any = None
    ) -> tuple[Any, HTTPMessage]:
        everywhere = {"namespace": self.connection.namespace, "region": self.connection.region}
        query = urlencode(sorted((k, v) for k, v in (everywhere | dict(parameters)).items() if v))
        headers = {"Accept": "application/json"}
        if self.connection.token:
            headers["X-Nomad-Token"] = self.connection.token
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        status, answered, raw = self._exchange(method, f"{path}?{query}" if query else path, data, headers)
        text = raw.decode("utf-8", "replace")
        if status >= 300:
            raise HttpError(status, text.strip())
        if not text.strip():
            return None, answered
        try:
            return json.loads(text), answered
        except ValueError:
            raise BadAnswer(f"{self._url()} answered something that is not JSON; is it volstore?") from None

    def transfer(self, method: str, path: str, content: bytes | None = None) -> tuple[bytes, HTTPMessage]:
        """Send or fetch bytes. Returns the answer's body and headers; `path` may have a query.

        Raises the same errors as `request`.
        """
        query = urlencode({"region": self.connection.region}) if self.connection.region else ""
        headers = {"X-Nomad-Token": self.connection.token} if self.connection.token else {}
        if content is not None:
            headers["Content-Type"] = "application/octet-stream"
        joined = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
        status, answered, raw = self._exchange(method, joined, content, headers)
        if status >= 300:
            raise HttpError(status, raw.decode("utf-8", "replace").strip())
        return raw, answered

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, HTTPMessage, bytes]:
        connection = self._connect()
        try:
            try:
                connection.request(method, target, data, headers)
                answer: HTTPResponse = connection.getresponse()
                raw = answer.read()
            except TimeoutError:
                raise Unreachable(f"{self._url()} did not answer within {self._timeout:g}s{_maybe(method)}") from None
            except OSError as error:
                reason = error.strerror or str(error)
                raise Unreachable(f"can't reach {self._url()}: {reason}; is the agent running there?") from None
            except HTTPException as error:
                raise Unreachable(
                    f"{self._url()} broke off the answer ({type(error).__name__}){_maybe(method)}"
                ) from None
            except ValueError:  # its text may hold the token
                raise BadAddress("the token or the address holds characters that HTTP can't carry") from None
        finally:
            connection.close()
        return answer.status, answer.headers, raw

    def _connect(self) -> HTTPConnection:
        if self._scheme == "http":
            return HTTPConnection(self._host, self._port, timeout=self._timeout)
        import ssl  # here: plain HTTP doesn't need it

        settings = self.connection
        try:
            context = ssl.create_default_context(cafile=settings.cacert or None)
            if settings.client_cert:
                context.load_cert_chain(settings.client_cert, settings.client_key or None)
        except (OSError, ssl.SSLError) as error:
            raise BadAddress(f"can't use the certificate files given: {error}") from None
        if settings.tls_server_name:
            return _Named(settings.tls_server_name, self._host, self._port, timeout=self._timeout, context=context)
        return HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)

    def _url(self) -> str:
        return f"{self._scheme}://{join_address(self._host, self._port)}"


class _Named(HTTPSConnection):
    """HTTPS to a server whose certificate has another name than its address."""

    def __init__(self, name: str, *args: Any, context: Any, **kwargs: Any) -> None:
        super().__init__(*args, context=context, **kwargs)
        self._name, self._tls = name, context

    def connect(self) -> None:
        HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _maybe(method: str) -> str:
    return "" if method == "GET" else "; the request may still take effect"


def segment(text: str) -> str:
    """`text`, quoted as one segment of a path."""
    return quote(text, safe="")
