"""Reads telemetry from Prometheus (or Thanos, Mimir, VictoriaMetrics) by range queries over HTTP.

Called by the command line. Every request has a timeout, a bounded number of tries and a bounded answer.
"""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

import numpy as np

from forecasting.errors import ForecastingError, InputError, NotEnoughDataError
from forecasting.thermal.telemetry import GpuTelemetry, TelemetryLog

GPU_LABELS = ("uuid", "UUID", "gpu", "device", "instance")
"""Labels that name a GPU, best first: ours, then dcgm-exporter's."""

MAXIMUM_POINTS = 10_000
"""Points per series and request; Prometheus itself refuses more than 11,000."""

MAXIMUM_REQUESTS = 64
"""Requests per query, so that a long look-back at a fine step ends."""

MAXIMUM_ANSWER_BYTES = 256 * 1024 * 1024
"""A larger answer is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSource:
    """Where telemetry is queried and how patiently.

    Attributes:
        url: Base URL, ``http://`` or ``https://``.
        temperature_query: PromQL of the core temperature, celsius, one series per GPU.
        power_query: PromQL of the power, watts.
        memory_query: PromQL of the memory temperature, celsius; empty: not asked.
        utilization_query: PromQL of the utilisation, 0..1; empty: not asked.
        margin_query: PromQL of the degrees left to the first thermal intervention; empty: not asked.
        throttled_query: PromQL that is 1 while clocks are held down for heat; empty: not asked.
        power_limit_query: PromQL of the enforced power limit, watts; empty: not asked.
        step_seconds: Distance between points.
        timeout_seconds: Of one request.
        num_tries: Tries per request.
        retry_seconds: Pause before the second try; doubles.
    """

    url: str
    temperature_query: str = "meltguard_gpu_temperature_celsius"
    power_query: str = "meltguard_gpu_power_watts"
    memory_query: str = "meltguard_gpu_memory_temperature_celsius"
    utilization_query: str = "meltguard_gpu_utilization_ratio"
    margin_query: str = "meltguard_gpu_thermal_margin_celsius"
    throttled_query: str = f"max by ({', '.join(GPU_LABELS)}) (meltguard_gpu_throttled{{reason=~'[sh]w_thermal'}})"
    power_limit_query: str = "meltguard_gpu_power_limit_watts"
    step_seconds: float = 15.0
    timeout_seconds: float = 30.0
    num_tries: int = 3
    retry_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a URL that is not HTTP.

        Raises:
            InputError: With the cure.
        """
        if urllib.parse.urlsplit(self.url).scheme not in {"http", "https"}:
            raise InputError(f"--prometheus: {self.url!r} is not an http or https URL")


def read_prometheus(source: PrometheusSource, *, start_seconds: float, end_seconds: float) -> TelemetryLog:
    """Read one series per GPU.

    Args:
        source: Where and what.
        start_seconds: Unix time of the first point.
        end_seconds: Unix time of the last point.

    Returns:
        The log; GPUs that lack power have NaN there.

    Raises:
        ForecastingError: If the server does not answer; says what to check.
        NotEnoughDataError: If no series came back.
    """
    span = (start_seconds, end_seconds)
    temperature = _series(source, source.temperature_query, span)
    if not temperature:
        raise NotEnoughDataError(
            f"{source.url}: no series for {source.temperature_query!r}; check the query and the time range"
        )
    others = {
        name: _series(source, query, span) if query else {}
        for name, query in (
            ("power", source.power_query),
            ("memory", source.memory_query),
            ("utilization", source.utilization_query),
            ("margin", source.margin_query),
            ("throttled", source.throttled_query),
            ("power_limit", source.power_limit_query),
        )
    }
    gpus = tuple(
        _telemetry(gpu, points, {name: found.get(gpu, {}) for name, found in others.items()})
        for gpu, points in sorted(temperature.items())
    )
    return TelemetryLog(source=source.url, gpus=gpus)


def _telemetry(gpu: str, points: dict[float, float], others: dict[str, dict[float, float]]) -> GpuTelemetry:
    """Return one GPU's points joined on time."""
    seconds = np.array(sorted(points))

    def aligned(values: dict[float, float]) -> np.typing.NDArray[np.float64]:
        return np.array([values.get(float(moment), math.nan) for moment in seconds])

    limits = [watts for _, watts in sorted(others["power_limit"].items()) if watts > 0.0]
    return GpuTelemetry(
        gpu=gpu,
        seconds=seconds,
        temperature_celsius=aligned(points),
        power_watts=aligned(others["power"]),
        utilization_ratio=aligned(others["utilization"]),
        memory_temperature_celsius=aligned(others["memory"]),
        throttled=aligned(others["throttled"]),
        power_limit_watts=limits[-1] if limits else None,
        margin_celsius=aligned(others["margin"]) if others["margin"] else None,
    )


def _series(source: PrometheusSource, query: str, span: tuple[float, float]) -> dict[str, dict[float, float]]:
    """Return the points of each GPU, asking for as many stretches as the server's limit needs."""
    window = source.step_seconds * (MAXIMUM_POINTS - 1)
    num_requests = max(1, math.ceil((span[1] - span[0]) / window))
    if num_requests > MAXIMUM_REQUESTS:
        raise InputError("--lookback: too long for this --step; choose a coarser step")
    found: dict[str, dict[float, float]] = {}
    for index in range(num_requests):
        start = span[0] + index * window
        parameters = {
            "query": query,
            "start": f"{start:.3f}",
            "end": f"{min(start + window, span[1]):.3f}",
            "step": f"{source.step_seconds:g}",
        }
        for labels, values in _results(_ask(source, parameters), source.url):
            gpu = next((labels[name] for name in GPU_LABELS if labels.get(name)), "0")
            found.setdefault(gpu, {}).update(values)
    return found


def _results(answer: object, url: str) -> list[tuple[dict[str, str], dict[float, float]]]:
    """Return labels and finite points of each series of a range query's answer."""
    try:
        if not isinstance(answer, dict) or answer["status"] != "success" or answer["data"]["resultType"] != "matrix":
            raise KeyError("status")
        return [
            (
                dict(series["metric"]),
                {float(moment): float(text) for moment, text in series["values"] if math.isfinite(float(text))},
            )
            for series in answer["data"]["result"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ForecastingError(f"{url}: not the answer of a Prometheus range query; check the URL") from error


def _ask(source: PrometheusSource, parameters: dict[str, str]) -> object:
    """Return the decoded answer of one range query; tries again when the server is busy or away."""
    target = f"{source.url.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
    problem = "no answer"
    for attempt in range(source.num_tries):
        if attempt:
            time.sleep(source.retry_seconds * 2.0 ** (attempt - 1))
        try:
            with urllib.request.urlopen(target, timeout=source.timeout_seconds) as response:
                content = response.read(MAXIMUM_ANSWER_BYTES + 1)
            if len(content) > MAXIMUM_ANSWER_BYTES:
                raise ForecastingError(f"{source.url}: answer too large; choose a coarser step or a narrower query")
            answer: object = json.loads(content)
            return answer
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
            error.close()
            if error.code < 500 and error.code != 429:
                break
        except (urllib.error.URLError, OSError, ValueError) as error:
            problem = str(error)
    raise ForecastingError(f"{source.url}: query failed ({problem}); check the URL, the query and the server")
