"""Prometheus's and Alertmanager's command-line tools for the tests of rules and routes."""

from __future__ import annotations

import os

import pytest

from tools.real_parts.processes import MissingPartError, find_program


def _tool(name: str) -> str:
    try:
        return find_program(name)
    except MissingPartError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool; PROMTOOL names another one."""
    return os.environ.get("PROMTOOL") or _tool("promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    """The path of amtool."""
    return _tool("amtool")
