"""Reads scenario files. Unknown keys are errors.

A scenario is a TOML file. deploy/drills has those that come with volstore; its README says how to write one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from volstore.agent.settings import BY_NAME
from volstore.drill.record import Kind
from volstore.drill.scenario import CHOICES, Gauntlet, LoadSettings, Objective, Scenario, Step
from volstore.drill.target import FaultKind
from volstore.text import did_you_mean
from volstore.units import parse_duration

MOST_NODES = 7
MOST_REPEATS = 1000
_SHIPPED = "shipped"
"""The folder in this package that contains deploy/drills (a link in the tree, files in a wheel)."""

# The drill itself decides these settings of a throw-away cluster's agents.
_OWN_SETTINGS = frozenset(
    (
        *("name", "data_dir", "region", "servers", "join", "cluster_id", "insecure_bind", "acl_enabled"),
        *("http_addr", "http_advertise", "raft_addr", "raft_advertise", "audit_file", "audit_enforce"),
        *("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_http", "tls_verify_https_client"),
        *("encryption_key_file", "backup_key_file"),
    )
)
# The keys that a fault needs besides target and lasts, and its optional ones.
_NEEDS: Mapping[FaultKind, tuple[str, ...]] = {
    FaultKind.SLOW_LINK: ("delay",),
    FaultKind.SLOW_DISK: ("delay",),
    FaultKind.FLAP: ("up", "down"),
    FaultKind.ONE_WAY: ("direction",),
    FaultKind.CLOCK_JUMP: ("jump",),
}
_MAY: Mapping[FaultKind, tuple[str, ...]] = {FaultKind.SLOW_LINK: ("jitter", "loss")}
_OF_SEVERAL = (FaultKind.KILL, FaultKind.PAUSE, FaultKind.PARTITION, FaultKind.CLOCK_JUMP)
"""Faults that may hit several nodes, or all, at once."""


class ScenarioError(Exception):
    """The scenario is invalid; the text names the file, the key, and what would be right."""


def shipped() -> list[str]:
    """The names of the scenarios that come with volstore."""
    return sorted(file.name.removesuffix(".toml") for file in _shipped_files())


def find(name_or_path: str) -> Scenario:
    """A shipped scenario by its name, or another by its file. Raises ScenarioError."""
    for file in _shipped_files():
        if file.name == f"{name_or_path}.toml":
            return read(name_or_path, file.name, file.read_text(encoding="utf-8"))
    path = Path(name_or_path)
    if path.suffix != ".toml":
        meant = did_you_mean(name_or_path, shipped())
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(shipped())}"
        raise ScenarioError(f"there is no scenario {name_or_path!r}: {hint} (your own: give its file, NAME.toml)")
    try:
        return read(path.stem, str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path} is not UTF-8 text") from None


def _shipped_files() -> Iterable[Traversable]:
    return (file for file in (resources.files("volstore.drill") / _SHIPPED).iterdir() if file.name.endswith(".toml"))


def read(name: str, file: str, text: str) -> Scenario:
    """The scenario in `text`; `file` is how errors name it. Raises ScenarioError."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{file} is not valid TOML: {error}") from None
    table = _Table(file, "", content)
    table.known("about", "nodes", "load", "settings", "objective", "steps", "gauntlet")
    nodes = table.count("nodes", 3, least=1, most=MOST_NODES)
    names = [f"s{n + 1}" for n in range(nodes)]
    steps = [step for one in table.tables("steps") for step in _steps(one, names)]
    gauntlet = _gauntlet(table.table("gauntlet")) if "gauntlet" in content else None
    if not any(step.kind for step in steps) and gauntlet is None:
        raise ScenarioError(f'{file}: it breaks nothing: add a [[steps]] with fault = "kill", or a [gauntlet]')
    return Scenario(
        name=name,
        about=table.text("about"),
        objective=_objective(table.table("objective")),
        steps=tuple(steps),
        nodes=nodes,
        load=_load(table.table("load")),
        settings=_settings(table.table("settings")),
        gauntlet=gauntlet,
    )


class _Table:
    """A table of the file with typed access to its keys. `where` is its path with a dot at the end, "" at the top."""

    def __init__(self, file: str, where: str, content: Mapping[str, Any]) -> None:
        self.file = file
        self.where = where
        self.content = content

    def wrong(self, key: str, what: str) -> ScenarioError:
        return ScenarioError(f"{self.file}: {self.where}{key}: {what}")

    def known(self, *keys: str) -> None:
        for key in self.content:
            if key not in keys:
                meant = did_you_mean(key, keys)
                hint = f"did you mean {meant}?" if meant else f"known are {', '.join(keys)}"
                raise self.wrong(key, f"unknown key; {hint}")

    def given(self, key: str) -> bool:
        return key in self.content

    def text(self, key: str) -> str:
        value = self.content.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, f"expected a text, {_got(value)}")
        return " ".join(value.split())

    def time(self, key: str, default: float | None = None, *, signed: bool = False) -> float:
        """A duration in seconds; required without a default."""
        value = self.content.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, f'expected a duration like "1.5s" or "300ms", {_got(value)}')
        sign = -1 if signed and value.startswith("-") else 1
        try:
            return sign * parse_duration(value.removeprefix("-") if signed else value)
        except ValueError as error:
            raise self.wrong(key, str(error)) from None

    def count(self, key: str, default: int, *, least: int, most: int) -> int:
        value = self.content.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"expected a whole number from {least} to {most}, {_got(value)}")
        return value

    def share(self, key: str, default: float) -> float:
        value = self.content.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            raise self.wrong(key, f"expected a share from 0 to below 1, like 0.05, {_got(value)}")
        return float(value)

    def table(self, key: str) -> _Table:
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"expected a table, [{key}], {_got(value)}")
        return _Table(self.file, f"{self.where}{key}.", value)

    def tables(self, key: str) -> list[_Table]:
        value = self.content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, f"expected tables, [[{key}]], {_got(value)}")
        return [_Table(self.file, f"{self.where}{key}[{n + 1}].", one) for n, one in enumerate(value)]

    def kind(self, key: str) -> FaultKind:
        return _fault_kind(self, key, self.text(key))


def _got(value: object) -> str:
    return "but it is missing" if value is None else f"got {value!r}"


def _fault_kind(table: _Table, key: str, value: object) -> FaultKind:
    try:
        return FaultKind(str(value))
    except ValueError:
        meant = did_you_mean(str(value), list(FaultKind))
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(FaultKind)}"
        raise table.wrong(key, f"{value!r} is not a fault; {hint}") from None


def _objective(table: _Table) -> Objective:
    table.known("write_outage", "read_outage", "failed_requests", "why")
    return Objective(
        write_outage=table.time("write_outage") if table.given("write_outage") else None,
        read_outage=table.time("read_outage") if table.given("read_outage") else None,
        failed_requests=(
            table.count("failed_requests", 0, least=0, most=10**9) if table.given("failed_requests") else None
        ),
        why=table.text("why"),
    )


def _load(table: _Table) -> LoadSettings:
    table.known("clients", "volumes", "mix", "timeout", "pause")
    usual = LoadSettings()
    mix = dict(usual.mix)
    if table.given("mix"):
        shares = table.table("mix")
        by_key = {kind.value.replace(" ", "_"): kind for kind in Kind}
        shares.known(*by_key)
        mix = {by_key[key]: shares.count(key, 0, least=0, most=1000) for key in shares.content}
        if not sum(mix.values()):
            raise table.wrong("mix", "every share is 0: at least one kind of request must be sent")
    return LoadSettings(
        clients=table.count("clients", usual.clients, least=1, most=1000),
        volumes=table.count("volumes", usual.volumes, least=1, most=100_000),
        mix=mix,
        timeout=table.time("timeout", usual.timeout),
        pause=table.time("pause", usual.pause),
    )


def _settings(table: _Table) -> dict[str, str]:
    may = [name for name in BY_NAME if name not in _OWN_SETTINGS]
    table.known(*may)
    found = {}
    for key, value in table.content.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            BY_NAME[key].read(text)
        except ValueError as error:
            raise table.wrong(key, str(error)) from None
        found[key] = text
    return found


def _gauntlet(table: _Table) -> Gauntlet:
    table.known("faults", "shortest", "longest", "minutes")
    given = table.content.get("faults")
    if not isinstance(given, list) or not given:
        raise table.wrong("faults", f'expected a list of faults like ["kill", "pause"], {_got(given)}')
    kinds = tuple(_fault_kind(table, "faults", one) for one in given)
    shortest, longest = table.time("shortest"), table.time("longest")
    if not shortest <= longest:
        raise table.wrong("longest", "must not be below shortest")
    return Gauntlet(kinds, shortest, longest, table.count("minutes", 5, least=1, most=100_000))


def _steps(table: _Table, names: list[str]) -> list[Step]:
    """One step of the file, as often as it repeats."""
    repeat = table.count("repeat", 1, least=1, most=MOST_REPEATS)
    said = [key for key in ("fault", "load_for", "heal") if table.given(key)]
    if len(said) != 1:
        raise table.wrong("fault", "a step has one of fault, load_for and heal")
    if said == ["load_for"]:
        table.known("load_for", "repeat")
        return [Step(kind=None, lasts=table.time("load_for"))] * repeat
    kind = table.kind(said[0])
    if said == ["heal"]:
        table.known("heal", "repeat")
        return [Step(kind=kind, heals=True)]
    step = _fault_step(table, kind, names)
    if repeat > 1 and step.lasts is None:
        raise table.wrong("repeat", "a fault that is repeated must say how long it lasts")
    return [step] * repeat


def _fault_step(table: _Table, kind: FaultKind, names: list[str]) -> Step:
    needs, may = _NEEDS.get(kind, ()), _MAY.get(kind, ())
    table.known("fault", "target", "lasts", "repeat", *needs, *may)
    target = table.text("target")
    if target not in (*CHOICES, *names):
        raise table.wrong(
            "target", f"{target!r} is neither one of {', '.join(CHOICES)} nor a node ({', '.join(names)})"
        )
    if target in ("all", "minority") and kind not in _OF_SEVERAL:
        raise table.wrong("target", f"{kind} is for one node at a time: leader, follower, each, or a node's name")
    if target == "all" and kind is FaultKind.PARTITION:
        raise table.wrong("target", "all nodes can't be cut off from the others: there are no others")
    if target == "each" and not kind.momentary and not table.given("lasts"):
        raise table.wrong("lasts", "with target each, a fault needs a duration")
    step = Step(kind, target, 0.0 if kind.momentary else None)
    if table.given("lasts"):
        step = replace(step, lasts=table.time("lasts"))
    for key in (*needs, *(key for key in may if table.given(key))):
        step = replace(step, **{key: _READ[key](table, key)})
    return step


def _direction(table: _Table, key: str) -> str:
    if (value := table.text(key)) not in ("in", "out"):
        raise table.wrong(key, f"{value!r} must be in or out")
    return value


_READ: Mapping[str, Callable[[_Table, str], Any]] = {
    "delay": _Table.time,
    "jitter": _Table.time,
    "up": _Table.time,
    "down": _Table.time,
    "loss": lambda table, key: table.share(key, 0.0),
    "jump": lambda table, key: table.time(key, signed=True),
    "direction": _direction,
}
