"""Requests made up from the OpenAPI document: no 5xx, and every answer as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from toy import Running, ToyPolicy, running, toy_served

from kinema.serve.app import make_app
from laws import examples

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

OPERATIONS = (
    ("POST", "/v1/act"),
    ("GET", "/v1/robots"),
    ("GET", "/v1/models"),
    ("GET", "/v1/usage"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/console/data"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(make_app(toy_served(ToyPolicy()))) as found:
        yield found


@pytest.fixture(scope="module")
def document(server: Running) -> Any:
    return schemathesis.openapi.from_url(server.http + "/openapi.json")


def test_no_operation_is_forgotten(document: Any) -> None:
    found = {(each.ok().method.upper(), each.ok().path) for each in document.get_all_operations()}
    assert found == set(OPERATIONS)


CASES = [
    *(("positive", *operation) for operation in OPERATIONS),
    *(("negative", *operation) for operation in OPERATIONS if operation[1] in ("/v1/act", "/v1/usage")),
]  # the others take nothing that could be wrong


@pytest.mark.parametrize(("mode", "method", "path"), CASES, ids=[f"{path}-{mode}" for mode, _, path in CASES])
def test_no_request_breaks_the_server(document: Any, mode: str, method: str, path: str) -> None:
    operation = document[path][method]
    generation = schemathesis.GenerationMode(mode)

    @given(data=st.data())
    @examples(20 if path == "/v1/act" else 10, suppress_health_check=list(HealthCheck))
    def hold(data: Any) -> None:
        case = data.draw(operation.as_strategy(generation_mode=generation))
        response = case.call()
        assert response.status_code < 500
        # A document cannot say which cameras and how many numbers a card wants: valid JSON may be refused.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])

    hold()
