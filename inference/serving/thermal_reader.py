"""Reads the GPU's margin from the node's exporter once a second and bounds the engine by it: the local guard.

The law is in ``inference.guard``; here are the clock, the HTTP and the translation of a share of work into slots and
duty. It works without the controller, and a reading that does not come never lets the bound rise.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import aiohttp
import msgspec
import numpy as np
import structlog

from inference.engine.ports import ImageEngine, WorkBound
from inference.guard import GuardSettings, bounded_ratio, seen_drift, stale_ratio, within_sustainable

log = structlog.get_logger()
PERIOD_SECONDS = 1.0
ANSWER_SECONDS = 0.8
MAX_ANSWER_BYTES = 1024 * 1024
MAX_READING_AGE_SECONDS = 3.5
"""An older reading says nothing about now."""
MIN_ELAPSED_SECONDS = 0.1
LEAST_RATIO = 0.01
"""Below this share no step is worth its heat."""


class _Gpu(msgspec.Struct, frozen=True):
    """The part of ``meltguard.gpus/v1`` that the guard needs."""

    uuid: str
    gpu: int
    up: bool
    age_seconds: float | None = None
    thermal_margin_celsius: float | None = None
    power_watts: float | None = None
    sustainable_power_watts: float | None = None


class _Document(msgspec.Struct, frozen=True):
    gpus: list[_Gpu]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A fresh reading of one GPU.

    Attributes:
        margin_celsius: Degrees to the first thermal intervention.
        power_watts: Board power.
        sustainable_power_watts: Power whose plateau stays below it; None where that is not known.
    """

    margin_celsius: float
    power_watts: float
    sustainable_power_watts: float | None


class UnusableReadingError(Exception):
    """The exporter's answer holds no fresh reading of the GPU; the message says what is missing."""


def reading_of(body: bytes, gpu: str) -> Reading:
    """Return a GPU's reading out of the exporter's answer.

    Args:
        body: JSON of ``/api/v1/gpus``.
        gpu: UUID or index.

    Returns:
        A fresh reading with margin and power.

    Raises:
        UnusableReadingError: If there is none.
    """
    try:
        document = msgspec.json.decode(body, type=_Document)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnusableReadingError(f"not the exporter's answer: {error}") from error
    found = next((each for each in document.gpus if gpu in {each.uuid, str(each.gpu)}), None)
    if found is None:
        raise UnusableReadingError(f"the exporter knows no GPU {gpu}")
    if not found.up or found.thermal_margin_celsius is None or found.power_watts is None:
        raise UnusableReadingError(f"GPU {gpu} has no margin or power now")
    if found.age_seconds is None or found.age_seconds > MAX_READING_AGE_SECONDS:
        raise UnusableReadingError(f"GPU {gpu}'s reading is {found.age_seconds} s old")
    return Reading(
        margin_celsius=found.thermal_margin_celsius,
        power_watts=found.power_watts,
        sustainable_power_watts=found.sustainable_power_watts,
    )


def work_bound(ratio: float, num_slots: int) -> WorkBound:
    """Return slots and duty for a share of full work.

    Whole slots are given up first; less than one slot is one slot for a part of the time; next to nothing is nothing.

    Args:
        ratio: Share of full work, 0..1.
        num_slots: Slots of the engine; 0 while it starts.

    Returns:
        The bound.
    """
    if ratio < LEAST_RATIO:
        return WorkBound(occupancy_ratio=0.0, duty_ratio=0.0)
    allowed = ratio * num_slots
    if num_slots == 0 or allowed >= 1.0:
        return WorkBound(occupancy_ratio=min(ratio, 1.0), duty_ratio=1.0)
    return WorkBound(occupancy_ratio=1.0 / num_slots, duty_ratio=allowed)


class ThermalReader:
    """The loop."""

    def __init__(self, engine: ImageEngine, url: str, gpu: str, settings: GuardSettings | None = None) -> None:
        """Bound ``engine`` by a GPU's margin.

        Args:
            engine: What is bounded.
            url: ``/api/v1/gpus`` of the node's exporter.
            gpu: UUID or index of the GPU that the engine uses.
            settings: Constants of the guard; None takes the usual ones.
        """
        self._engine, self._url, self._gpu = engine, url, gpu
        self._settings = settings or GuardSettings()
        self.ratio = self._settings.start_ratio
        self._ratio_at_reading = self.ratio
        self._read_at: float | None = None
        self._margin_celsius, self._power_watts = math.nan, math.nan
        self._drift = np.zeros(1)
        self._started_at = time.monotonic()
        self._problem = ""

    @property
    def reading_age_seconds(self) -> float | None:
        """Age of the last usable reading; None before the first."""
        return None if self._read_at is None else time.monotonic() - self._read_at

    async def run(self) -> None:
        """Read and bound until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                started_at = time.monotonic()
                await self.turn(session)
                await asyncio.sleep(max(PERIOD_SECONDS - (time.monotonic() - started_at), 0.0))

    async def turn(self, session: aiohttp.ClientSession) -> None:
        """Read once and set the bound."""
        try:
            reading = await self._read(session)
        except (aiohttp.ClientError, TimeoutError, UnusableReadingError, OSError) as error:
            self._blind(str(error) or type(error).__name__)
        else:
            self._seen(reading)
        self._engine.set_bound(work_bound(self.ratio, self._engine.snapshot().num_slots))

    async def _read(self, session: aiohttp.ClientSession) -> Reading:
        async with session.get(self._url) as answer:
            if answer.status != 200:
                raise UnusableReadingError(f"the exporter answers {answer.status}")
            if (answer.content_length or 0) > MAX_ANSWER_BYTES:
                raise UnusableReadingError(f"the exporter's answer has more than {MAX_ANSWER_BYTES} bytes")
            return reading_of(await answer.read(), self._gpu)

    def _seen(self, reading: Reading) -> None:
        now = time.monotonic()
        elapsed = PERIOD_SECONDS if self._read_at is None else now - self._read_at
        margin, power = np.array([reading.margin_celsius]), np.array([reading.power_watts])
        self._drift = seen_drift(
            self._drift,
            cooled_celsius=margin - self._margin_celsius,
            added_watts=power - self._power_watts,
            elapsed_seconds=max(elapsed, MIN_ELAPSED_SECONDS),
            settings=self._settings,
        )
        sustainable = math.nan if reading.sustainable_power_watts is None else reading.sustainable_power_watts
        bound = bounded_ratio(
            np.array([self.ratio]),
            margin_celsius=margin,
            power_watts=power,
            elapsed_seconds=elapsed,
            drift_celsius_per_second=self._drift,
            settings=self._settings,
        )
        bound = within_sustainable(
            bound,
            margin_celsius=margin,
            sustainable_power_watts=np.array([sustainable]),
            settings=self._settings,
        )
        if self._problem:
            log.info("guard.readings_back", gpu=self._gpu)
            self._problem = ""
        self._margin_celsius, self._power_watts = reading.margin_celsius, reading.power_watts
        self._read_at, self.ratio = now, float(bound[0])
        self._ratio_at_reading = self.ratio

    def _blind(self, problem: str) -> None:
        """Hold the bound, then let it decay; a pod that never saw its GPU is blind from its start."""
        age = time.monotonic() - (self._started_at if self._read_at is None else self._read_at)
        held = stale_ratio(np.array([self._ratio_at_reading]), age_seconds=age, settings=self._settings)
        self.ratio = float(held[0])
        if problem != self._problem:
            log.warning("guard.blind", gpu=self._gpu, problem=problem, bound_ratio=round(self.ratio, 3))
            self._problem = problem
