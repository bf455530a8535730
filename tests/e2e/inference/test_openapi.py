"""The OpenAPI document: complete, and true for requests that are made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from inference.serving.openapi import openapi_document
from tests.inference_server import RunningServer, running_server

OPERATIONS = [(method.upper(), path) for path, item in openapi_document("0")["paths"].items() for method in item]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def test_every_route_stands_in_the_document(server: RunningServer) -> None:
    """What is served and what is documented are the same."""
    served = {
        (route.method, route.resource.canonical)
        for route in server.server._runner.app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    assert served == set(OPERATIONS)
    assert server.get("/openapi.json").json["openapi"] == "3.1.0"


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_as_documented(server: RunningServer, method: str, path: str) -> None:
    """Requests made from the document, valid and not, get documented answers and never a server error."""
    document = json.loads(server.get("/openapi.json").body)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    operation = schema[path][method]

    @hypothesis.settings(
        max_examples=60 if method == "POST" else 5,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        # Refusals by the user's quota are answers, too; a new user each time keeps the others in sight.
        case.headers = {**(case.headers or {}), "X-Meltguard-User": f"user-{hash(str(case.body)) % 10_000}"}
        response = case.call(timeout=20)
        # A prompt or a size of the right shape may still be nothing that the model draws; no schema can say that.
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        assert response.status_code < 500 or path == "/readyz"

    ask()
