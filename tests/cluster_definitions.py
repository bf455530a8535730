"""Small schemas of other projects' resources, so that the real API serves them: written for these tests."""

from __future__ import annotations

from collections.abc import Callable

from tests.kubernetes_transport import DirectApi

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(
    group: str, kind: str, versions: tuple[str, ...], *, scale: bool = False, namespaced: bool = True
) -> dict[str, object]:
    """Return a custom resource definition whose spec and status take anything."""
    plural = f"{kind.lower()}s"
    subresources = {"scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}
    if kind == "NodePool":
        subresources["scale"]["statusReplicasPath"] = ".status.nodes"
    schema = {
        "type": "object",
        "properties": {
            "spec": {**ANYTHING, "properties": {"replicas": {"type": "integer", "minimum": 0}}},
            "status": ANYTHING,
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": schema},
                    **({"subresources": subresources} if scale else {}),
                }
                for version in versions
            ],
        },
    }


CLUSTER_API = ("v1beta2", "v1beta1")
DEFINED = (
    definition("cluster.x-k8s.io", "MachineDeployment", CLUSTER_API, scale=True),
    definition("cluster.x-k8s.io", "MachinePool", CLUSTER_API, scale=True),
    definition("cluster.x-k8s.io", "Machine", CLUSTER_API),
    definition("karpenter.sh", "NodePool", ("v1",), scale=True, namespaced=False),
    definition("autoscaling.x-k8s.io", "CapacityBuffer", ("v1beta1",)),
    definition("keda.sh", "ScaledObject", ("v1alpha1",)),
)
"""Without status subresources, so that a test may write a status like anything else."""


FEATURE_FLAG_DEFINITION: dict[str, object] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "featureflags.core.openfeature.dev"},
    "spec": {
        "group": "core.openfeature.dev",
        "scope": "Namespaced",
        "names": {"plural": "featureflags", "singular": "featureflag", "kind": "FeatureFlag"},
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "flagSpec": {
                                        "type": "object",
                                        "properties": {
                                            "metadata": {
                                                "type": "object",
                                                "x-kubernetes-preserve-unknown-fields": True,
                                            },
                                            "flags": {
                                                "type": "object",
                                                "additionalProperties": {
                                                    "type": "object",
                                                    "required": ["defaultVariant", "state", "variants"],
                                                    "properties": {
                                                        "defaultVariant": {"type": "string"},
                                                        "state": {"type": "string", "enum": ["ENABLED", "DISABLED"]},
                                                        "variants": {
                                                            "type": "object",
                                                            "x-kubernetes-preserve-unknown-fields": True,
                                                        },
                                                        "targeting": {
                                                            "type": "object",
                                                            "x-kubernetes-preserve-unknown-fields": True,
                                                        },
                                                    },
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}


def install(api: DirectApi, wait_until: Callable[..., None]) -> None:
    """Make the API serve all of them."""
    for body in DEFINED:
        assert api.call("POST", DEFINITIONS, body=body).status in (201, 409)
    for body in DEFINED:
        spec = body["spec"]
        assert isinstance(spec, dict)
        for version in spec["versions"]:
            path = f"/apis/{spec['group']}/{version['name']}"
            plural = spec["names"]["plural"]
            wait_until(
                lambda path=path, plural=plural: (
                    plural in {row["name"] for row in api.call("GET", path).body.get("resources", [])}
                )
            )
