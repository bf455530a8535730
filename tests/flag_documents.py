"""flagd JSON for tests of flags' consumers: one limit with a scope, a revision and an end."""

from __future__ import annotations

import json
import time
from pathlib import Path


def limit_rule(value: str, *, region: str = "eu", tier: str = "free", until: float) -> object:
    """Return a rule that gives ``value`` in a scope until a Unix time, and nothing elsewhere."""
    scope = {"and": [{"==": [{"var": "region"}, region]}, {"==": [{"var": "tier"}, tier]}]}
    return {"if": [{"and": [scope, {"<": [{"var": "$flagd.timestamp"}, until]}]}, value, None]}


def flag_document(
    revision: int | None = 1, *, seconds: float = 3600.0, region: str = "eu", tier: str = "free", **values: object
) -> str:
    """Return a flag set in which each named flag (underscores for dashes) has a value in a scope for some seconds."""
    until = time.time() + seconds
    flags = {
        name.replace("_", "-"): {
            "state": "ENABLED",
            "variants": {"limited": value},
            "defaultVariant": None,
            "targeting": limit_rule("limited", region=region, tier=tier, until=until),
        }
        for name, value in values.items()
    }
    metadata: dict[str, object] = {"flagSetId": "meltguard", "version": f"decision-{revision}"}
    if revision is not None:
        metadata["revision"] = revision
    return json.dumps({"metadata": metadata, "flags": flags})


def write_flags(path: Path, text: str) -> None:
    """Replace a flag file in one step, as a ConfigMap does."""
    staged = path.with_suffix(".new")
    staged.write_text(text, encoding="utf-8")
    staged.rename(path)
