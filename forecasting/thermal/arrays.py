"""Arrays at the border of the thermal model: shapes checked, absurd values bounded, views that cannot be written.

Called by the fleet model only.
"""

from __future__ import annotations

import numpy as np

from forecasting.errors import InputError
from forecasting.types import FloatArray

LARGEST_VALUE = 1e6
"""No reading in watts or degrees is larger; absurd ones are judged later and must only not overflow."""


def bounded(values: FloatArray) -> FloatArray:
    """Return values within the largest that can be calculated with.

    Args:
        values: Any shape; NaN stays NaN.

    Returns:
        Same shape.
    """
    return np.clip(np.asarray(values, dtype=np.float64), -LARGEST_VALUE, LARGEST_VALUE)


def gpu_vector(values: FloatArray, num_gpus: int, name: str) -> FloatArray:
    """Return one bounded value per GPU.

    Args:
        values: Shape ``(num_gpus,)``.
        num_gpus: Number of GPUs.
        name: Of the argument, for the message.

    Returns:
        float64, shape ``(num_gpus,)``.

    Raises:
        InputError: If the shape does not fit.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (num_gpus,):
        raise InputError(f"{name}: shape {array.shape}, expected ({num_gpus},): one value per GPU")
    return bounded(array)


def ascending_horizons(values: FloatArray) -> FloatArray:
    """Return horizons that can be forecast.

    Args:
        values: Seconds, shape ``(num_horizons,)``.

    Returns:
        float64, same shape.

    Raises:
        InputError: If they are not positive, ascending and finite.
    """
    horizons = np.asarray(values, dtype=np.float64)
    ascending = horizons.ndim == 1 and horizons.size > 0 and bool(np.all(np.diff(horizons) > 0.0))
    if not ascending or not horizons[0] > 0.0 or not np.isfinite(horizons[-1]):
        raise InputError("horizons_seconds: must be positive and ascending, with at least one horizon")
    return horizons


def read_only(array: FloatArray) -> FloatArray:
    """Return a view that refuses writing.

    Args:
        array: Any.

    Returns:
        The view.
    """
    view = array.view()
    view.flags.writeable = False
    return view
