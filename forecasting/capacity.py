"""From sign-ups to watts: the one place where demand becomes hardware.

    sign-ups --cohort kernel--> requests --> images --> image tokens --> GPU-seconds --> GPUs --> watts

The forecaster, the command line and the controller call these functions; nobody else multiplies these factors. Pure:
:func:`parse_capacity` takes the text of a ``--capacity`` file, reading the file is ``io``'s work.

The file is YAML or JSON with the fields of :class:`CapacityModel`, for example::

    images_per_request: 1.0
    tokens_per_image: 1056
    tokens_per_second_per_gpu: 2400
    idle_watts_per_gpu: 75
    busy_watts_per_gpu: 620
    utilization_target_ratio: 0.75
    kernel:
      requests_per_signup: 6.3
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import msgspec
import numpy as np
import yaml

from forecasting.errors import InputError
from forecasting.types import DemandForecast, DemandTarget, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortKernel:
    """How many requests one sign-up makes, by its age: a first session, then retention that decays as a power.

    Two regimes, because one power law does not fit: of the use of a recorded image service within two weeks of a
    user's first request, 39 % fell into the first 15 minutes.

    Attributes:
        requests_per_signup: Requests within ``memory_seconds``, activation included, >= 0.
        first_session_ratio: Share of them in the first session, 0..1.
        first_session_seconds: Time constant of the first session, > 0.
        retention_exponent: Decay of later use with age; 0.65 was fitted on daily active users of a social network.
        retention_offset_seconds: Age at which the power law begins to bite, > 0.
        memory_seconds: Age after which a user belongs to the baseline, > 0.
    """

    requests_per_signup: float = 6.3
    first_session_ratio: float = 0.45
    first_session_seconds: float = 600.0
    retention_exponent: float = 0.65
    retention_offset_seconds: float = 3600.0
    memory_seconds: float = 14.0 * 86400.0

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: If a field is out of range; the message names it.
        """
        for name in ("first_session_seconds", "retention_offset_seconds", "memory_seconds"):
            _require(getattr(self, name) > 0.0, f"kernel.{name}", "be positive")
        _require(self.requests_per_signup >= 0.0, "kernel.requests_per_signup", "not be negative")
        _require(0.0 <= self.first_session_ratio <= 1.0, "kernel.first_session_ratio", "lie in 0..1")
        _require(self.retention_exponent >= 0.0, "kernel.retention_exponent", "not be negative")

    def used_ratio(self, age_seconds: FloatArray) -> FloatArray:
        """Return the share of a user's requests that were made up to an age, 0..1, same shape."""
        age = np.clip(age_seconds, 0.0, self.memory_seconds)
        session = -np.expm1(-age / self.first_session_seconds)
        retained = self._power(age) / float(self._power(np.array([self.memory_seconds]))[0])
        share: FloatArray = self.first_session_ratio * session + (1.0 - self.first_session_ratio) * retained
        return share

    def _power(self, age: FloatArray) -> FloatArray:
        ratio = 1.0 + age / self.retention_offset_seconds
        if abs(self.retention_exponent - 1.0) < 1e-9:
            logarithm: FloatArray = np.log(ratio)
            return logarithm
        exponent = 1.0 - self.retention_exponent
        power: FloatArray = (ratio**exponent - 1.0) / exponent
        return power

    def weights(self, *, step_seconds: float, num_steps: int) -> FloatArray:
        """Return the requests that one sign-up makes in each interval, its own interval first.

        Args:
            step_seconds: Length of an interval, > 0.
            num_steps: Intervals, >= 1.

        Returns:
            Requests per sign-up, shape ``(num_steps,)``, >= 0; a sign-up happens in the middle of its interval.
        """
        edges: FloatArray = (np.arange(num_steps + 1, dtype=np.float64) - 0.5) * step_seconds
        per_interval: FloatArray = self.requests_per_signup * np.diff(self.used_ratio(edges))
        return per_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityModel:
    """The factors from requests to watts.

    Attributes:
        images_per_request: Images that one request asks for, > 0.
        tokens_per_image: Autoregressive tokens of one image, > 0.
        tokens_per_second_per_gpu: Tokens that one busy GPU makes in a second, > 0.
        idle_watts_per_gpu: Power of a GPU without work, in watts, >= 0.
        busy_watts_per_gpu: Power of a GPU at full load, in watts, >= the idle power. Measure it: it does not follow
            from the token rate.
        utilization_target_ratio: Share of a GPU's time that is planned to be busy, (0, 1]; the rest absorbs bursts.
        kernel: Requests per sign-up by age.
    """

    tokens_per_image: float
    tokens_per_second_per_gpu: float
    images_per_request: float = 1.0
    idle_watts_per_gpu: float = 75.0
    busy_watts_per_gpu: float = 620.0
    utilization_target_ratio: float = 0.75
    kernel: CohortKernel = field(default_factory=CohortKernel)

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: If a field is out of range; the message names it.
        """
        for name in ("images_per_request", "tokens_per_image", "tokens_per_second_per_gpu"):
            _require(0.0 < getattr(self, name) < math.inf, name, "be positive")
        _require(self.idle_watts_per_gpu >= 0.0, "idle_watts_per_gpu", "not be negative")
        _require(self.busy_watts_per_gpu >= self.idle_watts_per_gpu, "busy_watts_per_gpu", "reach the idle power")
        _require(0.0 < self.utilization_target_ratio <= 1.0, "utilization_target_ratio", "lie in (0, 1]")

    @property
    def gpu_seconds_per_request(self) -> float:
        """Busy time of one GPU that a request costs, in seconds."""
        return self.images_per_request * self.tokens_per_image / self.tokens_per_second_per_gpu

    def requests_from_signups(self, signups: FloatArray, *, step_seconds: float, baseline: float = 0.0) -> FloatArray:
        """Return the requests that cohorts of sign-ups make, on top of a baseline.

        Args:
            signups: Sign-ups per interval, shape ``(num_steps,)``, >= 0; NaN counts as none, so fill gaps first.
            step_seconds: Length of an interval, > 0.
            baseline: Requests per interval of users older than the kernel's memory, >= 0.

        Returns:
            Requests per interval, shape ``(num_steps,)``.
        """
        known = np.nan_to_num(signups)
        weights = self.kernel.weights(step_seconds=step_seconds, num_steps=known.size)
        requests: FloatArray = baseline + np.convolve(known, weights)[: known.size]
        return requests

    def image_tokens(self, requests: FloatArray) -> FloatArray:
        """Return the image tokens that requests ask for, same shape."""
        tokens: FloatArray = np.asarray(requests) * (self.images_per_request * self.tokens_per_image)
        return tokens

    def gpu_seconds(self, requests: FloatArray) -> FloatArray:
        """Return the busy GPU time that requests cost, in seconds, same shape."""
        seconds: FloatArray = np.asarray(requests) * self.gpu_seconds_per_request
        return seconds

    def gpus_needed(self, requests: FloatArray, *, step_seconds: float) -> FloatArray:
        """Return the whole GPUs that serve requests at the planned utilization.

        Args:
            requests: Requests per interval, any shape, >= 0.
            step_seconds: Length of an interval, > 0.

        Returns:
            GPUs, whole numbers, same shape.
        """
        busy = self.gpu_seconds(requests) / (step_seconds * self.utilization_target_ratio)
        # The slack keeps 3.0000000000000004 GPUs at three.
        gpus: FloatArray = np.ceil(busy - 1e-9)
        return np.maximum(gpus, 0.0)

    def power_watts(self, requests: FloatArray, *, num_gpus: FloatArray, step_seconds: float) -> FloatArray:
        """Return the power that a pool draws under requests; what exceeds its capacity adds none.

        Args:
            requests: Requests per interval, >= 0.
            num_gpus: GPUs that serve, same shape or scalar, >= 0.
            step_seconds: Length of an interval, > 0.

        Returns:
            Watts of the whole pool, same shape.
        """
        gpus = np.asarray(num_gpus, dtype=np.float64)
        busy = np.minimum(self.gpu_seconds(requests) / step_seconds, gpus)
        watts: FloatArray = gpus * self.idle_watts_per_gpu + busy * (self.busy_watts_per_gpu - self.idle_watts_per_gpu)
        return watts

    def reasons(self) -> tuple[str, ...]:
        """Return every factor of the chain in words, for the ``reasons`` of a forecast."""
        return (
            f"{self.images_per_request:g} images per request x {self.tokens_per_image:g} tokens per image"
            f" / {self.tokens_per_second_per_gpu:g} tokens per second per GPU"
            f" = {self.gpu_seconds_per_request:.4g} GPU-seconds per request",
            f"GPUs are planned {self.utilization_target_ratio:.0%} busy",
        )


def with_gpus(forecast: DemandForecast, model: CapacityModel) -> DemandForecast:
    """Add the GPUs that a forecast of requests needs.

    Args:
        forecast: The forecast.
        model: The factors from requests to GPUs.

    Returns:
        The forecast with ``gpus_needed`` and the factors in ``reasons``; a forecast of sign-ups gets a warning instead,
        because its requests also come from users that it does not know.
    """
    if forecast.target is not DemandTarget.REQUESTS:
        warning = "gpus_needed is left out: it needs requests, and the target is sign-ups"
        return replace(forecast, warnings=(*forecast.warnings, warning))
    gpus = model.gpus_needed(forecast.quantiles, step_seconds=forecast.step_seconds)
    return replace(forecast, gpus_needed=gpus, reasons=(*forecast.reasons, *model.reasons()))


def parse_capacity(text: str, *, source: str) -> CapacityModel:
    """Read the text of a capacity file.

    Args:
        text: YAML or JSON with the fields of :class:`CapacityModel`.
        source: What to call the text in messages, usually the file's path.

    Returns:
        The model.

    Raises:
        InputError: If the text is not YAML, a field is unknown, missing or out of range.
    """
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise InputError(f"{source}:{line}: this is not YAML or JSON; write 'field: number' lines") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{source}:1: expected fields such as 'tokens_per_image: 1056'")
    _refuse_unknown(loaded, CapacityModel, prefix="", source=source)
    kernel = loaded.get("kernel")
    if isinstance(kernel, dict):
        _refuse_unknown(kernel, CohortKernel, prefix="kernel.", source=source)
    try:
        return msgspec.convert(loaded, CapacityModel)
    except (msgspec.ValidationError, ValueError) as error:
        raise InputError(f"{source}: {error}; see the documentation of the capacity file") from error


def _refuse_unknown(loaded: dict[object, object], model: type, *, prefix: str, source: str) -> None:
    known = sorted(item.name for item in fields(model))
    for name in loaded:
        if name not in known:
            raise InputError(f"{source}: unknown field '{prefix}{name}'; known are {', '.join(known)}")


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} must {rule}")
