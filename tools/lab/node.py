"""One node of the lab: its GPUs, its exporter, its inference server, and how work there becomes heat."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forecasting.thermal import ThermalSettings
from forecasting.thermal.priors import GainRecord
from forecasting.thermal.state import StoredGpu, ThermalState, encode_state
from tools.lab.settings import REGION, LabSettings
from tools.real_parts.nvml_stub import StubHardware, StubState, read_hardware, uuid_of
from tools.real_parts.processes import LOOPBACK, ChildProcess, answers_http, free_port

TOKENS_METRIC = "meltguard_inference_tokens_total"
GUARD_METRIC = "meltguard_inference_thermal_guard_ratio"
HTTP_SECONDS = 2.0
NUM_SLOTS = 8
POWER_LIMIT_WATTS = 700.0
"""Of the stub's GPUs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Where a node's processes find the others.

    Attributes:
        library: The NVML stub.
        redis_url: Store of quotas.
        sync_address: Where the operator streams flags.
    """

    library: Path
    redis_url: str
    sync_address: str


@dataclass(kw_only=True, slots=True)
class _Work:
    """Tokens that an inference process had made when it was last asked, and when that was."""

    tokens: float = 0.0
    at_seconds: float = 0.0


@dataclass(kw_only=True, slots=True)
class LabNode:
    """A node.

    Attributes:
        name: Its name.
        exporter: Its exporter.
        server: Its inference server.
        exporter_address: ``host:port``.
        server_address: ``host:port``.
        stub: What drives its GPUs.
        settings: Of the lab.
        load_ratio: Share of its speed that was at work lately, 0..1.
        guard_ratio: Share of full work that the pod's own guard allows; 1 while it does not say.
    """

    name: str
    exporter: ChildProcess
    server: ChildProcess
    exporter_address: str
    server_address: str
    stub: StubState
    settings: LabSettings
    load_ratio: float = 0.0
    guard_ratio: float = 1.0
    _work: _Work = field(default_factory=_Work)

    def is_ready(self) -> bool:
        """Return whether both processes answer."""
        return answers_http(f"http://{self.server_address}/readyz") and answers_http(
            f"http://{self.exporter_address}/healthz"
        )

    def hardware(self) -> tuple[StubHardware, ...]:
        """Return its GPUs as they are."""
        return read_hardware(self.stub.path, self.settings.gpus_per_node)

    def warm(self) -> None:
        """Let the GPUs draw the power of the work that the inference process did since the last call."""
        (tokens, guard), now = self._sample(TOKENS_METRIC, GUARD_METRIC), time.monotonic()
        self.guard_ratio = 1.0 if guard is None else guard
        before = self._work
        if tokens is None or tokens < before.tokens:
            # A process that is gone does no work; one that is new begins to count anew.
            self._work = _Work(tokens=tokens or 0.0, at_seconds=now)
            self.load_ratio = 0.0
        elif now - before.at_seconds > 0.1:
            speed = (tokens - before.tokens) / (now - before.at_seconds)
            self.load_ratio = min(speed / self.settings.node_tokens_per_second, 1.0)
            self._work = _Work(tokens=tokens, at_seconds=now)
        self.set_power()

    def set_power(self) -> None:
        """Tell the stub how much power the present load draws."""
        settings = self.settings
        watts = settings.idle_watts + self.load_ratio * (settings.busy_watts - settings.idle_watts)
        values: dict[str, object] = {"count": settings.gpus_per_node}
        for index in range(settings.gpus_per_node):
            prefix = f"gpu__{index}__"
            values |= {
                f"{prefix}power_watts": f"{watts:.1f}",
                f"{prefix}utilization": round(100 * self.load_ratio),
                f"{prefix}ambient_celsius": settings.ambient_celsius,
                f"{prefix}celsius_per_watt": settings.celsius_per_watt,
                f"{prefix}time_constant_seconds": settings.time_constant_seconds,
            }
        self.stub.set(**values)

    def _sample(self, *names: str) -> tuple[float | None, ...]:
        """Return some metrics of the inference process, each summed over its series; None for what it does not show."""
        try:
            with urllib.request.urlopen(f"http://{self.server_address}/metrics", timeout=HTTP_SECONDS) as answer:
                rows = [line.split() for line in answer.read().decode().splitlines()]
        except (urllib.error.URLError, OSError):
            return (None,) * len(names)
        return tuple(
            sum(float(row[1]) for row in rows if len(row) > 1 and row[0].partition("{")[0] == name) for name in names
        )


def make_node(name: str, directory: Path, settings: LabSettings, neighbours: Neighbours) -> LabNode:
    """Return a node whose processes do not run yet.

    Args:
        name: Its name.
        directory: Where its files and logs go.
        settings: Of the lab.
        neighbours: Where the others are.

    Returns:
        The node, with its GPUs idle.
    """
    exporter_address, server_address = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
    stub = StubState(directory / f"{name}.gpus")
    meltguard = [sys.executable, "-m", "controller"]
    exporter = [*meltguard, "exporter", f"--listen={exporter_address}", f"--nvml-library={neighbours.library}"]
    learned = directory / f"{name}.thermal.json"
    learned.write_bytes(encode_state(thermal_state(name, settings, saved_at_seconds=time.time())))
    exporter += [f"--node={name}", "--dcgm-names=none", f"--thermal-state={learned}"]
    server = [*meltguard, "serve", f"--listen={server_address}", f"--region={REGION}", f"--slots={NUM_SLOTS}"]
    server += [f"--model=test-pattern:{settings.node_tokens_per_second}", f"--redis={neighbours.redis_url}"]
    server += [f"--flags=grpc://{neighbours.sync_address}", "--grace=5s", "--max-wait=20s"]
    if settings.with_meltguard:
        # The pod's own guard is part of meltguard, as in our manifests: it holds while the control plane is away.
        server += [f"--exporter=http://{exporter_address}/api/v1/gpus", "--gpu=0"]
    node = LabNode(
        name=name,
        exporter=ChildProcess(
            f"exporter-{name}", exporter, directory, environment={"MELTGUARD_STUB_STATE": str(stub.path)}
        ),
        server=ChildProcess(f"serve-{name}", server, directory),
        exporter_address=exporter_address,
        server_address=server_address,
        stub=stub,
        settings=settings,
    )
    node.set_power()
    return node


def thermal_state(name: str, settings: LabSettings, *, saved_at_seconds: float) -> ThermalState:
    """Return what a node's thermal model knows of its GPUs, as one that has run for a day would have learned it.

    A model that is minutes old takes its own learning for a room that warms up, and limits would not be lifted.

    Args:
        name: The node.
        settings: Of the lab; the stub is one stage, which the model's bank has at the nearest time constant.
        saved_at_seconds: Unix time.

    Returns:
        The state, to be read by the node's exporter.
    """
    constants = ThermalSettings().time_constants_seconds
    gains = np.zeros(len(constants))
    gains[int(np.argmin(np.abs(np.asarray(constants) - settings.time_constant_seconds)))] = (
        settings.celsius_per_watt * POWER_LIMIT_WATTS
    )
    gpus = tuple(
        StoredGpu(
            record=GainRecord(
                uuid=uuid_of(index),
                slot=f"00000000:{index + 1:02X}:00.0",
                gpu_model="NVIDIA H200",
                node=name,
                plateau_gains_celsius=gains,
            ),
            power_limit_watts=POWER_LIMIT_WATTS,
        )
        for index in range(settings.gpus_per_node)
    )
    return ThermalState(saved_at_seconds=saved_at_seconds, time_constants_seconds=constants, gpus=gpus)
