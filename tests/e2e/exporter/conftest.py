"""The stub library and its state file for tests that run a whole exporter."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.exporter_process import ExporterProcess, running_exporter
from tests.nvml_stub.stub import NEWEST_DRIVER, StubState, build_stub


@pytest.fixture(scope="session")
def stub_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stub libraries are built, once per run and driver version."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed; install it to build the NVML stub")
    return tmp_path_factory.mktemp("nvml")


@pytest.fixture
def hardware(tmp_path: Path) -> StubState:
    """Eight healthy GPUs."""
    state = StubState(tmp_path / "stub.state")
    state.set(count=8)
    return state


@pytest.fixture
def start(hardware: StubState, stub_directory: Path, tmp_path: Path) -> Iterator[Callable[..., ExporterProcess]]:
    """Starts an exporter on the stub; ends it with the test."""
    with ExitStack() as stack:

        def _start(*arguments: str, driver_major: int = NEWEST_DRIVER) -> ExporterProcess:
            library = build_stub(stub_directory, driver_major)
            return stack.enter_context(
                running_exporter(
                    "--nvml-library",
                    str(library),
                    *arguments,
                    directory=tmp_path,
                    environment={"MELTGUARD_STUB_STATE": str(hardware.path)},
                )
            )

        yield _start
