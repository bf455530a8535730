"""The exporter on the driver stub, for tests that look at it through Prometheus."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporter_process import ExporterProcess, running_exporter
from tests.nvml_stub.stub import StubState, build_stub


@pytest.fixture(scope="module")
def stub_state(tmp_path_factory: pytest.TempPathFactory) -> StubState:
    """Eight healthy GPUs."""
    state = StubState(tmp_path_factory.mktemp("stub") / "stub.state")
    state.set(count=8)
    return state


@pytest.fixture(scope="module")
def stub_exporter(stub_state: StubState, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExporterProcess]:
    """A real exporter on the stub, one for the module."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed; install it to build the NVML stub")
    directory: Path = tmp_path_factory.mktemp("exporter")
    library = build_stub(directory)
    environment = {"MELTGUARD_STUB_STATE": str(stub_state.path), "NODE_NAME": "node-1"}
    with running_exporter(
        "--nvml-library", str(library), "--period", "200ms", directory=directory, environment=environment
    ) as exporter:
        yield exporter
