"""The commands of access control and of namespaces, and who has a command done.

They carry no secret: what is drawn for a new token stays with the node that answers its maker, and only its SHA-256
travels. The encoding is that of `commands.py`, whose union takes them in.
"""

from __future__ import annotations

from volstore.core.acl.rights import Rules
from volstore.core.frozen import Frozen


class Caller(Frozen, frozen=True):
    """Who asked for a command, as the node that took it found: a token by its accessor, or a node by its secret's
    SHA-256; both empty is the anonymous.

    A command without a caller (None) is the cluster's own, or comes from where access control is off: it may do
    anything.
    """

    accessor_id: str = ""
    node_secret_hash: bytes = b""


class BootstrapAcl(Frozen, frozen=True, tag="bootstrap-acl"):
    """Make the first management token; again only with the index of the last time as `reset_index`."""

    accessor_id: str
    secret_hash: bytes
    reset_index: int = 0


class PutAclPolicy(Frozen, frozen=True, tag="put-acl-policy"):
    """`rules` are what the proposer read in `text`."""

    name: str
    description: str
    text: str
    rules: Rules


class DeleteAclPolicy(Frozen, frozen=True, tag="delete-acl-policy"):
    name: str


class PutAclToken(Frozen, frozen=True, tag="put-acl-token"):
    """`kind` is the token's type. `secret_hash` is given for a new token; without it that of `accessor_id` is changed.

    `ttl`: nanoseconds of log time from now until it expires, 0 for never; for a new token only.
    """

    accessor_id: str
    secret_hash: bytes = b""
    name: str = ""
    kind: str = ""
    policies: tuple[str, ...] = ()
    global_: bool = False
    ttl: int = 0


class DeleteAclToken(Frozen, frozen=True, tag="delete-acl-token"):
    accessor_id: str


class PutNamespace(Frozen, frozen=True, tag="put-namespace"):
    name: str
    description: str = ""


class DeleteNamespace(Frozen, frozen=True, tag="delete-namespace"):
    name: str


AclCommand = (
    BootstrapAcl | PutAclPolicy | DeleteAclPolicy | PutAclToken | DeleteAclToken | PutNamespace | DeleteNamespace
)
