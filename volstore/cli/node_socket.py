"""How the command line asks this host's node agent: over its socket, without a token."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from volstore.cli.output import Failed

SOCKET_VARIABLE = "VOLSTORE_NODE_SOCKET"
DEFAULT_SOCKET = "/run/volstore/node.sock"


def socket_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--socket",
        "socket_path",
        type=click.Path(path_type=Path),
        envvar=SOCKET_VARIABLE,
        default=DEFAULT_SOCKET,
        show_default=True,
        help=f"The node agent's socket [{SOCKET_VARIABLE}].",
    )(function)


def ask(path: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The agent's lines before the last, and the last one's `Done` as {"Done": …}. Raises Failed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(os.fspath(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    said = json.loads(line)
                    if "Failed" in said:
                        raise Failed(f"Error: {said['Failed']}")
                    yield said
                    if "Done" in said:
                        return
        except OSError as error:
            raise Failed(
                f"Error: no node agent answers at {path} ({error.strerror or error}): start it with volstore node run"
            ) from None
        except ValueError:
            raise Failed(f"Error: what answers at {path} is no node agent") from None
    raise Failed("Error: the node agent broke off its answer; see its log, and repeat")


def answer(path: Path, request: dict[str, Any]) -> Any:
    """The `Done` of a request without steps. Raises Failed."""
    found = None
    for said in ask(path, request):
        found = said.get("Done", found)
    return found
