"""`volstore acl`: bootstrap access control, and manage policies and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import click

from volstore.cli.arguments import Group, connected, output_options, read_file
from volstore.cli.output import Form, complain, echo, failing, fields, table
from volstore.cli.paging import Paging, list_options
from volstore.cli.short_ids import find_token, with_whole_id
from volstore.client import Client, segment
from volstore.text import printable


@click.group(cls=Group)
def acl() -> None:
    """Manage access control: policies grant rights, and tokens have policies.

    Commands use the token in VOLSTORE_TOKEN (or NOMAD_TOKEN, or --token).
    """


@acl.command()
@output_options
@connected
def bootstrap(client: Client, form: Form) -> None:
    """Create the first management token. This works once.

    To allow it again, write the index that the refusal names into the file acl-bootstrap-reset in the data directory of
    that server.
    """
    # No token is needed, and an old one (of another cluster, or from before a reset) would be refused.
    anonymous = Client(replace(client.connection, token=""))
    _show_token(lambda: anonymous.put("/v1/acl/bootstrap", {}), "bootstrapping", form)


# Policies.


@acl.group(cls=Group)
def policy() -> None:
    """Manage policies."""


_NAME = click.argument("name", metavar="NAME")


@policy.command("list")
@list_options
@output_options
@connected
def list_policies(client: Client, paging: Paging, form: Form) -> None:
    """List all policies with a management token, otherwise those of the token."""
    with failing("listing ACL policies"):
        found = paging.fetch(client, "/v1/acl/policies")
    if form.prints(found):
        return
    if found:
        table(["Name", "Description"], [[item["Name"], item["Description"]] for item in found])
    else:
        complain("No policies found")


@policy.command("info")
@_NAME
@output_options
@connected
def policy_info(client: Client, name: str, form: Form) -> None:
    """Show a policy and its rules."""
    with failing("fetching info on ACL policy"):
        found = client.get(f"/v1/acl/policy/{segment(name)}")
    if form.prints(found):
        return
    fields([(key, found[key]) for key in ("Name", "Description", "CreateIndex", "ModifyIndex")])
    echo("\nRules\n")
    for line in found["Rules"].splitlines():
        echo(printable(line, "\t"))


@policy.command("apply")
@click.option("--description", metavar="TEXT", default="", help="What the policy is for.")
@_NAME
@click.argument("file", metavar="FILE")
@connected
def apply_policy(client: Client, name: str, file: str, description: str) -> None:
    """Create or replace policy NAME with the rules in FILE (HCL or JSON; - is stdin)."""
    rules, _ = read_file(file)
    with failing("writing ACL policy"):
        client.put(f"/v1/acl/policy/{segment(name)}", {"Name": name, "Description": description, "Rules": rules})
    echo(f'Successfully wrote "{name}" ACL policy!')


@policy.command("delete")
@_NAME
@connected
def delete_policy(client: Client, name: str) -> None:
    """Remove a policy. Tokens keep its name, which then grants nothing."""
    with failing("deleting ACL policy"):
        client.delete(f"/v1/acl/policy/{segment(name)}")
    echo(f"Successfully deleted {name} policy!")


# Tokens.


@acl.group(cls=Group)
def token() -> None:
    """Manage tokens."""


_ACCESSOR = click.argument("accessor_id", metavar="ACCESSOR")
_POLICIES = click.option("--policy", "policies", metavar="NAME", multiple=True, help="A policy; repeat for others.")


@token.command("list")
@list_options
@output_options
@connected
def list_tokens(client: Client, paging: Paging, form: Form) -> None:
    """List tokens, without their secrets."""
    with failing("listing ACL tokens"):
        found = paging.fetch(client, "/v1/acl/tokens")
    if form.prints(found):
        return
    if found:
        rows = [[item["Name"], item["Type"], item["Global"], item["AccessorID"]] for item in found]
        table(["Name", "Type", "Global", "Accessor ID"], rows)
    else:
        complain("No tokens found")


@token.command("info")
@_ACCESSOR
@output_options
@connected
def token_info(client: Client, accessor_id: str, form: Form) -> None:
    """Show a token, without its secret."""
    _show_token(lambda: _token(client, accessor_id), "fetching token", form)


@token.command("self")
@output_options
@connected
def token_self(client: Client, form: Form) -> None:
    """Show the token that this command uses."""
    _show_token(lambda: client.get("/v1/acl/token/self"), "fetching self token", form)


@token.command("create")
@click.option("--name", metavar="TEXT", default="", help="A name for people.")
@click.option("--type", "kind", metavar="TYPE", default="client", help="client (default) or management.")
@_POLICIES
@click.option("--global", "is_global", is_flag=True, help="Stored and shown for compatibility with Nomad.")
@click.option("--ttl", metavar="DURATION", default="", help="Expire after this time, for example 8h.")
@output_options
@connected
def create_token(
    client: Client, name: str, kind: str, policies: Sequence[str], is_global: bool, ttl: str, form: Form
) -> None:
    """Create a token. Its secret is shown now, and never again."""
    body = {"Name": name, "Type": kind, "Policies": list(policies), "Global": is_global, "ExpirationTTL": ttl}
    _show_token(lambda: client.put("/v1/acl/token", body), "creating token", form)


@token.command("update")
@_ACCESSOR
@click.option("--name", metavar="TEXT", help="A new name.")
@click.option("--type", "kind", metavar="TYPE", help="client or management.")
@_POLICIES
@output_options
@connected
def update_token(
    client: Client, accessor_id: str, name: str | None, kind: str | None, policies: Sequence[str], form: Form
) -> None:
    """Change the given fields of a token; the others stay. --policy replaces all of its policies."""

    def change() -> Any:
        old = _token(client, accessor_id)
        body = {
            "AccessorID": old["AccessorID"],
            "Name": old["Name"] if name is None else name,
            "Type": old["Type"] if kind is None else kind,
            "Policies": list(policies) or ([] if kind == "management" else old["Policies"]),
            "Global": old["Global"],
        }
        return client.put(f"/v1/acl/token/{segment(old['AccessorID'])}", body)

    _show_token(change, "updating token", form)


@token.command("delete")
@_ACCESSOR
@connected
def delete_token(client: Client, accessor_id: str) -> None:
    """Remove a token. From then on its secret grants nothing."""

    def delete(whole: str) -> str:
        client.delete(f"/v1/acl/token/{segment(whole)}")
        return whole

    with failing("deleting token"):
        whole = with_whole_id(accessor_id, delete, partial(find_token, client))
    echo(f"Token {whole} successfully deleted")


def _token(client: Client, accessor_id: str) -> Any:
    """By its accessor, or the beginning of it."""
    return with_whole_id(
        accessor_id, lambda whole: client.get(f"/v1/acl/token/{segment(whole)}"), partial(find_token, client)
    )


def _show_token(request: Callable[[], Any], doing: str, form: Form) -> None:
    """Send `request`, and print the token in its answer."""
    with failing(doing):
        found = request()
    if not form.prints(found):
        fields(_token_fields(found))


def _token_fields(found: dict[str, Any]) -> list[tuple[str, object]]:
    shown: list[tuple[str, object]] = [("Accessor ID", found["AccessorID"])]
    if found.get("SecretID"):
        shown.append(("Secret ID", found["SecretID"]))
    shown += [
        ("Name", found["Name"]),
        ("Type", found["Type"]),
        ("Global", found["Global"]),
        ("Policies", "n/a" if found["Type"] == "management" else ", ".join(found["Policies"] or [])),
        ("Create Time", found["CreateTime"]),
    ]
    if found.get("ExpirationTime"):
        shown.append(("Expiration Time", found["ExpirationTime"]))
    return [*shown, ("Create Index", found["CreateIndex"]), ("Modify Index", found["ModifyIndex"])]
