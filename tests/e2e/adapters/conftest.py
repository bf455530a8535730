"""A connection to the real API for the adapters, and a namespace of one's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.kubernetes_transport import DirectApi


@pytest.fixture
def api(control_plane) -> Iterator[DirectApi]:
    """The API server, spoken to directly."""
    direct = DirectApi(control_plane.url, control_plane.credentials)
    yield direct
    direct.close()


@pytest.fixture
def namespace(api: DirectApi) -> str:
    """A namespace that no other test uses."""
    name = f"adapters-{secrets.token_hex(4)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    assert api.call("POST", "/api/v1/namespaces", body=body).ok
    return name
