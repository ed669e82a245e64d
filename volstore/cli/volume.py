"""`volstore volume`: register, inspect and deregister volumes (claims.py has the commands for claims)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from volstore.cli.arguments import Group, complete_volume, connected, output_options, read_file
from volstore.cli.claims import claim, detach, release, show_claims
from volstore.cli.output import NONE, Failed, Form, ago, complain, echo, failing, fields, only_match, table
from volstore.cli.paging import NOT_PAGED, Paging, list_options
from volstore.cli.sample_volume import SAMPLE_HCL, SAMPLE_JSON
from volstore.client import Client, ClientError, HttpError, segment
from volstore.hcl import volume_file


@click.group(cls=Group)
def volume() -> None:
    """Register, inspect, claim and deregister volumes.

    \b
    Long flags may have one dash or two: -json, --json.
    -t TEMPLATE accepts this part of Go's templates: {{.Field}}, paths like
    {{.NodeInfo.ID}}, {{range .X}}…{{end}}, {{if .X}}…{{else}}…{{end}},
    {{with .X}}…{{end}}, {{len .X}} and quoted text like {{"\\n"}}.
    """


for _command in (claim, release, detach):
    volume.add_command(_command)

_ID = click.argument("volume_id", metavar="ID", shell_complete=complete_volume)


@volume.command()
@click.argument("volume_id", metavar="[ID]", required=False, shell_complete=complete_volume)
@click.option("--type", "kind", type=click.Choice(["csi"]), default="csi", help="volstore knows csi volumes only.")
@click.option("--plugin-id", metavar="ID", help="List the volumes of plugins whose ID begins with this.")
@click.option("--short", is_flag=True, help="Omit allocations and claims.")
@click.option("--verbose", is_flag=True, help="Show whole IDs of allocations and nodes.")
@list_options
@output_options
@connected
def status(
    client: Client,
    paging: Paging,
    volume_id: str | None,
    kind: str,
    plugin_id: str | None,
    short: bool,
    verbose: bool,
    form: Form,
) -> None:
    """Show a volume, or list all volumes.

    ID may be the beginning of an ID. If several volumes match, they are listed, with exit code 1.
    """
    if volume_id is not None:
        if plugin_id or paging.given:
            raise click.UsageError("--plugin-id, --filter and the options of pages are for lists; leave the ID out")
        shown = find_volume(client, volume_id, list_matches=form.for_people)
        if not form.prints(shown):
            show_volume(shown, short=short, verbose=verbose)
        return
    volumes = _list(client, paging, type=kind, plugin_id=plugin_id or "")
    if form.prints(volumes):
        return
    echo("Container Storage Interface")
    if volumes:
        _volume_table(volumes)
    else:
        complain("No CSI volumes")


def _list(client: Client, paging: Paging = NOT_PAGED, **parameters: str) -> Any:
    with failing("querying volumes"):
        return paging.fetch(client, "/v1/volumes", **parameters)


def _volume_table(volumes: Sequence[dict[str, Any]]) -> None:
    headers = ["ID", "Name", "Plugin ID", "Schedulable", "Access Mode"]
    keys = ["ID", "Name", "PluginID", "Schedulable", "AccessMode"]
    if len({item.get("Namespace") for item in volumes}) > 1:
        headers.insert(1, "Namespace")
        keys.insert(1, "Namespace")
    table(headers, [[item.get(key) for key in keys] for item in volumes])


def find_volume(client: Client, volume_id: str, *, list_matches: bool) -> Any:
    """The volume with this ID, otherwise the only one whose ID begins with it.

    Raises Failed; with `list_matches` several matches are printed first. In all namespaces at once (`*`) a volume can't
    be read, so the list tells its namespace first.
    """
    everywhere = client.connection.namespace == "*"
    if not everywhere:
        with failing("querying volume"):
            try:
                return _read(client, volume_id)
            except HttpError as error:
                if error.status != 404:
                    raise
    matches = _list(client, type="csi", prefix=volume_id)
    exact = [item for item in matches if item["ID"] == volume_id]
    found = only_match(exact or matches, volume_id, "volume", _volume_table if list_matches else None)
    with failing("querying volume"):
        return _read(client, found["ID"], found.get("Namespace", "") if everywhere else None)


def _read(client: Client, volume_id: str, namespace: str | None = None) -> Any:
    parameters = {} if namespace is None else {"namespace": namespace}
    return client.get(f"/v1/volume/csi/{segment(volume_id)}", **parameters)


def show_volume(item: dict[str, Any], *, short: bool = False, verbose: bool = False) -> None:
    """Print a volume, in Nomad's order."""
    capabilities = item.get("RequestedCapabilities") or []
    pairs = [
        ("ID", item["ID"]),
        ("Name", item.get("Name")),
        ("External ID", item.get("ExternalID")),
        ("Plugin ID", item.get("PluginID")),
        ("Provider", item.get("Provider")),
        ("Version", item.get("ProviderVersion")),
        ("Schedulable", item.get("Schedulable")),
        ("Controllers Healthy", item.get("ControllersHealthy", 0)),
        ("Controllers Expected", item.get("ControllersExpected", 0)),
        ("Nodes Healthy", item.get("NodesHealthy", 0)),
        ("Nodes Expected", item.get("NodesExpected", 0)),
        ("Access Mode", item.get("AccessMode")),
        ("Attachment Mode", item.get("AttachmentMode")),
        ("Mount Options", _mount_options(item.get("MountOptions"))),
        ("Namespace", item.get("Namespace")),
    ]
    if len(capabilities) > 1:
        words = [f"{one['AccessMode']}/{one['AttachmentMode']}" for one in capabilities]
        pairs.insert(13, ("Capabilities", ", ".join(words)))
    fields(pairs)
    if not short:
        show_allocations(item.get("Allocations"), verbose=verbose)
        show_claims(item, verbose=verbose)


def _mount_options(options: dict[str, Any] | None) -> str:
    """volstore never returns these; an older Nomad may."""
    if not options:
        return NONE
    words = [f"fs_type: {options['FSType']}"] if options.get("FSType") else []
    return " ".join(words + (["flags: [REDACTED]"] if options.get("MountFlags") else [])) or NONE


def show_allocations(allocations: list[dict[str, Any]] | None, *, verbose: bool) -> None:
    """Print allocation stubs under a title, as Nomad does for volumes and plugins."""
    echo()
    echo("Allocations")
    if not allocations:
        echo("No allocations placed")
        return
    width, now = (None if verbose else 8), time.time()
    rows = [
        [
            stub.get("ID", "")[:width],
            stub.get("NodeID", "")[:width],
            stub.get("TaskGroup"),
            stub.get("JobVersion", 0),
            stub.get("DesiredStatus"),
            stub.get("ClientStatus"),
            ago(stub.get("CreateTime"), now),
            ago(stub.get("ModifyTime"), now),
        ]
        for stub in allocations
    ]
    table(["ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"], rows)


@volume.command(short_help="Register the volumes of a file.")
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
@connected
def register(client: Client, file: str) -> None:
    """Register the volumes in FILE, in Nomad's HCL or JSON; `-` is stdin.

    JSON may also be the API's body, the output of `volume status -json ID`, or a list of volumes. Either all volumes of
    a namespace are registered, or none. As in Nomad, a namespace in the file takes precedence over --namespace and the
    variables. Of a volume that exists, even in use, secrets, context and capabilities are replaced; what the file
    leaves out stays, except secrets.
    """
    text, name = read_file(file)
    try:
        parsed = volume_file.parse(text, name)
    except volume_file.VolumeFileError as error:
        raise Failed(f"Error decoding the volume definition: {error}") from None
    for warning in parsed.warnings:
        complain(f"Warning: {warning}")
    by_namespace: dict[str, list[dict[str, Any]]] = {}
    for one in parsed.volumes:
        by_namespace.setdefault(one.get("Namespace", ""), []).append(one)
    registered: list[str] = []
    for namespace, volumes in by_namespace.items():
        try:
            _register(client, namespace, volumes)
        except ClientError as error:
            before = f"; registered before it: {', '.join(registered)}" if registered else ""
            raise Failed(f"Error registering volume: {error}{before}") from None
        registered += [one["ID"] for one in volumes]


def _register(client: Client, namespace: str, volumes: list[dict[str, Any]]) -> None:
    """Register the volumes of one namespace in one request.

    Its path names the first; the server accepts any of them.
    """
    parameters = {"namespace": namespace} if namespace else {}
    path = f"/v1/volume/csi/{segment(volumes[0]['ID'])}"
    answer = client.put(path, volume_file.register_body(volumes), **parameters)
    if isinstance(answer, dict) and answer.get("Warnings"):
        complain(f"Warning: {answer['Warnings']}")


@volume.command(short_help="Deregister a volume.")
@_ID
@click.option("--force", is_flag=True, help="Also if it has claims, when all claimants are terminal or gone.")
@click.option("--yes", is_flag=True, help="Accepted for scripts written for Nomad; volstore never asks.")
@connected
def deregister(client: Client, volume_id: str, force: bool, yes: bool) -> None:
    """Deregister the volume with exactly this ID. Its storage stays.

    --force does not ask, because the server never takes a volume from a running workload.
    """
    if not volume_id:
        raise click.UsageError("ID is empty")
    with failing("deregistering volume"):
        client.delete(f"/v1/volume/csi/{segment(volume_id)}", force="true" if force else "")


@volume.command(short_help="Write an example volume file.")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def init(file: str | None, as_json: bool) -> None:
    """Write an example volume specification to FILE (default volume.hcl, or volume.json)."""
    path = Path(file or ("volume.json" if as_json else "volume.hcl"))
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(SAMPLE_JSON if as_json else SAMPLE_HCL)
    except FileExistsError:
        raise Failed(f'Volume specification "{path}" already exists') from None
    except OSError as error:
        raise Failed(f"Failed to write {path}: {error.strerror}") from None
    echo(f"Example volume specification written to {path}")
