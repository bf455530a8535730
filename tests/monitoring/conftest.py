"""Prometheus's and Alertmanager's command-line tools for the tests of rules and routes."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tools.real_parts.processes import MissingPartError, find_newer_program, find_program


def _tool(find: Callable[[str], str], name: str) -> str:
    try:
        return find(name)
    except MissingPartError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool; PROMTOOL names another one."""
    return os.environ.get("PROMTOOL") or _tool(find_program, "promtool")


@pytest.fixture(scope="session")
def newer_promtool() -> str:
    """The path of promtool 3."""
    return _tool(find_newer_program, "promtool")


@pytest.fixture(scope="session", params=["prometheus 2", "prometheus 3"])
def each_promtool(request: pytest.FixtureRequest) -> str:
    """The path of promtool as Debian has it, and of a current one: rules have to hold on both."""
    program: str = request.getfixturevalue("newer_promtool" if request.param == "prometheus 3" else "promtool")
    return program


@pytest.fixture(scope="session")
def amtool() -> str:
    """The path of amtool."""
    return _tool(find_program, "amtool")
