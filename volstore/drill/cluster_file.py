"""Reads the file of an existing cluster: the URLs of its nodes, and the commands that break and heal them.

    token_file = "drill.token"          # a management token; otherwise VOLSTORE_TOKEN
    ca_file = "ca.pem"                  # your own authority, for https; cert_file and key_file: our certificate
    command_timeout = "30s"

    [[nodes]]
    name = "s1"                         # its name in the cluster
    url = "https://10.0.0.1:4646"
    values = { unit = "volstore@1" }    # your own placeholders

    [faults.kill]                       # for all nodes; [nodes.faults.kill] below a node overrides it
    do = "ssh {host} sudo systemctl kill --signal=KILL {unit}"
    heal = "ssh {host} sudo systemctl start {unit}"

A command is split into words as by a shell, and run without a shell. Several commands in a list run in order.
Placeholders are {node}, {host} (of the url), {others} and {other_hosts} (all nodes that the fault doesn't affect,
separated by spaces), the fault's {delay_ms}, {jitter_ms}, {loss_percent}, {direction}, {jump_s} and {lasts_s}, and the
node's values.
"""

from __future__ import annotations

import os
import shlex
import ssl
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from volstore.drill.target import Access, Fault, FaultKind, TargetError, TargetNode
from volstore.text import did_you_mean
from volstore.units import parse_duration

Command = tuple[str, ...]
"""A program and its arguments."""


class _Commands(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    do: str | list[str]
    heal: str | list[str] = []


class _Node(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    url: str
    values: dict[str, str] = {}
    faults: dict[str, _Commands] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    nodes: list[_Node]
    faults: dict[str, _Commands] = {}
    token_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    command_timeout: str = "30s"


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """The checked file. `timeout` bounds each command, in seconds."""

    nodes: tuple[TargetNode, ...]
    access: Access
    timeout: float
    _own: Mapping[str, _Node]
    _faults: Mapping[str, _Commands]

    def has(self, fault: Fault) -> str | None:
        """Why the file has no commands for `fault`; None if it has."""
        known = {node.name for node in self.nodes}
        for name in fault.nodes:
            if name not in known:
                return f"the file has no node {name}; it has {', '.join(sorted(known))}"
            commands = self._commands(name, fault.kind)
            if commands is None:
                return f"the file has no [faults.{fault.kind}] with its commands"
            if not commands.heal and not fault.kind.momentary:
                return f"[faults.{fault.kind}] has no heal: add the commands that repair {name}"
        return None

    def do(self, fault: Fault, node: str) -> list[Command]:
        commands = self._commands(node, fault.kind)
        return self._filled(commands.do if commands else [], fault, node)

    def heal(self, fault: Fault, node: str) -> list[Command]:
        commands = self._commands(node, fault.kind)
        return self._filled(commands.heal if commands else [], fault, node)

    def _commands(self, node: str, kind: FaultKind) -> _Commands | None:
        return self._own[node].faults.get(kind) or self._faults.get(kind)

    def _filled(self, commands: str | list[str], fault: Fault, node: str) -> list[Command]:
        values = _values(self._own, fault, node)
        given = [commands] if isinstance(commands, str) else commands
        return [tuple(word.format_map(values) for word in shlex.split(command)) for command in given]


def _values(nodes: Mapping[str, _Node], fault: Fault, node: str) -> dict[str, str]:
    others = [other for other in nodes.values() if other.name not in fault.nodes]
    return {
        "node": node,
        "host": _host(nodes[node].url),
        "others": " ".join(other.name for other in others),
        "other_hosts": " ".join(_host(other.url) for other in others),
        "delay_ms": f"{fault.delay * 1000:.0f}",
        "jitter_ms": f"{fault.jitter * 1000:.0f}",
        "loss_percent": f"{fault.loss * 100:g}",
        "direction": fault.direction,
        "jump_s": f"{fault.jump:.0f}",
        "lasts_s": f"{fault.lasts:g}",
        **nodes[node].values,
    }


def read(path: Path, environment: Mapping[str, str] = os.environ) -> ClusterFile:
    """Read the file and check everything, also each placeholder. Raises TargetError with the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TargetError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TargetError(f"{path} is not UTF-8 text") from None
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
        timeout = parse_duration(file.command_timeout)
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"{path} is not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise TargetError(f"{path}: {error}") from None
    except ValueError as error:
        raise TargetError(f"{path}: command_timeout: {error}") from None
    if timeout <= 0:
        raise TargetError(f"{path}: command_timeout: it must be above 0; the default is 30s")
    _check_nodes(path, file.nodes)
    own = {node.name: node for node in file.nodes}
    for where, faults in [("faults", file.faults), *((f"nodes.{n.name}.faults", n.faults) for n in file.nodes)]:
        _check_faults(f"{path}: {where}", faults, own)
    nodes = tuple(TargetNode(node.name, node.url.rstrip("/")) for node in file.nodes)
    return ClusterFile(nodes, _access(path, file, environment), timeout, own, file.faults)


def _check_nodes(path: Path, nodes: Sequence[_Node]) -> None:
    if not nodes:
        raise TargetError(f"{path}: nodes: give a [[nodes]] with name and url for each node of the cluster")
    for key, values in (("name", [node.name for node in nodes]), ("url", [node.url for node in nodes])):
        if len(set(values)) < len(values):
            raise TargetError(f"{path}: nodes: two have the same {key}")
    for node in nodes:
        try:
            parts = urlsplit(node.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and not parts.path.strip("/")
            usable = usable and parts.port != 0 and not parts.query
        except ValueError:
            usable = False
        if not usable:
            raise TargetError(
                f'{path}: nodes: {node.url!r} is not the URL of a node; write one like "https://10.0.0.1:4646"'
            )


def _check_faults(where: str, faults: Mapping[str, _Commands], nodes: Mapping[str, _Node]) -> None:
    for kind, commands in faults.items():
        if kind not in list(FaultKind):
            meant = did_you_mean(kind, list(FaultKind))
            raise TargetError(f"{where}.{kind}: no such fault; {_hint(meant, list(FaultKind))}")
        for node in nodes:
            values = _values(nodes, Fault(FaultKind(kind), (node,)), node)
            for key, given in (("do", commands.do), ("heal", commands.heal)):
                for command in [given] if isinstance(given, str) else given:
                    _check_command(f"{where}.{kind}.{key}", command, values)


def _check_command(where: str, command: str, values: Mapping[str, str]) -> None:
    try:
        words = shlex.split(command)
        named = [name for word in words for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError as error:
        raise TargetError(f"{where}: {command!r} can't be read: {error}; write {{{{ for a literal brace") from None
    if not words:
        raise TargetError(f"{where}: an empty command: leave the key out, or write a command")
    for name in named:
        if name not in values:
            meant = did_you_mean(name, values)
            raise TargetError(f"{where}: no placeholder {{{name}}}; {_hint(meant, sorted(values))}")


def _hint(meant: str | None, known: Sequence[str]) -> str:
    return f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"


def _access(path: Path, file: _File, environment: Mapping[str, str]) -> Access:
    token = environment.get("VOLSTORE_TOKEN") or environment.get("NOMAD_TOKEN") or ""
    folder = path.parent
    try:
        if file.token_file:
            token = (folder / file.token_file).read_text(encoding="ascii").strip()
        if bool(file.cert_file) != bool(file.key_file):
            raise TargetError(f"{path}: give both cert_file and key_file, or none")
        tls = ssl.create_default_context(cafile=folder / file.ca_file) if file.ca_file else None
        if file.cert_file:
            tls = tls or ssl.create_default_context()
            tls.load_cert_chain(folder / file.cert_file, folder / file.key_file)
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: can't use the token or certificate files that it names: {error}") from None
    return Access(token, tls)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
