"""Where an agent's settings come from: defaults, a TOML file, VOLSTORE_* variables and flags.

Each source takes precedence over the ones before it. An unknown key in the file is an error, because somebody wrote it
for us. An unknown variable only gives a warning, because others set such variables too (Kubernetes does, for a service
called volstore).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volstore.agent.settings import (
    BY_NAME,
    CLIENT_VARIABLES,
    CONFIG_VARIABLE,
    DEV_DEFAULTS,
    KEYS_VARIABLE,
    SETTINGS,
)
from volstore.agent.values import Setting
from volstore.text import did_you_mean

_PREFIX = "VOLSTORE_"
_TABLES = ("acl", "audit", "limits", "metrics")


class ConfigError(Exception):
    """The agent can't start like this. The text names the setting, its source, and what would be right."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and its source in words."""

    value: Any
    source: str


def collect(
    flags: Mapping[str, str | Sequence[str] | None], environ: Mapping[str, str], config_file: str | None
) -> dict[str, Given]:
    """The settings that are set anywhere, by name. Raises ConfigError."""
    given: dict[str, Given] = {}
    path = config_file or environ.get(CONFIG_VARIABLE)
    if path:
        given |= _from_file(Path(path))
    for setting in SETTINGS:
        if text := environ.get(setting.variable):
            parts = [part.strip() for part in text.split(",")] if setting.many else text
            given[setting.name] = _read(setting, parts, f"variable {setting.variable}")
        flag = flags.get(setting.name)
        if flag is not None and flag != ():
            given[setting.name] = _read(setting, flag, f"flag {setting.option}")
    return given


def defaults(hostname: str, dev: bool) -> dict[str, Given]:
    """The default of each setting that has one."""
    found = {s.name: _read(s, s.default, "default") for s in SETTINGS if not s.default_is_prose}
    for name, text in (DEV_DEFAULTS if dev else {"name": hostname}).items():
        try:
            found[name] = _read(BY_NAME[name], text, "default")
        except ConfigError:  # a host's name may be no valid node name: then there is no default
            continue
    return found


def _read(setting: Setting, given: str | Sequence[str], source: str) -> Given:
    try:
        value = setting.read(given) if isinstance(given, str) else tuple(setting.read(text) for text in given)
    except ValueError as error:
        raise ConfigError(f"{setting.name} ({source}): {error}") from None
    return Given(value, source)


def _from_file(path: Path) -> dict[str, Given]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read the configuration file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    given = {}
    for key, value in _flat(table):
        setting = BY_NAME.get(key)
        if setting is None:
            raise ConfigError(f"unknown key {key!r} in {path}{_hint(key)}")
        source = f"key {key} in {path}"
        given[key] = _read(setting, _file_text(setting, value, source), source)
    return given


def _flat(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All keys, with those of tables joined: `enabled` in `[acl]` is acl_enabled."""
    for key, value in table.items():
        if isinstance(value, dict) and key in _TABLES:
            yield from ((f"{key}_{inner}", inside) for inner, inside in value.items())
        else:
            yield key, value


def _hint(key: str) -> str:
    if key in ("dev", "fresh", "config"):
        return f": --{key} is a flag only"
    meant = did_you_mean(key, BY_NAME)
    return f"; did you mean {meant}?" if meant else f"; known are {', '.join(sorted(BY_NAME))}"


def _file_text(setting: Setting, value: object, source: str) -> str | list[str]:
    """Check the type of a TOML value, and return it as text."""
    if setting.many:
        if isinstance(value, list) and all(isinstance(element, str) for element in value):
            return value
        expected = f'a list of strings like ["{setting.metavar}"]'
    elif setting.switch:
        if isinstance(value, bool):
            return str(value).lower()
        expected = "true or false"
    elif isinstance(value, str):
        return value
    elif setting.number:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        counts = setting.metavar in ("ENTRIES", "COUNT")
        expected = "a whole number" if counts else 'a whole number of bytes or a string like "4MiB"'
    else:
        expected = 'a string like "50ms"' if setting.metavar == "DURATION" else "a string"
    raise ConfigError(f"{setting.name} ({source}): expected {expected}, got {_toml_type(value)}")


def _toml_type(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Warnings about variables with our prefix that nobody reads."""
    known = {setting.variable for setting in SETTINGS} | CLIENT_VARIABLES | {CONFIG_VARIABLE, KEYS_VARIABLE}
    warnings = []
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in known:
            meant = did_you_mean(variable.removeprefix(_PREFIX), (name.removeprefix(_PREFIX) for name in known))
            hint = f"; did you mean {_PREFIX}{meant}?" if meant else ""
            warnings.append(f"unknown variable {variable} is ignored{hint}")
    return warnings
