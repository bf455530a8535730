"""What a scrape and the JSON look like is a contract; the golden files hold it byte for byte.

Run with MELTGUARD_UPDATE_GOLDEN=1 to write them anew; the difference is then up for review.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from exporters.api import gpus_document
from exporters.dcgm import LEGACY, dcgm_samples
from exporters.exposition import Page, Renderer
from exporters.messages import XidEvent
from exporters.samples import age_samples, gpu_samples, reading_times
from exporters.thermals import ThermalEstimate, thermal_samples
from tests.exporter_samples import UUID, fleet_of

HERE = Path(__file__).parent
ESTIMATE = ThermalEstimate(
    resistance=0.0571,
    drift_ratio=0.03,
    inlet_celsius=27.5,
    sustainable_power_watts=655.0,
    seconds_to_slowdown={"0.05": 240.0, "0.5": None, "0.95": None},
    confidence="fitted",
)


def _check(name: str, actual: str) -> None:
    path = HERE / name
    if os.environ.get("MELTGUARD_UPDATE_GOLDEN") == "1":
        path.write_text(actual)
    assert actual == path.read_text()


def test_own_names() -> None:
    """Our families, their types, labels and units stay as they are."""
    fleet = fleet_of(1)
    fleet.apply(XidEvent(uuid=UUID, xid=79, at_unix=1_750_000_101.0))
    samples = [*gpu_samples(fleet.gpus[UUID], "node-1", "580.95.05", 101.5, 5.0)]
    samples += thermal_samples(fleet, {UUID: ESTIMATE}, {UUID: (UUID, "0", "node-1")})
    renderer = Renderer()
    tail = renderer.blocks(age_samples(fleet, reading_times(fleet), "node-1", 101.5, 5.0))
    _check("own_names.prom", Page(renderer.blocks(samples)).plain(tail, openmetrics=False).decode())


@pytest.mark.parametrize("pods", [{}, {UUID: ("server", "models", "image-7d9")}], ids=["free", "allocated"])
def test_dcgm_legacy_names(pods: dict[str, tuple[str, str, str]]) -> None:
    """Names, types, units and label order of dcgm-exporter up to 4.8.2 stay as they were."""
    gpu = fleet_of(1).gpus[UUID]
    page = Page(Renderer().blocks(dcgm_samples(gpu, "node-1", "580.95.05", pods.get(UUID))))
    _check(f"dcgm_legacy_{'allocated' if pods else 'free'}.prom", page.plain((), openmetrics=False).decode())


def test_dcgm_legacy_units() -> None:
    """MHz, mJ, percent and MiB, not base units."""
    gpu = fleet_of(1).gpus[UUID]
    values = {sample.family.name: sample.value for sample in dcgm_samples(gpu, "n", "580.95.05", None)}
    assert values["DCGM_FI_DEV_SM_CLOCK"] == 1980
    assert values["DCGM_FI_DEV_MEM_CLOCK"] == 3201
    assert values["DCGM_FI_DEV_GPU_UTIL"] == 97
    assert values["DCGM_FI_DEV_FB_USED"] == 40000
    assert values["DCGM_FI_DEV_FB_FREE"] == 143771 - 40000 - 600
    assert values["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == 1_627_400
    assert values["DCGM_FI_DEV_POWER_USAGE"] == 627.4
    assert values["DCGM_FI_DEV_SLOWDOWN_TEMP"] == 89
    assert values["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"] == 0.4


def test_dcgm_defaults_are_complete() -> None:
    """Every family that dcgm-exporter 4.8.2 ships enabled is here, but for the vGPU licence."""
    shipped = (
        "SM_CLOCK MEM_CLOCK MEMORY_TEMP GPU_TEMP POWER_USAGE TOTAL_ENERGY_CONSUMPTION PCIE_REPLAY_COUNTER GPU_UTIL "
        "MEM_COPY_UTIL ENC_UTIL DEC_UTIL XID_ERRORS FB_FREE FB_USED FB_RESERVED NVLINK_BANDWIDTH_TOTAL "
        "UNCORRECTABLE_REMAPPED_ROWS CORRECTABLE_REMAPPED_ROWS ROW_REMAP_FAILURE"
    )
    profiling = ["GR_ENGINE_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE", "PCIE_TX_BYTES", "PCIE_RX_BYTES"]
    names = {field.name for field in LEGACY}
    assert {f"DCGM_FI_DEV_{name}" for name in shipped.split(" ")} <= names
    assert {f"DCGM_FI_PROF_{name}" for name in profiling} <= names


def test_gpus_json() -> None:
    """The document that the local guard reads stays as it is."""
    fleet = fleet_of(2)
    second = list(fleet.gpus)[1]
    fleet.gpus[second].apply_down("lost")
    body = gpus_document(fleet, {UUID: ESTIMATE}, node="node-1", period_seconds=1.0, now_monotonic=101.5)
    _check("gpus.json", json.dumps(json.loads(body), indent=2) + "\n")
