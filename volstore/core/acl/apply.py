"""The appliers of access control and namespaces, and what they refuse, in Nomad's words where it has some."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from volstore.core.acl.commands import (
    BootstrapAcl,
    DeleteAclPolicy,
    DeleteAclToken,
    DeleteNamespace,
    PutAclPolicy,
    PutAclToken,
    PutNamespace,
)
from volstore.core.acl.tables import CLIENT_TYPE, MANAGEMENT_TYPE, TOKEN_TYPES, AclPolicy, AclToken, Bootstrapped
from volstore.core.model import DEFAULT_NAMESPACE, Namespace
from volstore.core.queries import VolumeQuery
from volstore.core.rules import Refusal, short
from volstore.core.state import State

LONGEST_DESCRIPTION = 256
LONGEST_TOKEN_NAME = 256
LATEST_DATE = 2**63 - 1
"""Nanoseconds since 1970, in the year 2262: what a row can hold, whatever the proposer's clock shows."""
EXPIRED_REMOVED_AT_ONCE = 64
"""At most so many expired tokens leave with each change of a token: more than one, so that they don't pile up."""

_NAME = re.compile(r"[a-zA-Z0-9-]{1,128}", re.ASCII)
"""Of policies and namespaces."""


def _errors(what: str, errors: list[str]) -> Refusal | None:
    """All that is wrong, as Go's multierror lists it."""
    if not errors:
        return None
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return Refusal(400, f"{what}: {count} occurred:\n" + "".join(f"\t* {error}\n" for error in errors) + "\n")


def _name_errors(name: str) -> list[str]:
    return [] if _NAME.fullmatch(name) else [f"invalid name '{short(name)}'"]


def _description_errors(description: str) -> list[str]:
    too_long = len(description.encode()) > LONGEST_DESCRIPTION
    return [f"description longer than {LONGEST_DESCRIPTION}"] if too_long else []


def policy_refusal(name: str, description: str, unreadable: str | None = None) -> Refusal | None:
    """Why a policy is refused whatever the state; `unreadable` is why its rules can't be read."""
    errors = [] if unreadable is None else [f"failed to parse rules: {unreadable}"]
    return _errors("policy 0 invalid", [*_name_errors(name), *errors, *_description_errors(description)])


def namespace_refusal(name: str, description: str) -> Refusal | None:
    return _errors("invalid namespace", [*_name_errors(name), *_description_errors(description)])


def token_refusal(command: PutAclToken) -> Refusal | None:
    """Why a token is refused whatever the state."""
    errors = ["token name too long"] if len(command.name.encode()) > LONGEST_TOKEN_NAME else []
    if command.kind not in TOKEN_TYPES:
        errors.append("token type must be client or management")
    elif command.kind == CLIENT_TYPE and not command.policies:
        errors.append("client token missing policies")
    elif command.kind == MANAGEMENT_TYPE and command.policies:
        errors.append("management token cannot be associated with policies")
    return _errors("token 0 invalid", errors)


def bootstrap_refusal(state: State, command: object) -> Refusal | None:
    done = state.access.bootstrapped
    if done is not None and isinstance(command, BootstrapAcl) and command.reset_index != done.index:
        return Refusal(400, f"ACL bootstrap already done (reset index: {done.index})")
    return None


def _bootstrap(state: State, command: BootstrapAcl) -> Refusal | None:
    refusal = bootstrap_refusal(state, command)
    if refusal is not None:
        return refusal
    state.access.put_token(
        AclToken(
            accessor_id=command.accessor_id,
            secret_hash=command.secret_hash,
            name="Bootstrap Token",
            type=MANAGEMENT_TYPE,
            global_=True,
            create_time=state.stamp,
            create_index=state.index,
            modify_index=state.index,
        ),
        expires=0,
    )
    state.access.bootstrap(Bootstrapped(index=state.index, accessor_id=command.accessor_id))
    return None


def _put_policy(state: State, command: PutAclPolicy) -> Refusal | None:
    refusal = policy_refusal(command.name, command.description)
    if refusal is not None:
        return refusal
    old = state.access.policies.get(command.name)
    state.access.put_policy(
        AclPolicy(
            name=command.name,
            description=command.description,
            text=command.text,
            rules=command.rules,
            create_index=old.create_index if old is not None else state.index,
            modify_index=state.index,
        )
    )
    return None


def _delete_policy(state: State, command: DeleteAclPolicy) -> Refusal | None:
    """One that isn't there is gone already."""
    if state.access.policies.get(command.name) is not None:
        state.access.remove_policy(command.name, state.index)
    return None


def _put_token(state: State, command: PutAclToken) -> Refusal | None:
    refusal = token_refusal(command)
    if refusal is not None:
        return refusal
    old = state.access.token(command.accessor_id, state.log_time)
    refusal = _change_refusal(old, command)
    if refusal is not None:
        return refusal
    state.access.remove_expired(state.log_time, state.index, EXPIRED_REMOVED_AT_ONCE)
    made = old or AclToken(
        accessor_id=command.accessor_id,
        secret_hash=command.secret_hash,
        create_time=state.stamp,
        expiration_time=min(max(state.stamp + command.ttl, 1), LATEST_DATE) if command.ttl else 0,
        create_index=state.index,
    )
    state.access.put_token(
        replace(
            made,
            name=command.name,
            type=command.kind,
            policies=command.policies,
            global_=command.global_,
            modify_index=state.index,
        ),
        expires=None if old is not None else state.log_time + command.ttl if command.ttl else 0,
    )
    return None


def _change_refusal(old: AclToken | None, command: PutAclToken) -> Refusal | None:
    if command.secret_hash:
        return Refusal(409, f"token {command.accessor_id} already exists") if old is not None else None
    if old is None:
        return Refusal(404, f"cannot find token {short(command.accessor_id)}")
    if old.global_ != command.global_:
        return Refusal(400, f"cannot toggle global mode of {old.accessor_id}")
    if command.ttl:
        return Refusal(400, f"cannot change the expiration time of {old.accessor_id}: make a new token instead")
    return None


def _delete_token(state: State, command: DeleteAclToken) -> Refusal | None:
    if state.access.token(command.accessor_id) is None:
        return Refusal(400, f"Cannot delete nonexistent tokens: {short(command.accessor_id)}")
    state.access.remove_token(command.accessor_id, state.index)
    return None


def _put_namespace(state: State, command: PutNamespace) -> Refusal | None:
    refusal = namespace_refusal(command.name, command.description)
    if refusal is not None:
        return refusal
    old = state.namespace(command.name)
    state.put_namespace(
        Namespace(
            name=command.name,
            description=command.description,
            create_index=old.create_index if old is not None else state.index,
            modify_index=state.index,
        )
    )
    return None


def _delete_namespace(state: State, command: DeleteNamespace) -> Refusal | None:
    """Nothing may be left that would be in a namespace which isn't there."""
    name = short(command.name)
    if command.name == DEFAULT_NAMESPACE:
        return Refusal(400, "validation: the default namespace cannot be deleted")
    if state.namespace(command.name) is None:
        return Refusal(404, f"namespace not found: {name}")
    volume = next(state.volumes(VolumeQuery(namespace=command.name)), None)
    if volume is not None:
        return Refusal(409, f"namespace {name} has volumes, {volume.id} among them: deregister them first")
    allocation = next(iter(state.allocations(namespace=command.name)), None)
    if allocation is not None:
        return Refusal(409, f"namespace {name} has allocations, {allocation.id} among them: they must go first")
    state.remove_namespace(command.name)
    return None


APPLIERS: dict[type, Callable[[State, Any], Refusal | None]] = {
    BootstrapAcl: _bootstrap,
    PutAclPolicy: _put_policy,
    DeleteAclPolicy: _delete_policy,
    PutAclToken: _put_token,
    DeleteAclToken: _delete_token,
    PutNamespace: _put_namespace,
    DeleteNamespace: _delete_namespace,
}
