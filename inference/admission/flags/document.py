"""What a flag set must be before it may replace the one in force. Pure but for evaluation by flagd's own rules.

A flag set that cannot be evaluated would fall back to defaults, and so lift a limit that holds GPUs below their
slowdown temperature. So every rule is tried before the set is accepted; a set with a broken one changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, OpenFeatureError

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_CONTEXTS = 64
MAX_CHANGE_TIMES = 1000


class FlagKey(StrEnum):
    """Flags of the contract that admission asks for."""

    GENERATION_ENABLED = "image-generation-enabled"
    IMAGES_PER_DAY = "images-per-day"
    IMAGES_PER_HOUR = "images-per-hour"
    MAX_CONCURRENT_IMAGES = "max-concurrent-images"
    ADMISSION_RATIO = "admission-ratio"
    LIMIT_REASON = "limit-reason"
    BATCH_ADMITTED = "batch-admitted"


BOOLEANS = frozenset({FlagKey.GENERATION_ENABLED, FlagKey.BATCH_ADMITTED})
COUNTS = frozenset({FlagKey.IMAGES_PER_DAY, FlagKey.IMAGES_PER_HOUR, FlagKey.MAX_CONCURRENT_IMAGES})


class FlagProblem(StrEnum):
    """Why a flag set is refused; the label ``reason`` of its metric."""

    UNREADABLE = "unreadable"
    MALFORMED = "malformed"
    WRONG_VALUE = "wrong_value"
    OLDER = "older"


class FlagSetError(ValueError):
    """A flag set may not replace the one in force; the message names the flag and what is wrong.

    Attributes:
        problem: The kind.
    """

    def __init__(self, problem: FlagProblem, message: str) -> None:
        """Keep the kind and the message."""
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSet:
    """A checked flag set.

    Attributes:
        evaluator: flagd's rules with these flags.
        revision: Its ``metadata.revision``; None where a person wrote a set without one.
        version: Its ``metadata.version``, the decision's id; empty where there is none.
        num_flags: Flags in it.
        change_times: Unix seconds at which its rules change by themselves, ascending: the ends of limits.
    """

    evaluator: FlagdCore
    revision: int | None
    version: str
    num_flags: int
    change_times: tuple[float, ...]


def parse_flag_set(text: str | bytes, contexts: tuple[EvaluationContext, ...]) -> FlagSet:
    """Return a flag set that evaluates well everywhere it will be asked.

    Args:
        text: flagd JSON.
        contexts: What it will be evaluated in: each tier and region, at most ``MAX_CONTEXTS`` are tried.

    Returns:
        The set, ready for use.

    Raises:
        FlagSetError: If it is not JSON, not flagd's shape, or a flag of ours has a value that admission cannot use.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise FlagSetError(FlagProblem.MALFORMED, f"larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise FlagSetError(FlagProblem.MALFORMED, f"not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise FlagSetError(FlagProblem.MALFORMED, "the top level must be an object with an object `flags`")
    metadata = document.get("metadata", {})
    revision, version = _identity(metadata if isinstance(metadata, dict) else {})
    num_flags = len(document["flags"])
    change_times = tuple(sorted(set(_timestamps(document["flags"]))))[:MAX_CHANGE_TIMES]
    evaluator = FlagdCore()
    try:
        evaluator.set_flags(document)
    except (OpenFeatureError, TypeError, AttributeError, ValueError) as error:
        raise FlagSetError(FlagProblem.MALFORMED, f"not a flagd flag set: {_said(error)}") from error
    for context in contexts[:MAX_CONTEXTS]:
        _try_flags(evaluator, context)
    return FlagSet(
        evaluator=evaluator, revision=revision, version=version, num_flags=num_flags, change_times=change_times
    )


def _timestamps(rules: object) -> Iterator[float]:
    """Yield every number that a rule compares with the time of the evaluation."""
    pending = [rules]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            if {"var": "$flagd.timestamp"} in node:
                yield from (float(n) for n in node if isinstance(n, int | float) and not isinstance(n, bool))
            pending.extend(node)
        elif isinstance(node, dict):
            pending.extend(node.values())


def _identity(metadata: dict[object, object]) -> tuple[int | None, str]:
    revision = metadata.get("revision")
    if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int | float)):
        raise FlagSetError(FlagProblem.WRONG_VALUE, f"metadata.revision must be a whole number, not {revision!r}")
    if isinstance(revision, int | float) and (revision != int(revision) or revision < 0):
        raise FlagSetError(FlagProblem.WRONG_VALUE, f"metadata.revision must be a whole number, not {revision!r}")
    version = metadata.get("version", "")
    return None if revision is None else int(revision), version if isinstance(version, str) else str(version)


def _try_flags(evaluator: FlagdCore, context: EvaluationContext) -> None:
    """Evaluate each flag of ours once; raises FlagSetError for the first that cannot be used."""
    for key in FlagKey:
        try:
            value = _value(evaluator, key, context)
        except FlagNotFoundError:
            continue
        except Exception as error:
            # Rules are somebody else's data: whatever evaluation trips over, the set is not usable.
            message = f"flag {key}: cannot be evaluated: {_said(error)}"
            raise FlagSetError(FlagProblem.WRONG_VALUE, message) from error
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_range(key, value)


def _value(evaluator: FlagdCore, key: FlagKey, context: EvaluationContext) -> object:
    if key in BOOLEANS:
        return evaluator.resolve_boolean_value(key, True, context).value
    if key in COUNTS:
        return evaluator.resolve_integer_value(key, 1, context).value
    if key is FlagKey.ADMISSION_RATIO:
        return evaluator.resolve_float_value(key, 1.0, context).value
    return cast(object, evaluator.resolve_string_value(key, "", context).value)


def _check_range(key: FlagKey, value: float) -> None:
    if key is FlagKey.ADMISSION_RATIO and not 0.0 <= value <= 1.0:
        raise FlagSetError(FlagProblem.WRONG_VALUE, f"flag {key}: {value} does not lie between 0 and 1")
    if value < 0:
        raise FlagSetError(FlagProblem.WRONG_VALUE, f"flag {key}: {value} is negative")


def _said(error: Exception) -> str:
    message = getattr(error, "error_message", None) or str(error)
    return f"{message or type(error).__name__}"
