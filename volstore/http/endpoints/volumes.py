"""The volumes' endpoints: list, read, register, deregister, and what volstore does not do."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import partial

from msgspec.structs import replace

from volstore.core.acl.check import WRITE_VOLUME, Rights, sees_allocation
from volstore.core.commands import Command, DeregisterVolume, MergeVolumes, Outcome
from volstore.core.errors import ApiError
from volstore.core.merging import merge_form_refusal
from volstore.core.model import Volume
from volstore.core.queries import Key, VolumeQuery
from volstore.core.state import State
from volstore.http.endpoints.filter_shapes import VOLUME
from volstore.http.endpoints.lists import Page, VolumeLists
from volstore.http.endpoints.paging import NEXT, wanted
from volstore.http.endpoints.render import Sees, nobody, volume_view
from volstore.http.endpoints.rendered import VolumeRenderer
from volstore.http.endpoints.views import RegisteredView, VolumeItem, VolumeView, encode
from volstore.http.endpoints.volume_body import REGISTER, read_volumes
from volstore.http.endpoints.warnings import warnings
from volstore.http.json.parameters import BLOCKING, LISTING, WRITING
from volstore.http.json.replies import Json, Reply
from volstore.http.registry import Contact
from volstore.http.server.call import Call, path_disagrees
from volstore.http.server.caller import Denied, HttpCaller
from volstore.http.server.declaration import Absent, Local, Question, Read, Write
from volstore.http.server.rights import (
    EVERY,
    LIST_VOLUMES,
    READ_VOLUME,
    Need,
    allows_somewhere,
    nothing,
    visible_namespaces,
)
from volstore.http.server.watch import Topic, VolumeTopic

_EMPTY_LIST = b"[]"
MISSING_ID = "missing volume ID"

NOT_OURS = (
    "volstore does not support creating volumes, nor deleting, listing or snapshotting them at their provider: "
    "it registers volumes that exist"
)


@dataclass(frozen=True, slots=True)
class ListVolumes:
    lists: VolumeLists
    page: Page
    caller: HttpCaller

    def topic(self, state: State) -> tuple[Topic, str]:
        return self.page.query, ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.volumes_moved_since(self.page.query, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        page = self.page
        if page.query.namespace is None or page.filter:
            acl = self.caller.rights(state).acl
            if page.query.namespace is None:
                page = replace(page, visible=visible_namespaces(state, acl, LIST_VOLUMES))
            if page.filter:
                page = replace(page, readable=visible_namespaces(state, acl, READ_VOLUME))
        listed = await self.lists.page(state, page)
        headers = {NEXT: listed.next_token} if listed.next_token else {}
        return Reply(json=listed.json, headers=headers)


@dataclass(frozen=True, slots=True)
class ReadVolume:
    renderer: VolumeRenderer
    namespace: str
    id: str
    caller: HttpCaller

    def topic(self, state: State) -> tuple[Topic, str]:
        volume = state.volume(self.namespace, self.id)
        return VolumeTopic(self.namespace, self.id), "" if volume is None else volume.plugin_id

    def moved_since(self, state: State, index: int) -> bool:
        return state.volume_moved_since(self.namespace, self.id, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        volume = state.volume(self.namespace, self.id)
        if volume is None:
            raise Absent("volume not found")
        return Reply(json=Json(self.renderer.view(state, volume, self.caller.rights(state))))


def _list(call: Call) -> Question | Reply:
    query, want = call.query, wanted(call.query, VOLUME)
    namespace, kind = query.namespace, query.text("type")
    if kind not in ("", "csi", "host"):
        raise ApiError(404, "resource not found")
    if kind != "csi":
        return Reply(json=Json(_EMPTY_LIST))
    filters = VolumeQuery(
        namespace=None if namespace == "*" else namespace,
        prefix=query.text("prefix"),
        plugin_id=query.text("plugin_id"),
        node_id=query.text("node_id"),
    )
    page = Page(filters, _start(want.token) if want.token else None, want.size, want.reverse, want.filter)
    return ListVolumes(call.service.lists, page, call.caller)


def _start(token: str) -> Key:
    """`NAMESPACE.ID`: a namespace has no dot in its name."""
    namespace, _, id = token.partition(".")
    return namespace, id


def _read(call: Call) -> Question:
    return ReadVolume(call.service.renderer, call.query.namespace, call.path_id(MISSING_ID), call.caller)


def _register(call: Call) -> Command:
    """Each volume in the namespace that it names, as in Nomad since 1.3; otherwise in the request's."""
    volumes = read_volumes(call.body) if call.batch is None else call.batch
    if len(volumes) == 1 and call.ids:
        volumes = (_named_by_path(volumes[0], call.ids[0]),)
    namespace = call.query.namespace
    return MergeVolumes(
        tuple(volume if volume.namespace else replace(volume, namespace=namespace) for volume in volumes)
    )


def _named_by_path(volume: Volume, path_id: str) -> Volume:
    """The one volume of a body: the path fills an absent ID, otherwise the two must be the same.

    A volume that lacks more than its ID is refused as it came, with all that it lacks.
    """
    if not volume.id and path_id:
        filled = replace(volume, id=path_id)
        if volume.plugin_id and _has_modes(volume):
            volume = filled
    malformed = merge_form_refusal(volume)
    if malformed is not None:
        raise ApiError(400, malformed)
    if not path_id:
        raise ApiError(400, f"{MISSING_ID}: validation: the path must name the volume: /v1/volume/csi/ID")
    if volume.id != path_id:
        raise path_disagrees("volume", path_id, volume.id)
    return volume


def _has_modes(volume: Volume) -> bool:
    return bool(volume.requested_capabilities or (volume.access_mode and volume.attachment_mode))


def _registered(call: Call, command: Command, outcome: Outcome) -> Json:
    """The volumes as read. One that somebody else has removed meanwhile isn't there any more."""
    if not isinstance(command, MergeVolumes):
        raise TypeError(f"{type(command).__name__} registers no volumes")
    state = call.service.registry.state
    rights = _rights(call)
    sees: Sees = nobody if rights is None else partial(sees_allocation, state, rights)
    views = []
    for volume in command.volumes:
        row = state.volume(volume.namespace, volume.id)
        if row is not None:
            views.append(encode(volume_view(state, row, state.plugin_row(row.plugin_id), sees)))

    def visible(namespace: str) -> bool:
        return rights is not None and rights.acl.allows_one(LIST_VOLUMES, namespace)

    warned = warnings(state, command.volumes, visible)
    return Json(
        b'{"Index":%d,"KnownLeader":true,"LastContact":0,"NextToken":"","Volumes":[%b],"Warnings":%b}'
        % (outcome.index, b",".join(views), encode(warned) if warned else b'""')
    )


def _rights(call: Call) -> Rights | None:
    """None where the token went after the volumes were registered: to refuse now would be no answer to what is done."""
    try:
        return call.caller.rights(call.service.registry.state)
    except Denied:
        return None


def _deregister(call: Call) -> Command:
    return DeregisterVolume(call.query.namespace, call.path_id(MISSING_ID), call.query.flag("force"))


def no_body(call: Call, command: Command, outcome: Outcome) -> None:
    return None


def _not_ours(call: Call) -> Reply:
    raise ApiError(501, NOT_OURS)


def _may_register(call: Call, state: State, rights: Rights) -> bool:
    """The volumes say themselves in which namespace they are."""
    acl = rights.acl
    return acl.allows_area("plugin", "read") and (
        acl.allows(WRITE_VOLUME, call.query.namespace) or allows_somewhere(state, acl, (WRITE_VOLUME,), EVERY)
    )


LIST = Read(
    name="listVolumes",
    need=Need(LIST_VOLUMES),
    summary="List volumes",
    answer=list[VolumeItem],
    parameters=("namespace", "type", "prefix", "plugin_id", "node_id", *LISTING, *BLOCKING),
    statuses=(404,),
    ask=_list,
)
READ = Read(
    name="readVolume",
    need=Need(READ_VOLUME, node_secret=True),
    summary="Read one volume",
    answer=VolumeView,
    parameters=("namespace", *BLOCKING),
    statuses=(404,),
    ask=_read,
)
REGISTER_VOLUMES = Write(
    name="registerVolumes",
    before_body=_may_register,
    summary="Register volumes, all or none",
    answer=RegisteredView,
    parameters=("namespace",),
    body=REGISTER,
    batch=REGISTER,
    command=_register,
    render=_registered,
)
REGISTER_ANY = replaced(REGISTER_VOLUMES, name="putVolumes")
"""By the path of the list, which names no volume."""
DEREGISTER = Write(
    name="deregisterVolume",
    summary="Deregister a volume",
    parameters=("namespace", "force"),
    statuses=(404,),
    command=_deregister,
    render=no_body,
)
_PAGED = ("plugin_id", "per_page", "next_token")


def _unsupported(name: str, *parameters: str) -> Local:
    return Local(
        name=name, need=nothing, summary="Not supported", parameters=parameters, statuses=(501,), reply=_not_ours
    )


CREATE = _unsupported("createVolume", *WRITING)
DELETE = _unsupported("deleteVolume", *WRITING)
EXTERNAL = _unsupported("listExternalVolumes", *_PAGED)
LIST_SNAPSHOTS = _unsupported("listSnapshots", *_PAGED)
CREATE_SNAPSHOT = _unsupported("createSnapshot", *WRITING)
DELETE_SNAPSHOT = _unsupported("deleteSnapshot", "plugin_id", "snapshot_id", *WRITING)
