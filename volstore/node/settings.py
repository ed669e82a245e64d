"""What `volstore node run` is told, from defaults, a TOML file, VOLSTORE_NODE_* variables and flags; later ones win."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from volstore.node.paths import BASE
from volstore.node.plugins import PluginSettings

DEFAULT_STATE = Path("/var/lib/volstore/node")
DEFAULT_SOCKET = Path("/run/volstore/node.sock")
DEFAULT_SERVER = "http://127.0.0.1:4646"
_PREFIX = "VOLSTORE_NODE_"
LISTS = ("servers", "plugins", "trust_read_only", "unverified")


class SettingsError(Exception):
    """The agent can't be started like this; the text says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """`servers` are URLs of members of the registry. `plugins` by their IDs. `token_file` holds a token with node
    write: it is needed until the node is known. Files are of PEM form. `name` and `datacenter` are what people see."""

    servers: tuple[str, ...] = (DEFAULT_SERVER,)
    plugins: Mapping[str, PluginSettings] = field(default_factory=dict)
    state_dir: Path = DEFAULT_STATE
    base_dir: str = BASE
    socket: Path = DEFAULT_SOCKET
    name: str = ""
    datacenter: str = "dc1"
    token_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


NAMES = (*(one.name for one in fields(NodeSettings)), "trust_read_only", "unverified")


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config_file: str | None) -> NodeSettings:
    """Empty flags and variables count as not given. A list has commas in a variable. Raises SettingsError."""
    given: dict[str, Any] = {}
    if config_file:
        given |= _of_file(Path(config_file))
    for name in NAMES:
        if value := environ.get(_PREFIX + name.upper()):
            given[name] = value.split(",") if name in LISTS else value
        if flags.get(name):
            given[name] = list(flags[name]) if name in LISTS else flags[name]
    return _checked(given)


def _of_file(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None
    for name, value in found.items():
        if name not in NAMES:
            raise SettingsError(f"{path}: unknown setting {name!r}, one of: {', '.join(NAMES)}")
        wanted = list if name in LISTS else str
        if name == "plugins" and isinstance(value, dict):
            found[name] = [f"{plugin_id}={path_}" for plugin_id, path_ in value.items()]
        elif not isinstance(value, wanted) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{path}: {name} must be {'a list of texts' if wanted is list else 'a text'}")
    return found


def _checked(given: Mapping[str, Any]) -> NodeSettings:
    trusted, unverified = set(given.get("trust_read_only", ())), set(given.get("unverified", ()))
    plugins: dict[str, PluginSettings] = {}
    for text in given.get("plugins", ()):
        plugin_id, separator, path = str(text).partition("=")
        path = path.removeprefix("unix://")
        if not separator or not plugin_id or not path.startswith("/"):
            raise SettingsError(f"plugin {text!r}: write it as ID=/path/of/csi.sock")
        if plugin_id in plugins:
            raise SettingsError(f"plugin {plugin_id!r} is given twice")
        plugins[plugin_id] = PluginSettings(
            path, trust_read_only=plugin_id in trusted, verify_mounts=plugin_id not in unverified
        )
    if unknown := (trusted | unverified) - plugins.keys():
        raise SettingsError(f"no plugin {', '.join(sorted(unknown))} is given: give it, as ID=/path/of/csi.sock")
    servers = tuple(str(server).rstrip("/") for server in given.get("servers", ())) or (DEFAULT_SERVER,)
    servers = tuple(server if "://" in server else f"http://{server}" for server in servers)
    paths = {
        name: Path(given[name])
        for name in ("state_dir", "socket", "token_file", "ca_file", "cert_file", "key_file")
        if given.get(name)
    }
    if bool(given.get("cert_file")) != bool(given.get("key_file")):
        raise SettingsError("cert_file and key_file go together")
    return NodeSettings(
        servers=servers,
        plugins=plugins,
        base_dir=str(given.get("base_dir") or BASE),
        name=str(given.get("name") or socket.gethostname()),
        datacenter=str(given.get("datacenter") or "dc1"),
        **paths,
    )
