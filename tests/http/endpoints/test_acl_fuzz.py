"""With access control on: whatever is sent gets a documented answer, and no made-up token gets in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.http.conftest import SETTINGS
from tests.http.server.test_fuzz import Served, not_a_server_error_but_501, serving
from volstore.http.server.openapi import document
from volstore.http.server.router import API

ACCESS = tuple(route for route in API if route.path.startswith(("/v1/acl/", "/v1/namespace")))
OWN = schemathesis.openapi.from_dict(document(ACCESS, "0"))
OWN.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])

CHECKS = [not_a_server_error_but_501, status_code_conformance, content_type_conformance, response_schema_conformance]
FEW = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def management() -> Iterator[tuple[Served, str]]:
    """The server and its management token."""
    with serving(replace(SETTINGS, acl_enabled=True)) as found:
        secret = requests.post(f"{found.url}/v1/acl/bootstrap", timeout=10).json()["SecretID"]
        yield found, secret


@OWN.exclude(method="POST").parametrize()  # PUT does the same
@settings(FEW, max_examples=8)
def test_management_gets_a_documented_answer_to_any_request(case: Any, management: tuple[Served, str]) -> None:
    served, secret = management
    if "index" in (case.query or {}):
        case.query["wait"] = "1ms"
    case.call_and_validate(base_url=served.url, timeout=10, checks=CHECKS, headers={"X-Nomad-Token": secret})


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode(errors="surrogateescape")),
    st.sampled_from(("X-Nomad-Token", "Authorization")),
)
@settings(FEW, max_examples=100)
def test_no_token_that_is_made_up_gets_in(management: tuple[Served, str], token: bytes, header: str) -> None:
    served, _ = management
    value = token.translate(None, b"\r\n\0").strip()
    shown = b"Bearer " + value if header == "Authorization" else value
    response = requests.get(f"{served.url}/v1/acl/tokens", headers={header: shown}, timeout=10)
    assert response.status_code in (400, 403)
    assert "AccessorID" not in response.text
