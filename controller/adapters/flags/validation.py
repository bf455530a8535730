"""The last look at a flag set before it is written: no API server and no consumer refuses a broken rule in time.

Consumers that cannot read a set keep the old one, whose limits then expire: a defect here would undo every limit of
the fleet. Pure; called by the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from controller.errors import PermanentError

MAX_TEXT_BYTES = 900_000
"""A ConfigMap holds one mebibyte, with our record beside the flags."""

_KINDS: dict[str, tuple[type, ...]] = {
    "image-generation-enabled": (bool,),
    "images-per-day": (int,),
    "images-per-hour": (int,),
    "max-concurrent-images": (int,),
    "admission-ratio": (float, int),
    "limit-reason": (str,),
    "batch-admitted": (bool,),
    "region-weights": (dict,),
}


class FlagSetError(PermanentError):
    """A flag set must not be written; the message names the flag and what is wrong with it."""


def validate_flags(text: str) -> int:
    """Check a rendered flag set.

    Args:
        text: flagd's JSON.

    Returns:
        Its revision.

    Raises:
        FlagSetError: If it is too large, no flag set of ours, names variants that it lacks, or holds a limit that
            would not expire.
    """
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise FlagSetError(f"flag set: larger than {MAX_TEXT_BYTES} bytes; use fewer regions or tiers a policy")
    try:
        document = json.loads(text)
        revision, version = document["metadata"]["revision"], document["metadata"]["version"]
        flags = document["flags"]
        set_id = document["metadata"]["flagSetId"]
    except (ValueError, KeyError, TypeError) as error:
        raise FlagSetError(f"flag set: no flagd JSON of ours ({error})") from error
    if set_id != "meltguard" or not isinstance(version, str) or not version:
        raise FlagSetError("flag set: metadata needs flagSetId meltguard and a version")
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0:
        raise FlagSetError("flag set: metadata.revision must be a whole number, at least 0")
    for key, flag in flags.items():
        _check_flag(key, flag)
    return int(revision)


def _check_flag(key: str, flag: dict[str, Any]) -> None:
    """Check one flag: its values' type, its default, its rule."""
    kinds = _KINDS.get(key)
    if kinds is None:
        raise FlagSetError(f"flag {key}: no key of the contract")
    variants = flag.get("variants") or {}
    if flag.get("state") != "ENABLED" or not variants:
        raise FlagSetError(f"flag {key}: needs the state ENABLED and a variant")
    for name, value in variants.items():
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if wrong:
            raise FlagSetError(f"flag {key}: variant {name} has the wrong type")
        if key == "admission-ratio" and not 0.0 <= value <= 1.0:
            raise FlagSetError(f"flag {key}: variant {name} must lie within 0 and 1")
    default = flag.get("defaultVariant")
    if default is not None and default not in variants:
        raise FlagSetError(f"flag {key}: its default variant {default} is missing")
    rule = flag.get("targeting")
    if rule is None:
        return
    for branch in _outcomes(rule):
        if branch is not None and branch not in variants:
            raise FlagSetError(f"flag {key}: its rule names the variant {branch}, which is missing")
    if not _expires(rule, {str(default)} | _normal_names(rule)):
        raise FlagSetError(f"flag {key}: a limit in its rule has no expiry")


def _outcomes(rule: object) -> Iterator[str | None]:
    """Yield every variant that a rule may name."""
    if rule is None or isinstance(rule, str):
        yield rule
    elif isinstance(rule, dict) and "if" in rule:
        branches = rule["if"]
        for outcome in [*branches[1::2], *branches[-1:]]:
            yield from _outcomes(outcome)
    else:
        raise FlagSetError(f"flag set: a rule of an unknown kind: {str(rule)[:80]}")


def _normal_names(rule: object) -> set[str]:
    """Return the variants that stand for normal values: those of branches on the tier alone."""
    branches = rule["if"] if isinstance(rule, dict) and "if" in rule else []
    pairs = zip(branches[:-1:2], branches[1::2], strict=False)
    return {outcome for condition, outcome in pairs if isinstance(outcome, str) and _is_on_tier(condition)}


def _is_on_tier(condition: object) -> bool:
    """Return whether a condition asks for the tier and nothing else."""
    return isinstance(condition, dict) and set(condition) == {"=="} and condition["=="][0] == {"var": "tier"}


def _expires(rule: object, normal: set[str]) -> bool:
    """Return whether every limit in a rule stands behind a comparison with the time of the evaluation."""
    if rule is None or isinstance(rule, str):
        return rule is None or rule in normal
    if not isinstance(rule, dict) or "if" not in rule:
        return False
    branches = rule["if"]
    for condition, outcome in zip(branches[:-1:2], branches[1::2], strict=False):
        if not _is_deadline(condition) and not _expires(outcome, normal):
            return False
    return len(branches) % 2 == 1 and _expires(branches[-1], normal)


def _is_deadline(condition: object) -> bool:
    """Return whether a condition holds only until a moment."""
    if not isinstance(condition, dict) or set(condition) != {"<"}:
        return False
    left, right = condition["<"]
    return left == {"var": "$flagd.timestamp"} and isinstance(right, int) and not isinstance(right, bool)
