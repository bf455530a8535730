"""Errors of forecasting.

::

    ForecastingError            anything that a caller may show as one line
    ├── InputError              the input is wrong: says where and what to do; exit code 2
    └── NotEnoughDataError      the input is right but too short to say anything; exit code 1
"""

from __future__ import annotations

from typing import ClassVar


class ForecastingError(Exception):
    """A failure that is explained in one line.

    Attributes:
        exit_code: What a command that fails with it exits with: 1 failed, 2 usage.
    """

    exit_code: ClassVar[int] = 1


class InputError(ForecastingError):
    """The input cannot be used; the message names the place and the cure."""

    exit_code: ClassVar[int] = 2


class NotEnoughDataError(ForecastingError):
    """The input is well formed but holds too little to forecast from."""
