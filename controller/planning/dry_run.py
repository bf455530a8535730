"""Reads what a dry run decides on: a policy, a snapshot and forecasts, as people and other commands write them.

Pure: text in, values out; ``meltguard plan`` reads the files. Unknown fields are refused with their path, since a
misspelt bound would be no bound.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import yaml
from msgspec import Meta

from controller.errors import UsageError
from controller.planning.documents import UnreadableDocumentError, encode_document, read_document
from controller.planning.ladder import default_ladder
from controller.types import FleetSnapshot, ForecastSet, Policy
from forecasting.types import (
    Calibration,
    DemandForecast,
    DemandTarget,
    ModelInfo,
    SeriesKey,
    SurgePhase,
    SurgeState,
)

Value = TypeVar("Value")
Time = Annotated[datetime, Meta(tz=True)]

FORECAST_SCHEMA = "meltguard.forecast/v1"
MAX_FORECASTS = 10_000
"""Most forecasts of one file; 20 regions of three tiers need 60."""


class _Surge(msgspec.Struct, frozen=True, kw_only=True):
    """The surge trigger's verdict."""

    state: SurgePhase
    probability: float
    since: Time | None
    growth_per_hour: float
    doubling_seconds: float | None


class _Point(msgspec.Struct, frozen=True, kw_only=True):
    """One predicted interval."""

    mean: float
    quantiles: dict[str, float]


class _Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``meltguard forecast --output json``, as far as a decision needs it."""

    schema: str
    issued_at: Time
    target: DemandTarget
    step_seconds: Annotated[float, Meta(gt=0)]
    series: SeriesKey
    surge: _Surge
    points: Annotated[tuple[_Point, ...], Meta(min_length=1)]
    model: ModelInfo
    calibration: Calibration


def parse_policy(text: str, *, place: str) -> Policy:
    """Read a policy.

    Args:
        text: YAML or JSON with the fields of :class:`~controller.types.Policy`; a missing ladder is the default one.
        place: What to call it in errors.

    Returns:
        The policy.

    Raises:
        UsageError: If it is none; names the place, the field and the cure.
    """
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{place}{line}: not valid YAML; compare with `meltguard plan --example policy`") from error
    if not isinstance(document, dict):
        raise UsageError(f"{place}: a policy is a mapping of fields; see `meltguard plan --example policy`")
    if document.get("ladder") is None:
        targets = [pool.get("margin_target_celsius") for pool in document.get("pools") or () if isinstance(pool, dict)]
        known = [float(target) for target in targets if isinstance(target, int | float)]
        ladder = default_ladder(max(known, default=0.0))
        document = {**document, "ladder": json.loads(encode_document(ladder))}
    return _read(json.dumps(document, default=str).encode(), Policy, place=place)


def parse_snapshot(data: bytes, *, place: str) -> FleetSnapshot:
    """Read a snapshot.

    Args:
        data: JSON with the fields of :class:`~controller.types.FleetSnapshot`.
        place: What to call it in errors.

    Returns:
        The snapshot.

    Raises:
        UsageError: If it is none; names the place, the field and the cure.
    """
    return _read(data, FleetSnapshot, place=place)


def parse_forecasts(data: bytes, *, place: str) -> ForecastSet:
    """Read what ``meltguard forecast --output json`` printed: one forecast a line.

    Args:
        data: The lines; empty ones are passed over.
        place: What to call it in errors.

    Returns:
        The forecasts: of requests for regions and tiers, of sign-ups for the word of a surge.

    Raises:
        UsageError: If a line is none; names it.
    """
    found: list[DemandForecast] = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{place}:{number}"
        if len(found) >= MAX_FORECASTS:
            raise UsageError(f"{where}: more than {MAX_FORECASTS} forecasts; give those of one decision")
        try:
            document = msgspec.json.decode(line, type=_Forecast)
            found.append(_forecast(document, where))
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            raise UsageError(f"{where}: {error}; it reads what `meltguard forecast --output json` writes") from error
    return ForecastSet(
        demand=tuple(forecast for forecast in found if forecast.target is DemandTarget.REQUESTS),
        signups=tuple(forecast for forecast in found if forecast.target is DemandTarget.SIGNUPS),
    )


def _forecast(document: _Forecast, where: str) -> DemandForecast:
    """Return the forecast of one line.

    Raises:
        UsageError: If it is of another schema or its levels differ between points.
    """
    if document.schema != FORECAST_SCHEMA:
        raise UsageError(f"{where}: schema {document.schema!r}, this version reads {FORECAST_SCHEMA}")
    names = list(document.points[0].quantiles)
    if not names or any(list(point.quantiles) != names for point in document.points):
        raise UsageError(f"{where}: every point must have the same quantiles, at least one")
    surge = document.surge
    return DemandForecast(
        key=document.series,
        target=document.target,
        issued_at=document.issued_at,
        step_seconds=document.step_seconds,
        levels=tuple(float(name) for name in names),
        mean=np.array([point.mean for point in document.points]),
        quantiles=np.array([[point.quantiles[name] for point in document.points] for name in names]),
        surge=SurgeState(
            phase=surge.state,
            probability=surge.probability,
            since=surge.since,
            growth_per_hour=surge.growth_per_hour,
            doubling_seconds=surge.doubling_seconds,
        ),
        model=document.model,
        calibration=document.calibration,
    )


def _read(data: bytes, kind: type[Value], *, place: str) -> Value:
    """Return a value of a kind from JSON in which every field is known.

    Raises:
        UsageError: If it is not of that kind, or has a field that nobody reads.
    """
    try:
        value = read_document(data, kind, place=place)
    except UnreadableDocumentError as error:
        raise UsageError(f"{error}; compare with `meltguard plan --example`") from error
    unknown = _unknown_field(json.loads(data), json.loads(encode_document(value)), "$")
    if unknown:
        raise UsageError(f"{place}: `{unknown}` is no field; check its spelling or leave it out")
    return value


def _unknown_field(given: object, read: object, path: str) -> str:
    """Return the path of the first field that was given and not read; empty without one."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key not in read:
                return f"{path}.{key}"
            found = _unknown_field(value, read[key], f"{path}.{key}")
            if found:
                return found
    if isinstance(given, list) and isinstance(read, list):
        rows = zip(given, read, strict=False)
        return next((found for n, (a, b) in enumerate(rows) if (found := _unknown_field(a, b, f"{path}[{n}]"))), "")
    return ""
