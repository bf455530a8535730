"""The objects of the lab: its namespace, the pool and what it resizes, the policy, and its nodes. Pure."""

from __future__ import annotations

from typing import Any

from controller.operator.resources.fields import API_VERSION
from tools.lab.settings import NAMESPACE, POLICY, POOL, REGION, LabSettings

GPU_RESOURCE = "nvidia.com/gpu"
STEP_SECONDS = 5


def node_group(settings: LabSettings) -> dict[str, Any]:
    """Return what stands for the cloud's node group: anything with a scale subresource will do."""
    labels = {"app": POOL}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "node", "image": "none"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": POOL, "namespace": NAMESPACE},
        "spec": {"replicas": settings.num_nodes, "selector": {"matchLabels": labels}, "template": template},
    }


def node(name: str, settings: LabSettings, *, ready: bool) -> dict[str, Any]:
    """Return a Node object as a kubelet and a device plugin leave it."""
    gpus = {GPU_RESOURCE: str(settings.gpus_per_node)}
    condition = {"type": "Ready", "status": "True" if ready else "False", "reason": "Lab", "message": ""}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "meltguard.dev/pool": POOL,
                "topology.kubernetes.io/region": REGION,
                "nvidia.com/gpu.product": "NVIDIA-H200",
            },
        },
        "status": {"allocatable": gpus, "capacity": gpus, "conditions": [condition]},
    }


def pool(settings: LabSettings) -> dict[str, Any]:
    """Return the GPUPool."""
    boot = round(settings.boot_seconds)
    return {
        "apiVersion": API_VERSION,
        "kind": "GPUPool",
        "metadata": {"name": POOL, "namespace": NAMESPACE},
        "spec": {
            "region": REGION,
            "gpuModel": "H200 (stub)",
            "gpusPerNode": settings.gpus_per_node,
            "target": {"scale": {"apiVersion": "apps/v1", "kind": "Deployment", "name": POOL}},
            "nodeSelector": {"meltguard.dev/pool": POOL},
            "minNodes": settings.num_nodes,
            "maxNodes": settings.max_nodes,
            "maxStepNodes": settings.max_nodes,
            "costPerNodeHour": 40.0,
            "leadTime": {"p50": f"{boot + 8}s", "p95": f"{boot + 15}s"},
        },
    }


def policy(settings: LabSettings) -> dict[str, Any]:
    """Return the SurgePolicy: minutes become seconds, everything else is as in a fleet."""
    window = f"{STEP_SECONDS}s"
    requests = f'increase(meltguard_inference_requests_received_total{{attempt="first"}}[{window}])'
    return {
        "apiVersion": API_VERSION,
        "kind": "SurgePolicy",
        "metadata": {"name": POLICY, "namespace": NAMESPACE},
        "spec": {
            "signals": {"requests": {"query": f"sum by (region, tier) ({requests})", "step": window}},
            "horizon": "3m",
            "quantile": 0.6,
            "workload": {
                "tokensPerImage": settings.tokens_per_image,
                "tokensPerSecondPerGpu": settings.tokens_per_second_per_gpu,
                "wattsPerGpu": {"idle": settings.idle_watts, "busy": settings.busy_watts},
            },
            "tiers": [
                {"name": "batch", "priority": 0, "deferrable": True, "harmPerLimitedRequest": 0.005},
                {"name": "free", "priority": 1, "harmPerLimitedRequest": 0.02},
                {
                    "name": "paid",
                    "priority": 2,
                    "protected": True,
                    "harmPerLimitedRequest": 0.5,
                    "imagesPerDay": 1000,
                },
            ],
            "regions": [{"name": REGION}],
            "ladder": [
                _rung(3, enter=7.0),
                _rung(5, enter=6.5, steps=[0.7, 0.4, 0.2]),
                _rung(6, enter=6.25),
            ],
            "limits": {
                "maxNodesPerHour": 20,
                "maxCostPerHour": 10_000,
                "maxShapedDemandRatio": 0.95,
                "flapBudgetPerHour": 60,
                "maxEscalationsPerTenMinutes": 60,
            },
            "flags": {"sync": {"port": 8015}},
            "flagTtl": "30s",
            "flagPropagation": "2s",
            "forecastStaleAfter": "60s",
        },
    }


def _rung(number: int, *, enter: float, steps: list[float] | None = None) -> dict[str, Any]:
    """Return a rung that may be left after seconds."""
    rung: dict[str, Any] = {
        "rung": number,
        "enter": {"marginCelsius": enter},
        "exit": {"marginCelsius": enter + 0.5},
        "minDwell": "3s",
        "maxDuration": "1h",
    }
    return rung | ({"steps": steps} if steps else {})
