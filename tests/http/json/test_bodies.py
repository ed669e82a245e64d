"""Whatever a body is, it is taken as meant or refused with the place named, and a refused one changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.conftest import Api, volume
from volstore.core.errors import ApiError
from volstore.core.model import Topology
from volstore.http.endpoints.node_body import read_node
from volstore.http.endpoints.volume_body import read_volumes

PATH = "/v1/volume/csi/v"


def bodies(**fields: Any) -> bytes:
    return json.dumps({"Volumes": [volume("v", **fields)]}).encode()


MALFORMED: list[tuple[bytes, str]] = [
    (b"", "EOF: validation: the body is empty"),
    (b"  \n", "EOF"),
    (b"{", "unexpected EOF: validation: "),
    (b'{"Volumes": [{"ID": "v', "unexpected EOF"),
    (b"[]", "validation: expected an object, got an array"),
    (b'"x"', "validation: expected an object, got a string"),
    (b"5", "validation: expected an object, got a number"),
    (b"null", "missing volume definition"),
    (b"{}", "missing volume definition"),
    (b'{"volumes":[]}', "missing volume definition"),
    (b'{"Volumes":null}', "missing volume definition"),
    (b'{"Volumes":[]} trailing', "missing volume definition"),
    (b'{"Volumes":[null]}', "validation: Volumes[0]: missing volume definition"),
    (b'{"Volumes":{}}', "validation: Volumes: expected an array, got an object"),
    (b'{"Volumes":["x"]}', "validation: Volumes[0]: expected an object, got a string"),
    (bodies() + b" x", "validation: unexpected text after the JSON document"),
    (b"not json", "validation: not JSON: "),
    (b"\xff\xfe", "validation: the body is not UTF-8: byte 0 (0xff)"),
    (b'\xef\xbb\xbf{"Volumes":[]}', "validation: not JSON: "),
    (b'{"Volumes":[{"ID":5}]}', "validation: Volumes[0].ID: expected a string, got a number"),
    (bodies(Name=True), "validation: Volumes[0].Name: expected a string, got a boolean"),
    (bodies(Name=["x"]), "validation: Volumes[0].Name: expected a string, got an array"),
    (bodies(Name="a\nb"), "validation: Volumes[0].Name: control character U+000A"),
    (bodies(Name="a\u2028b"), "validation: Volumes[0].Name: control character U+2028"),
    (bodies(ExternalID="x" * 1025), "validation: Volumes[0].ExternalID: 1025 bytes are too long, at most 1024"),
    (bodies(ID="v" * 2000), "validation: Volumes[0].ID: 2000 bytes are too long"),
    (bodies(Parameters={"a": 5}), "validation: Volumes[0].Parameters.a: expected a string, got a number"),
    (bodies(Parameters=["a"]), "validation: Volumes[0].Parameters: expected an object, got an array"),
    (bodies(Parameters={"a\x00": "b"}), "validation: Volumes[0].Parameters.a\\x00: control character U+0000"),
    (bodies(Topologies="y"), "validation: Volumes[0].Topologies: expected an array, got a string"),
    (
        bodies(Topologies=[{}, {"Segments": {"foo": 5}}]),
        "validation: Volumes[0].Topologies[1].Segments.foo: expected a string, got a number",
    ),
    (bodies(Topologies=[{"foo": {}}]), "validation: Volumes[0].Topologies[0].foo: expected a string, got an object"),
    (bodies(MountOptions="x"), "validation: Volumes[0].MountOptions: expected an object, got a string"),
    (bodies(MountOptions={"MountFlags": "x"}), "validation: Volumes[0].MountOptions.MountFlags: expected an array"),
    (bodies(Capacity="1"), "validation: Volumes[0].Capacity: expected a number, got a string"),
    (bodies(Capacity=1.5), "validation: Volumes[0].Capacity: expected a whole number"),
    (bodies(Capacity=2**63), "validation: Volumes[0].Capacity: 9223372036854775808 is out of range"),
    (bodies(RequestedCapabilities=[[]]), "validation: Volumes[0].RequestedCapabilities[0]: expected an object"),
    (bodies(Capacity=float("nan")), "validation: NaN is not a JSON number"),
    (bodies(Capacity=float("-inf")), "validation: -Infinity is not a JSON number"),
    (b'{"Volumes":[{"Extra":' + b"9" * 5000 + b"}]}", "validation: a number of 5000 digits is too long"),
    (b'{"Volumes":[{"ID":"v","ID":"w"}]}', 'validation: Volumes[0]: the key "ID" is there twice'),
    (b'{"Volumes":[{"Secrets":{"k":"a","k":"a"}}]}', 'validation: Volumes[0].Secrets: the key "k" is there twice'),
    (b'{"Volumes":[],"Volumes":[]}', 'validation: the body: the key "Volumes" is there twice'),
    (b'{"Volumes":[{"ID":"v","ID":"w"}', "unexpected EOF: validation: "),
    (b'{"Volumes":[{"ID":"v","ID":"w"} {}]}', "validation: not JSON: "),
    (b'{"Volumes":[{"Name":"\\ud800"}]}', "validation: Volumes[0].Name: half a surrogate pair"),
    (b'{"Volumes":[{"Secrets":{"\\udfff":"x"}}]}', "validation: Volumes[0].Secrets.\\udfff: half a surrogate pair"),
    (b'{"Volumes":[{"Name":"a\nb"}]}', "validation: not JSON: Invalid control character"),
    (b'{"Extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "validation: the JSON document is nested too deeply"),
    (b'{"a":' * 100_000, "validation: the JSON document is nested too deeply"),
    (b'{"Volumes":[{"ID":"w","PluginID":"p","AccessMode":"x","AttachmentMode":"y"}]}', "validation: unknown access"),
    (
        json.dumps({"Volumes": [volume("w")]}).encode(),
        'validation: the path names volume "v" and the body "w"; they must be the same',
    ),
    (json.dumps({"Volumes": [volume("v"), volume("v")]}).encode(), 'validation: volume id "v" is given twice'),
    (b'{"Volumes":[{"ID":""}]}', "validation: missing volume id, missing plugin id, missing access mode"),
]


@pytest.mark.parametrize(("body", "text"), MALFORMED)
async def test_a_malformed_register_is_refused_naming_the_place(api: Api, body: bytes, text: str) -> None:
    await api.report_node()
    index = api.registry.state.index
    status, headers, answer = await api.do("PUT", PATH, data=body)
    assert (status, answer[: len(text)]) == (400, text)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "X-Nomad-Index" not in headers
    assert api.registry.state.volume_count() == 0
    assert api.registry.state.index <= index + 1  # refused here, or by a command that did nothing else


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "unexpected EOF"),
        (b"[]", "validation: expected an object, got an array"),
        (b"null", "validation: expected an object, got null"),
        (b'{"Node":null}', "validation: Node: expected an object, got null"),
        (b'{"Node":{"Name":5}}', "validation: Node.Name: expected a string"),
        (b'{"Status":"sleepy"}', 'validation: unknown node status "sleepy", one of: initializing, ready, down'),
        (b'{"ID":"other"}', 'validation: the path names node "n" and the body "other"'),
        (b'{"CSINodePlugins":{"":{}}}', "validation: missing plugin id"),
        (b'{"CSINodePlugins":{"a/b":{}}}', 'validation: plugin id "a/b" has the character "/"'),
        (b'{"CSINodePlugins":{"p":{"Healthy":"yes"}}}', "validation: CSINodePlugins.p.Healthy: expected true or false"),
        (b'{"CSINodePlugins":{"p":{"UpdateTime":"now"}}}', "validation: CSINodePlugins.p.UpdateTime: expected a time"),
        (b'{"CSINodePlugins":{"p":{"UpdateTime":"2023-02-30T00:00:00Z"}}}', "validation: CSINodePlugins.p.UpdateTime"),
        (b'{"CSINodePlugins":{"p":{"PluginID":"q"}}}', 'validation: CSINodePlugins["p"] has the PluginID "q"'),
        (b'{"CSINodePlugins":{"p":{"NodeInfo":{"MaxVolumes":-1.5}}}}', "validation: CSINodePlugins.p.NodeInfo.MaxV"),
    ],
)
async def test_a_malformed_report_is_refused_naming_the_place(api: Api, body: bytes, text: str) -> None:
    status, _, answer = await api.do("PUT", "/v1/node/n", data=body)
    assert (status, answer[: len(text)]) == (400, text)
    assert api.registry.state.node_count() == 0


def test_what_go_clients_send_besides_is_no_mistake() -> None:
    """Zero values, nulls and fields that are the server's, as Nomad 1.1 sends them."""
    (read,) = read_volumes(
        bodies(
            Topologies=None,
            MountOptions=None,
            Secrets=None,
            Context=None,
            RequestedCapabilities=None,
            Capacity=0,
            ResourceExhausted="0001-01-01T00:00:00Z",
            Schedulable=False,
            CreateIndex=7,
            ReadAllocs=None,
            Namespace="elsewhere",
            CurrentReaders=3,
            A_field_of_a_newer_client=None,
        )
    )
    assert (read.topologies, read.mount_options, read.secrets, read.create_index) == ((), None, {}, 0)
    assert read.namespace == "elsewhere"


def test_topologies_are_taken_in_both_forms() -> None:
    (read,) = read_volumes(
        bodies(Topologies=[{"Segments": {"a": "b"}}, {"a": "b"}, {"Segments": None}, {}, None, {"Segments": "x"}])
    )
    assert read.topologies == (
        Topology({"a": "b"}),
        Topology({"a": "b"}, flat=True),
        Topology(None),
        Topology(None),
        Topology(None),
        Topology({"Segments": "x"}, flat=True),
    )


def test_a_secret_enters_no_text_and_no_repr() -> None:
    secret = "hunter2-hunter2"
    (read,) = read_volumes(bodies(Secrets={"password": secret}))
    assert read.secrets == {"password": secret}
    assert secret not in repr(read)
    node = read_node(json.dumps({"ID": "n", "SecretID": secret}).encode())
    assert len(node.secret_hash) == 32
    assert secret not in repr(node)
    assert secret.encode() not in node.secret_hash
    for body in (
        bodies(Secrets={"password": secret, "other": 5}),
        bodies(Secrets=secret),
        json.dumps({"Volumes": [{"Secrets": {"k": secret}}]}).encode()[:-2],
        b'{"Volumes":[{"Secrets":{"k":"%s","k":"%s"}}]}' % (secret.encode(), secret.encode()),
    ):
        with pytest.raises(ApiError) as caught:
            read_volumes(body)
        assert secret not in caught.value.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "ID",
        "Name",
        "PluginID",
        "Topologies",
        "Secrets",
        "MountOptions",
        "Capacity",
        "RequestedCapabilities",
        "AccessMode",
    ]
)


@given(
    st.dictionaries(FIELDS, JSON, max_size=4).map(lambda fields: bodies(**fields))
    | st.dictionaries(FIELDS, JSON, max_size=4).map(lambda fields: json.dumps(fields).encode())
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=64)
    | st.builds(
        lambda at, byte: bodies()[:at] + bytes([byte]) + bodies()[at + 1 :],
        st.integers(0, len(bodies()) - 1),
        st.integers(0, 255),
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_body_is_read_or_refused_in_one_line_of_text(body: bytes) -> None:
    for read in (read_volumes, read_node):
        refused = _refusal(read, body)
        if refused is not None:
            assert refused.status == 400
            assert "validation: " in refused.text or "missing volume definition" in refused.text
            assert refused.text.isprintable()
            assert len(refused.text) < 600


def _refusal(read: Callable[[bytes], object], body: bytes) -> ApiError | None:
    try:
        read(body)
    except ApiError as error:
        return error
    return None
