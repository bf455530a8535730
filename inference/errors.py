"""Errors of the inference pod.

::

    InferenceError              anything that a caller may show as one line; exit code 1
    └── InferenceSettingsError  a flag, a file or an address is wrong: says where and what to do; exit code 2
"""

from __future__ import annotations

from typing import ClassVar


class InferenceError(Exception):
    """A failure that is explained in one line.

    Attributes:
        exit_code: What a command that fails with it exits with: 1 failed, 2 usage.
    """

    exit_code: ClassVar[int] = 1


class InferenceSettingsError(InferenceError):
    """A setting cannot be used; the message names the place and the cure."""

    exit_code: ClassVar[int] = 2
