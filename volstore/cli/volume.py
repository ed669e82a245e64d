"""`volstore volume`: register, inspect and deregister volumes; claims have a file of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from volstore.cli.arguments import Group, complete_volume, connected, output_options
from volstore.cli.claims import claim, detach, release, show_claims
from volstore.cli.files import read_file
from volstore.cli.output import (
    NONE,
    Failed,
    ago,
    complain,
    echo,
    fields,
    print_by_template,
    print_json,
    read_template,
    table,
)
from volstore.cli.paging import NOT_PAGED, Paging, list_options
from volstore.cli.sample_volume import SAMPLE_HCL, SAMPLE_JSON
from volstore.client import Client, ClientError, HttpError, segment
from volstore.hcl import volume_file


@click.group(cls=Group)
def volume() -> None:
    """Register, inspect, claim and deregister volumes.

    \b
    The commands take Nomad's flags in both spellings, -json and --json.
    -t TEMPLATE understands of Go's templates: {{.Field}} and paths like
    {{.NodeInfo.ID}}, {{range .X}}…{{end}}, {{if .X}}…{{else}}…{{end}},
    {{with .X}}…{{end}}, {{len .X}} and quoted text like {{"\\n"}}.
    """


for _command in (claim, release, detach):
    volume.add_command(_command)

_ID = click.argument("volume_id", metavar="ID", shell_complete=complete_volume)


@volume.command()
@click.argument("volume_id", metavar="[ID]", required=False, shell_complete=complete_volume)
@click.option("--type", "kind", type=click.Choice(["csi"]), default="csi", help="Only csi volumes are kept here.")
@click.option("--plugin-id", metavar="ID", help="List the volumes of plugins whose ID begins so.")
@click.option("--short", is_flag=True, help="Leave the allocations out.")
@click.option("--verbose", is_flag=True, help="Whole IDs of allocations and nodes.")
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
    as_json: bool,
    template: str | None,
) -> None:
    """Show a volume, or list all of them.

    An ID that no volume has is taken for the beginning of one: the volume is shown if there is one such, else they
    are listed, with exit code 1.
    """
    parsed = read_template(as_json, template)
    if volume_id is None:
        shown = _list(client, paging, type=kind, plugin_id=plugin_id or "")
    elif plugin_id or paging.given:
        raise click.UsageError("--plugin-id, --filter and the options of pages are for lists; leave the ID out")
    else:
        shown = find_volume(client, volume_id, list_matches=not as_json and parsed is None)
    if as_json:
        print_json(shown)
    elif parsed is not None:
        print_by_template(parsed, shown)
    elif volume_id is None:
        _show_list(shown)
    else:
        show_volume(shown, short=short, verbose=verbose)


def _list(client: Client, paging: Paging = NOT_PAGED, **parameters: str) -> Any:
    try:
        return paging.fetch(client, "/v1/volumes", **parameters)
    except ClientError as error:
        raise Failed(f"Error querying volumes: {error}") from None


def _show_list(volumes: list[dict[str, Any]]) -> None:
    echo("Container Storage Interface")
    if volumes:
        _volume_table(volumes)
    else:
        complain("No CSI volumes")


def _volume_table(volumes: list[dict[str, Any]]) -> None:
    headers = ["ID", "Name", "Plugin ID", "Schedulable", "Access Mode"]
    keys = ["ID", "Name", "PluginID", "Schedulable", "AccessMode"]
    if len({item.get("Namespace") for item in volumes}) > 1:
        headers.insert(1, "Namespace")
        keys.insert(1, "Namespace")
    table(headers, [[item.get(key) for key in keys] for item in volumes])


def find_volume(client: Client, volume_id: str, *, list_matches: bool) -> Any:
    """The volume of that ID, else the only one whose ID begins so. Raises Failed; many are listed if `list_matches`.

    In all namespaces at once (`*`) a volume can't be read: there the list says in which one it is.
    """
    everywhere = client.connection.namespace == "*"
    if not everywhere:
        try:
            return _read(client, volume_id)
        except HttpError as error:
            if error.status != 404:
                raise Failed(f"Error querying volume: {error}") from None
        except ClientError as error:
            raise Failed(f"Error querying volume: {error}") from None
    matches = _list(client, type="csi", prefix=volume_id)
    exact = [item for item in matches if item["ID"] == volume_id]
    found = exact or matches
    if not found:
        raise Failed(f'No volume(s) with prefix or ID "{volume_id}" found')
    if len(found) > 1:
        if list_matches:
            _volume_table(found)
        raise Failed(f'Prefix "{volume_id}" matched multiple volumes ({len(found)}); give the whole ID')
    try:
        return _read(client, found[0]["ID"], found[0].get("Namespace", "") if everywhere else None)
    except ClientError as error:
        raise Failed(f"Error querying volume: {error}") from None


def _read(client: Client, volume_id: str, namespace: str | None = None) -> Any:
    parameters = {} if namespace is None else {"namespace": namespace}
    return client.get(f"/v1/volume/csi/{segment(volume_id)}", **parameters)


def show_volume(item: dict[str, Any], *, short: bool = False, verbose: bool = False) -> None:
    """A volume for people, in Nomad's order."""
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
    """The server keeps these to itself; an older Nomad may show them."""
    if not options:
        return NONE
    words = [f"fs_type: {options['FSType']}"] if options.get("FSType") else []
    return " ".join(words + (["flags: [REDACTED]"] if options.get("MountFlags") else [])) or NONE


def show_allocations(allocations: list[dict[str, Any]] | None, *, verbose: bool) -> None:
    """Allocation stubs under a title, as Nomad shows them on volumes and plugins."""
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
    """Register the volume that FILE specifies, in Nomad's HCL or JSON; `-` reads it from stdin.

    JSON may also be the API's body, what `volume status -json ID` prints, or a list of volumes: all of a namespace are
    registered, or none. A namespace in the file beats --namespace and the variables, as it does in Nomad. A volume
    that exists and is not in use is replaced.
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
    """All of one namespace at once; the path is the first one's, for a body of many may have any."""
    parameters = {"namespace": namespace} if namespace else {}
    path = f"/v1/volume/csi/{segment(volumes[0]['ID'])}"
    answer = client.put(path, volume_file.register_body(volumes), **parameters)
    if isinstance(answer, dict) and answer.get("Warnings"):
        complain(f"Warning: {answer['Warnings']}")


@volume.command(short_help="Deregister a volume.")
@_ID
@click.option("--force", is_flag=True, help="Also when claimed, if all that claim it are terminal or gone.")
@click.option("--yes", is_flag=True, help="For scripts written for Nomad; volstore asks nothing.")
@connected
def deregister(client: Client, volume_id: str, force: bool, yes: bool) -> None:
    """Deregister the volume with exactly this ID; what it stands for stays where it is.

    --force asks nothing, since the server takes no volume from a workload that runs.
    """
    if not volume_id:
        raise click.UsageError("ID is empty")
    try:
        client.delete(f"/v1/volume/csi/{segment(volume_id)}", force="true" if force else "")
    except ClientError as error:
        raise Failed(f"Error deregistering volume: {error}") from None


@volume.command(short_help="Write an example of a volume file.")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def init(file: str | None, as_json: bool) -> None:
    """Write an example of a volume specification to FILE (default volume.hcl, or volume.json)."""
    path = Path(file or ("volume.json" if as_json else "volume.hcl"))
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(SAMPLE_JSON if as_json else SAMPLE_HCL)
    except FileExistsError:
        raise Failed(f'Volume specification "{path}" already exists') from None
    except OSError as error:
        raise Failed(f"Failed to write {path}: {error.strerror}") from None
    echo(f"Example volume specification written to {path}")
