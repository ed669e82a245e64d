"""The policies' endpoints; what they show is what the caller may see at the moment of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from volstore.core.acl.apply import policy_refusal
from volstore.core.acl.check import Rights
from volstore.core.acl.commands import DeleteAclPolicy, PutAclPolicy
from volstore.core.acl.policy import PolicyError, parse_policy
from volstore.core.acl.tables import POLICY
from volstore.core.commands import Command
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.endpoints.acl_views import AclPolicyItem, AclPolicyView, policy_item, policy_view
from volstore.http.endpoints.filter_shapes import ACL_POLICY
from volstore.http.endpoints.paging import Asked, Order, answer, wanted
from volstore.http.endpoints.views import encode
from volstore.http.endpoints.volumes import no_body
from volstore.http.json.names import REQUESTS
from volstore.http.json.parameters import BLOCKING, LISTING
from volstore.http.json.reader import read_json
from volstore.http.json.replies import Json, Reply
from volstore.http.json.shape import Object, Text
from volstore.http.registry import Contact
from volstore.http.server.call import Call
from volstore.http.server.caller import HttpCaller
from volstore.http.server.declaration import Absent, Question, Read, Write
from volstore.http.server.rights import must_be_on, nothing
from volstore.http.server.watch import AccessTopic, Topic

_ORDER = Order(attrgetter("name"))
_LINE = Text(longest=1024, one_line=True)

_MISSING = "Missing Policy Name"


@dataclass(frozen=True, slots=True)
class ListPolicies:
    caller: HttpCaller
    prefix: str
    want: Asked

    def topic(self, state: State) -> tuple[Topic, str]:
        return AccessTopic(POLICY), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.access.moved_since(POLICY, index)

    async def answer(self, state: State, contact: Contact) -> Reply:
        rights = self.caller.rights(state)
        found = state.access.sorted_policies()
        if not rights.acl.management:
            own = rights.token.policies if rights.token is not None else ()
            found = [policy for policy in found if policy.name in own]
        found = [policy for policy in found if policy.name.startswith(self.prefix)]
        return await answer(found, self.want, _ORDER, policy_item, ACL_POLICY)


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    name: str

    def topic(self, state: State) -> tuple[Topic, str]:
        return AccessTopic(POLICY), ""

    def moved_since(self, state: State, index: int) -> bool:
        return state.access.moved_since(POLICY, index, self.name)

    async def answer(self, state: State, contact: Contact) -> Reply:
        policy = state.access.policies.get(self.name)
        if policy is None:
            raise Absent("ACL policy not found")
        return Reply(json=Json(encode(policy_view(policy))))


def _list_policies(call: Call) -> Question:
    must_be_on(call)
    return ListPolicies(call.caller, call.query.text("prefix"), wanted(call.query, ACL_POLICY))


def _read_policy(call: Call) -> Question:
    must_be_on(call)
    return ReadPolicy(call.path_id(_MISSING))


@dataclass(frozen=True, slots=True)
class PolicyBody:
    name: str = ""
    description: str = ""
    text: str = ""


POLICY_BODY: Object[PolicyBody] = Object(
    PolicyBody,
    {
        "Name": ("name", _LINE),
        "Description": ("description", Text(longest=4096)),
        "Rules": ("text", Text()),
    },
    passed=("Hash", "RulesJSON", "CreateIndex", "ModifyIndex", *REQUESTS),
)


def _put_policy(call: Call) -> Command:
    must_be_on(call)
    name, body = call.path_id(_MISSING), read_json(call.body, POLICY_BODY)
    if body.name != name:
        raise ApiError(400, "ACL policy name does not match request path")
    unreadable = None
    try:
        rules = parse_policy(body.text)
    except PolicyError as error:
        unreadable = str(error)
    refusal = policy_refusal(name, body.description, unreadable)
    if refusal is not None:
        raise ApiError(*refusal)
    return PutAclPolicy(name, body.description, body.text, rules)


def _delete_policy(call: Call) -> Command:
    must_be_on(call)
    return DeleteAclPolicy(call.path_id(_MISSING))


def _own(call: Call, state: State, rights: Rights) -> bool:
    token = rights.token
    return token is not None and call.ids[0] in token.policies


LIST = Read(
    name="listAclPolicies",
    need=nothing,
    summary="List policies: all for management, else one's own",
    answer=list[AclPolicyItem],
    parameters=("prefix", *LISTING, *BLOCKING),
    ask=_list_policies,
)
READ = Read(
    name="readAclPolicy",
    need=_own,
    summary="Read one policy",
    answer=AclPolicyView,
    parameters=BLOCKING,
    statuses=(404,),
    ask=_read_policy,
)
PUT = Write(
    name="putAclPolicy",
    summary="Make or replace a policy",
    body=POLICY_BODY,
    command=_put_policy,
    render=no_body,
    index_only=True,
)
DELETE = Write(
    name="deleteAclPolicy", summary="Remove a policy", command=_delete_policy, render=no_body, index_only=True
)
