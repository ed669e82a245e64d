"""An Idempotency-Key makes a repeated write happen once, and stands for one request only."""

from __future__ import annotations

import pytest

from tests.http.conftest import Api, volume

PATH = "/v1/volume/csi/v"
KEY = {"Idempotency-Key": "one"}


async def test_a_repeated_write_has_the_first_outcome(api: Api) -> None:
    await api.report_node()
    body = {"Volumes": [volume("v")]}
    first = await api.do("PUT", PATH, json=body, headers=KEY)
    await api.register("v", Context={"changed": "yes"})
    again = await api.do("PUT", PATH, json=body, headers=KEY)
    assert first[0] == again[0] == 200
    assert first[1]["X-Nomad-Index"] == again[1]["X-Nomad-Index"] == "3"
    assert again[2]["Volumes"][0]["Context"] == {"changed": "yes"}
    deleted = await api.do("DELETE", PATH, headers={"Idempotency-Key": "two"})
    repeated = await api.do("DELETE", PATH, headers={"Idempotency-Key": "two"})
    assert deleted[1]["X-Nomad-Index"] == repeated[1]["X-Nomad-Index"]
    assert (await api.do("DELETE", PATH))[0] == 404


async def test_a_refusal_is_repeated_too(api: Api) -> None:
    refused = await api.do("PUT", PATH, json={"Volumes": [volume("v")]}, headers=KEY)
    await api.report_node()
    again = await api.do("PUT", PATH, json={"Volumes": [volume("v")]}, headers=KEY)
    assert refused[::2] == again[::2] == (400, "no CSI plugin named: plugin-id1 could be found")


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [("POST", PATH, "v"), ("PUT", f"{PATH}?namespace=default", "v"), ("PUT", PATH, "other"), ("PUT", PATH + "2", "v")],
)
async def test_the_same_key_for_another_request_is_409(api: Api, method: str, path: str, name: str) -> None:
    await api.report_node()
    body = {"Volumes": [volume("v"), volume("w")]}
    assert (await api.do("PUT", PATH, json=body, headers=KEY))[0] == 200
    other = {"Volumes": [volume("v", Name=name), volume("w")]}
    status, _, text = await api.do(method, path, json=other, headers=KEY)
    assert (status, "was used for another request" in text) == (409, True)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ö" * 128])
async def test_a_bad_key_is_refused_and_nothing_is_done(api: Api, key: str) -> None:
    await api.report_node()
    status, _, text = await api.do("PUT", PATH, json={"Volumes": [volume("v")]}, headers={"Idempotency-Key": key})
    assert (status, "Idempotency-Key" in text) == (400, True)
    assert api.registry.state.volume_count() == 0


async def test_two_keys_are_refused(api: Api) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    assert (await api.do("DELETE", PATH, headers=headers))[0] == 400
    assert api.registry.state.index == 1
