"""What a setting is, and readers of values: each turns text into a value, or raises ValueError saying what is right."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volstore.text import host_and_port

MAX_NAME = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `name` is its TOML key and its field in AgentConfig.

    `read` turns text into the value, or raises ValueError saying what would be right. `default` is text for `read`;
    with `default_is_prose` it describes for people how the default is computed. `number`: TOML may hold an integer.
    `many`: a list in TOML, a repeated flag, a variable with commas. `switch`: a boolean in TOML, a flag without a
    value.
    """

    name: str
    metavar: str
    read: Callable[[str], Any]
    help: str
    default: str
    default_is_prose: bool = False
    number: bool = False
    many: bool = False
    switch: bool = False
    flag: str = ""

    @property
    def option(self) -> str:
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "VOLSTORE_" + self.name.upper()


def address(text: str) -> str:
    host_and_port(text)
    return text


def reachable(text: str) -> str:
    host, port = host_and_port(text)
    if port == 0 or is_wildcard(host):
        raise ValueError(f'{text!r} is not an address that others can reach; write one like "10.0.0.1:4646"')
    return text


def is_loopback(host: str) -> bool:
    """Whether a listener on `host` is reachable from this machine only. The one trusted name is `localhost`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether `host` means all addresses of a machine: a server can listen on it, nobody can connect to it."""
    return not host.strip("0:.")


def name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} must be 1 to {MAX_NAME} letters, digits, dots, dashes or underscores")
    return text


def server(text: str) -> tuple[str, str]:
    member, equals, member_address = text.partition("=")
    if not equals:
        raise ValueError(f'{text!r} is not NAME=HOST:PORT; write one like "n1=10.0.0.1:4647"')
    return name(member), reachable(member_address)


def member_url(text: str) -> str:
    """The address of a member's HTTP API, given as HOST:PORT or as a URL."""
    return reachable(text.removeprefix("http://").removeprefix("https://").rstrip("/"))


def path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path")
    return Path(text)


def between(read: Callable[[str], Any], low: str, high: str) -> Callable[[str], Any]:
    """`read` with bounds, written in the value's own notation."""

    def bounded(text: str) -> Any:
        value = read(text)
        if not read(low) <= value <= read(high):
            raise ValueError(f"{text!r} must be between {low} and {high}")
        return value

    return bounded


def count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def one_of(*choices: str) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} must be one of {', '.join(choices)}")
        return text

    return choice


def switch(text: str) -> bool:
    return one_of("true", "false")(text) == "true"
