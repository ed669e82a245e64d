"""The plugins' endpoints: list and read; plugins come and go with the nodes that report them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from volstore.core.acl.check import READ_JOB
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.endpoints.filter_shapes import PLUGIN
from volstore.http.endpoints.paging import Asked, Order, answer, wanted
from volstore.http.endpoints.render import plugin_item, plugin_view
from volstore.http.endpoints.views import PluginItem, PluginView, encode
from volstore.http.json.parameters import BLOCKING, LISTING
from volstore.http.json.replies import Json, Reply
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.caller import HttpCaller
from volstore.http.server.declaration import Absent, Question, Read
from volstore.http.server.rights import Need
from volstore.http.server.watch import ALL_PLUGINS, PluginTopic, Topic

_ORDER = Order(attrgetter("id"))


@dataclass(frozen=True, slots=True)
class ListPlugins:
    prefix: str
    want: Asked

    def topic(self, state: State) -> tuple[Topic, str]:
        return ALL_PLUGINS, ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.plugins_moved_since(index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        found = [plugin for plugin in state.plugins() if plugin.id.startswith(self.prefix)]
        return await answer(found, self.want, _ORDER, plugin_item, PLUGIN)


@dataclass(frozen=True, slots=True)
class ReadPlugin:
    id: str
    caller: HttpCaller

    def topic(self, state: State) -> tuple[Topic, str]:
        return PluginTopic(self.id), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.plugin_moved_since(self.id, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        plugin = state.plugin(self.id)
        if plugin is None:
            raise Absent("plugin not found")
        acl = self.caller.rights(state).acl
        allocations = [row for row in state.plugin_allocations(plugin.id) if acl.allows_one(READ_JOB, row.namespace)]
        return Reply(json=Json(encode(plugin_view(state, plugin, allocations))))


def _list(call: Call) -> Question | Reply:
    want = wanted(call.query, PLUGIN)
    kind = call.query.text("type")
    if kind not in ("", "csi"):
        raise ApiError(404, "resource not found")
    return ListPlugins(call.query.text("prefix"), want) if kind else Reply(json=Json(b"[]"))


def _read(call: Call) -> Question:
    return ReadPlugin(call.path_id("missing plugin ID"), call.caller)


LIST = Read(
    name="listPlugins",
    need=Need(area=("plugin", "list")),
    summary="List plugins",
    answer=list[PluginItem],
    parameters=("type", "prefix", *LISTING, *BLOCKING),
    statuses=(404,),
    ask=_list,
)
READ = Read(
    name="readPlugin",
    need=Need(area=("plugin", "read")),
    summary="Read one plugin",
    answer=PluginView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_read,
)
