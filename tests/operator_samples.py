"""Objects of the API for tests of the operator: small, valid, and easy to break on purpose."""

from __future__ import annotations

import copy
from typing import Any

NAMESPACE = "default"


def pool_object(name: str = "eu-h100", *, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """Return a GPUPool; keyword arguments replace fields of its spec."""
    base: dict[str, Any] = {
        "region": "eu",
        "gpusPerNode": 8,
        "target": {"scale": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
        "minNodes": 2,
        "maxNodes": 8,
        "maxStepNodes": 2,
        "costPerNodeHour": 10.0,
        "leadTime": {"p50": "5m", "p95": "10m"},
    }
    return {
        "apiVersion": "meltguard.dev/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": name, "namespace": namespace},
        "spec": copy.deepcopy({**base, **spec}),
    }


def policy_object(name: str = "images", *, namespace: str = NAMESPACE, **spec: Any) -> dict[str, Any]:
    """Return a SurgePolicy of one region; keyword arguments replace fields of its spec."""
    base: dict[str, Any] = {
        "workload": {"tokensPerImage": 1000, "tokensPerSecondPerGpu": 100},
        "tiers": [
            {"name": "free", "priority": 1, "harmPerLimitedRequest": 0.02},
            {"name": "paid", "priority": 2, "protected": True, "harmPerLimitedRequest": 0.4, "imagesPerDay": 1000},
        ],
        "regions": [{"name": "eu"}],
        "flags": {"configMap": {"name": f"{name}-flags"}},
    }
    return {
        "apiVersion": "meltguard.dev/v1alpha1",
        "kind": "SurgePolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": copy.deepcopy({**base, **spec}),
    }
