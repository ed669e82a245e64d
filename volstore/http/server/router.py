"""The table of routes, and how a path finds its row: the one source of dispatch, `Allow`, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from volstore.core.errors import ApiError
from volstore.http.endpoints import (
    acl_policies,
    acl_tokens,
    allocations,
    claims,
    cluster,
    namespaces,
    nodes,
    plugins,
    search,
    volumes,
)
from volstore.http.server.declaration import Endpoint

VARIABLE = "{id}"


@dataclass(frozen=True, slots=True)
class Route:
    """`path` has `{id}` where a variable segment is."""

    path: str
    endpoints: Mapping[str, Endpoint]
    allow: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        methods = set(self.endpoints) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.endpoints else set())
        object.__setattr__(self, "allow", tuple(sorted(methods)))

    def endpoint(self, method: str) -> Endpoint:
        """HEAD is GET without the body. Raises ApiError 405."""
        found = self.endpoints.get("GET" if method == "HEAD" else method)
        if found is None:
            raise ApiError(405, "Invalid method", allow=self.allow)
        return found


class UnknownPath(ApiError):
    """Nothing is there; the reference says so without a word."""

    def __init__(self, text: str = "") -> None:
        super().__init__(404, text)


API: tuple[Route, ...] = (
    Route("/v1/volumes", {"GET": volumes.LIST, "PUT": volumes.REGISTER_ANY, "POST": volumes.REGISTER_ANY}),
    Route("/v1/volumes/external", {"GET": volumes.EXTERNAL}),
    Route(
        "/v1/volumes/snapshot",
        {
            "GET": volumes.LIST_SNAPSHOTS,
            "PUT": volumes.CREATE_SNAPSHOT,
            "POST": volumes.CREATE_SNAPSHOT,
            "DELETE": volumes.DELETE_SNAPSHOT,
        },
    ),
    Route(
        "/v1/volume/csi/{id}",
        {
            "GET": volumes.READ,
            "PUT": volumes.REGISTER_VOLUMES,
            "POST": volumes.REGISTER_VOLUMES,
            "DELETE": volumes.DEREGISTER,
        },
    ),
    Route("/v1/volume/csi/{id}/create", {"PUT": volumes.CREATE, "POST": volumes.CREATE}),
    Route("/v1/volume/csi/{id}/delete", {"DELETE": volumes.DELETE}),
    Route("/v1/volume/csi/{id}/detach", {"DELETE": claims.DETACH}),
    Route("/v1/volume/csi/{id}/claim", {"PUT": claims.CLAIM, "POST": claims.CLAIM}),
    Route("/v1/plugins", {"GET": plugins.LIST}),
    Route("/v1/plugin/csi/{id}", {"GET": plugins.READ}),
    Route("/v1/nodes", {"GET": nodes.LIST}),
    Route("/v1/node/{id}", {"GET": nodes.READ, "PUT": nodes.PUT, "POST": nodes.PUT, "DELETE": nodes.DELETE}),
    Route("/v1/node/{id}/status", {"PUT": nodes.SET_STATUS, "POST": nodes.SET_STATUS}),
    Route("/v1/node/{id}/heartbeat", {"PUT": nodes.HEARTBEAT, "POST": nodes.HEARTBEAT}),
    Route("/v1/allocations", {"GET": allocations.LIST, "PUT": allocations.PUT_MANY, "POST": allocations.PUT_MANY}),
    Route(
        "/v1/allocation/{id}",
        {
            "GET": allocations.READ,
            "PUT": allocations.PUT,
            "POST": allocations.PUT,
            "DELETE": allocations.DELETE,
        },
    ),
    Route("/v1/status/leader", {"GET": cluster.LEADER}),
    Route("/v1/status/peers", {"GET": cluster.PEERS}),
    Route("/v1/agent/health", {"GET": cluster.HEALTH}),
    Route("/v1/agent/self", {"GET": cluster.SELF}),
    Route("/v1/agent/members", {"GET": cluster.MEMBERS}),
    Route("/v1/regions", {"GET": cluster.REGIONS}),
    Route("/v1/namespaces", {"GET": namespaces.LIST}),
    Route("/v1/namespace", {"PUT": namespaces.PUT_UNNAMED, "POST": namespaces.PUT_UNNAMED}),
    Route(
        "/v1/namespace/{id}",
        {"GET": namespaces.READ, "PUT": namespaces.PUT, "POST": namespaces.PUT, "DELETE": namespaces.DELETE},
    ),
    Route("/v1/acl/bootstrap", {"PUT": acl_tokens.BOOTSTRAP, "POST": acl_tokens.BOOTSTRAP}),
    Route("/v1/acl/policies", {"GET": acl_policies.LIST}),
    Route(
        "/v1/acl/policy/{id}",
        {"GET": acl_policies.READ, "PUT": acl_policies.PUT, "POST": acl_policies.PUT, "DELETE": acl_policies.DELETE},
    ),
    Route("/v1/acl/tokens", {"GET": acl_tokens.LIST}),
    Route("/v1/acl/token", {"PUT": acl_tokens.MAKE, "POST": acl_tokens.MAKE}),
    Route("/v1/acl/token/self", {"GET": acl_tokens.READ_OWN}),
    Route(
        "/v1/acl/token/{id}",
        {"GET": acl_tokens.READ, "PUT": acl_tokens.CHANGE, "POST": acl_tokens.CHANGE, "DELETE": acl_tokens.DELETE},
    ),
    Route("/v1/search", {"PUT": search.SEARCH, "POST": search.SEARCH}),
)


class _Branch:
    __slots__ = ("branches", "route", "variable")

    def __init__(self) -> None:
        self.route: Route | None = None
        self.branches: dict[str, _Branch] = {}
        self.variable: _Branch | None = None


class Router:
    """All routes, by the segments of their paths."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._fixed = {route.path: route for route in routes if VARIABLE not in route.path}
        self._ending_in_id: dict[str, Route] = {}
        """By what precedes the one variable segment, which is the last: how nearly all paths are found."""
        self._root = _Branch()
        for route in routes:
            branch = self._root
            for segment in route.path.split("/"):
                if segment == VARIABLE:
                    branch.variable = branch = branch.variable or _Branch()
                else:
                    branch = branch.branches.setdefault(segment, _Branch())
            branch.route = route
        for route in routes:
            start, _, last = route.path.rpartition("/")
            has_others = any(path.startswith(f"{start}/") for path in self._fixed)
            if last == VARIABLE and VARIABLE not in start and not has_others:
                self._ending_in_id[start] = route

    def find(self, path: str) -> tuple[Route, tuple[str, ...]]:
        """The route of a path as it came (still encoded), and its variable segments, decoded.

        Raises ApiError: 404, with a text where more of a path is there than a thing has.
        """
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, ()
        start, _, last = path.rpartition("/")
        if start in self._ending_in_id and "%" not in last and last.isascii():
            return self._ending_in_id[start], (last,)
        branch = self._root
        ids: list[str] = []
        for segment in _split(path):
            known = branch.branches.get(segment)
            if known is None:
                known = branch.variable
                if known is None:
                    raise UnknownPath("resource not found" if ids else "")
                ids.append(_decoded(segment))
            branch = known
        if branch.route is None:
            raise UnknownPath("resource not found" if branch.variable is not None else "")
        return branch.route, tuple(ids)


def _split(path: str) -> list[str]:
    # Nomad's own UI encodes the slash after the type, as it takes "csi/ID" for the ID.
    for kind in ("/v1/volume/csi", "/v1/plugin/csi") if "%" in path else ():
        if path[len(kind) : len(kind) + 3].upper() == "%2F" and path.startswith(kind):
            path = f"{kind}/{path[len(kind) + 3 :]}"
    return path.split("/")


def _decoded(segment: str) -> str:
    if "%" not in segment and segment.isascii():
        return segment
    try:
        # The encoded bytes of a path that isn't ASCII came through as surrogates.
        return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise ApiError(400, "validation: the path is not UTF-8") from None
