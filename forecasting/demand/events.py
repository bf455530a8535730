"""Events on the calendar that multiply demand, such as a launch; pure.

The forecaster divides what it observes by the factor that is in force and multiplies what it forecasts, so that an
event neither surprises it nor teaches it a habit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forecasting.durations import parse_option_time
from forecasting.errors import InputError

_MAX_FACTOR = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandEvent:
    """A period in which demand is expected to be multiplied.

    Attributes:
        start: When it begins, aware.
        end: When it ends, aware, after the start.
        name: What to call it in ``reasons``.
        factor: Demand over what it would be without, > 0.
    """

    start: datetime
    end: datetime
    name: str
    factor: float

    def __post_init__(self) -> None:
        """Refuse events that cannot be.

        Raises:
            ValueError: If the event ends before it begins or its factor is out of range.
        """
        if not self.start < self.end:
            raise ValueError(f"event '{self.name}' must end after it begins")
        if not 0.0 < self.factor <= _MAX_FACTOR:
            raise ValueError(f"event '{self.name}': the factor must lie in (0, {_MAX_FACTOR:g}]")


def parse_event(text: str) -> DemandEvent:
    """Read ``START,END,NAME,FACTOR`` as given to ``--event``.

    Raises:
        InputError: If a part is missing or wrong.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4:
        raise InputError(f"--event: '{text}' needs four parts: START,END,NAME,FACTOR")
    try:
        factor = float(parts[3])
    except ValueError as error:
        raise InputError(f"--event: the factor '{parts[3]}' is no number") from error
    try:
        return DemandEvent(
            start=parse_option_time(parts[0], name="--event"),
            end=parse_option_time(parts[1], name="--event"),
            name=parts[2],
            factor=factor,
        )
    except ValueError as error:
        raise InputError(f"--event: {error}") from error


def factor_between(events: tuple[DemandEvent, ...], start_epoch: float, end_epoch: float) -> float:
    """Return the mean factor over an interval; overlapping events multiply.

    Args:
        events: Known events.
        start_epoch: Start of the interval, unix seconds.
        end_epoch: End of the interval, unix seconds, after the start.
    """
    factor = 1.0
    for event in events:
        overlap = min(end_epoch, event.end.timestamp()) - max(start_epoch, event.start.timestamp())
        if overlap > 0.0:
            factor *= 1.0 + (event.factor - 1.0) * overlap / (end_epoch - start_epoch)
    return factor
