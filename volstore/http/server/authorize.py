"""Asks an endpoint's declared needs of a request's caller."""

from __future__ import annotations

from volstore.core.state import State
from volstore.http.server.call import Call
from volstore.http.server.caller import permission_denied
from volstore.http.server.declaration import Endpoint, Write
from volstore.http.server.rights import nothing


def admit(call: Call, endpoint: Endpoint, state: State) -> None:
    """Before the body is read. Raises ApiError (403) where the caller lacks the right whatever is in it."""
    authorize(call, endpoint, state)
    if not isinstance(endpoint, Write) or endpoint.body is None or not call.caller.restricted:
        return
    rights = call.caller.rights(state)
    if not (rights.acl.management or endpoint.before_body(call, state, rights)):
        raise permission_denied()


def authorize(call: Call, endpoint: Endpoint, state: State) -> None:
    """Raises ApiError (403) unless the caller may do this, as `state` has it.

    What a write needs depends on its command: `core.acl.check` decides it, here and again in `apply`.
    """
    if not call.caller.restricted or endpoint.need is nothing:
        return
    rights = call.caller.rights(state)
    if rights.acl.management or isinstance(endpoint, Write):
        return
    if not endpoint.need(call, state, rights):
        raise permission_denied()
