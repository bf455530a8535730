"""Writes what was found as objects with comments, and holds the text to our own parser. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml

from controller.errors import ControllerError
from controller.operator.entries import assign, policy_entry, pool_entry
from controller.operator.start.inventory import FoundPool, Provider

PLACEHOLDER = "change-me"
DEMAND = 'sum by (region, tier) (increase(meltguard_inference_requests_received_total{attempt="first"}[1m]))'
_ABOUT = {
    Provider.EKS: "A managed node group of EKS. The operator needs rights at AWS: manifests/overlays/eks.",
    Provider.KARPENTER: (
        "A NodePool of Karpenter. One with spec.replicas is resized as it stands here. A dynamic one has no size: use\n"
        "  # ownership: buffer with buffer.podTemplate instead, so that Karpenter makes room for pods of your size."
    ),
    Provider.GKE: "A node pool of GKE: watched, forecast and shaped, but not resized; that adapter is not built yet.",
    Provider.AKS: "An agent pool of AKS: watched, forecast and shaped, but not resized; that adapter is not built yet.",
    Provider.CLUSTER_API: (
        "A MachineDeployment of Cluster API, named after the MachineSet of its nodes. Nodes are known by the label\n"
        "  # below: let the MachineDeployment set it (spec.template.metadata.labels), or name labels that they have."
    ),
    Provider.PLAIN: (
        "Nobody here says who makes these nodes. Name what has a scale subresource, and lift the pause; until then\n"
        "  # the pool is watched, forecast and shaped, and its size is left alone."
    ),
}


def starting_text(pools: Sequence[FoundPool], prometheus: Sequence[str], *, namespace: str, policy: str) -> str:
    """Return objects to begin with, as YAML with comments.

    Args:
        pools: The pools that were found; at least one.
        prometheus: Addresses that look like Prometheus.
        namespace: Where the objects go.
        policy: Name of the policy.

    Returns:
        The text; our own parser accepts it.

    Raises:
        ControllerError: If it does not, which is a defect of ours; nothing is written then.
    """
    where = f"http://… (found: {', '.join(prometheus)})" if len(prometheus) > 1 else "".join(prometheus)
    opening = (
        "# Written by `meltguard init` from what it found in the cluster. Read every line: numbers marked (guess) are\n"
        "# not from your cluster. `mode: advisory` decides and reports and writes nothing; let it run for a week,\n"
        "# read `kubectl get surge,gpool -o wide` and `meltguard explain last --live`, then choose `active`.\n"
        f"# The operator's --prometheus: {where or 'no Service looked like Prometheus; give its address'}\n"
    )
    text = opening + "---\n".join([*(_pool(pool, namespace) for pool in pools), _policy(pools, namespace, policy)])
    _check(text)
    return text


def _pool(pool: FoundPool, namespace: str) -> str:
    """Return one GPUPool."""
    paused = "  paused: all\n" if pool.provider is Provider.PLAIN else ""
    selector = f"  nodeSelector: {_flow(pool.selector)}\n" if pool.selector else ""
    if pool.provider is Provider.PLAIN and not pool.selector:
        selector = (
            "  # Without labels of its own the pool is known by meltguard.dev/pool: label the nodes with its name.\n"
        )
    return f"""\
apiVersion: meltguard.dev/v1alpha1
kind: GPUPool
metadata:
  name: "{pool.name}"
  namespace: "{namespace}"
spec:
  region: "{pool.region}"
  gpuModel: {json.dumps(pool.gpu_model)}
  gpusPerNode: {pool.gpus_per_node}
  # {_ABOUT[pool.provider]}
  target: {_flow(_target(pool))}
{selector}{paused}  # {pool.num_nodes} nodes now; never fewer than minNodes, never more than maxNodes (guess)
  minNodes: {pool.num_nodes}
  maxNodes: {max(pool.num_nodes + 1, pool.num_nodes * 3 // 2)}
  maxStepNodes: 2
  # What a node costs an hour, in any currency that the harms of the policy share (guess).
  costPerNodeHour: {5 * pool.gpus_per_node}
  # From an order to the first image (guess); it is learned from what really happens.
  leadTime: {{p50: 8m, p95: 15m}}
"""


def _target(pool: FoundPool) -> dict[str, object]:
    """Return what resizes a pool, as a GPUPool says it."""
    match pool.provider:
        case Provider.EKS:
            cluster = pool.target.get("cluster") or PLACEHOLDER
            return {"eks": {"cluster": cluster, "nodegroup": pool.target["nodegroup"]}}
        case Provider.KARPENTER:
            return {"scale": {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "name": pool.target["name"]}}
        case Provider.GKE | Provider.AKS:
            return {pool.provider.value: dict(pool.target)}
        case Provider.CLUSTER_API:
            scale = {"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "MachineDeployment", "name": pool.target["name"]}
            namespace = pool.target.get("namespace")
            return {"scale": scale | ({"namespace": namespace} if namespace else {})}
        case Provider.PLAIN:
            return {"scale": {"apiVersion": "apps/v1", "kind": "Deployment", "name": PLACEHOLDER}}


def _policy(pools: Sequence[FoundPool], namespace: str, name: str) -> str:
    """Return the SurgePolicy."""
    regions = "".join(f'    - {{name: "{region}"}}\n' for region in sorted({pool.region for pool in pools}))
    budget = sum(5 * pool.gpus_per_node * max(pool.num_nodes + 1, pool.num_nodes * 3 // 2) for pool in pools)
    return f"""\
apiVersion: meltguard.dev/v1alpha1
kind: SurgePolicy
metadata:
  name: "{name}"
  namespace: "{namespace}"
spec:
  mode: advisory
  signals:
    # First attempts only, by region and tier: a retry is not new demand. This is what our own pods count.
    requests:
      query: {DEMAND}
      step: 60s
  # How much work a request is (guess): tokens of an image, and what one of your GPUs makes in a second.
  workload: {{tokensPerImage: 1024, tokensPerSecondPerGpu: 900}}
  # Whom a limit may touch, and what it costs to refuse one request (guess). A protected tier is never limited
  # without a person.
  tiers:
    - {{name: free, priority: 1, harmPerLimitedRequest: 0.02}}
    - {{name: paid, priority: 2, protected: true, harmPerLimitedRequest: 0.5, imagesPerDay: 1000}}
  regions:
{regions}  # Hard bounds: whatever is decided, never more than this.
  limits: {{maxNodesPerHour: 4, maxCostPerHour: {budget}}}
  flags:
    # The inference pods read limits as a stream from the operator; see docs/how-to/receive-flags.md for other ways.
    sync: {{port: 8015}}
"""


def _flow(value: object) -> str:
    """Return a value on one line; every JSON text is YAML, and quotes whatever labels may hold."""
    return json.dumps(value)


def _check(text: str) -> None:
    """Hold the objects to the parser of the operator.

    Raises:
        ControllerError: If it would refuse one.
    """
    rows = list(yaml.safe_load_all(text))
    pools = tuple(pool_entry(row) for row in rows if row["kind"] == "GPUPool")
    policies = tuple(policy_entry(row) for row in rows if row["kind"] == "SurgePolicy")
    problems = [entry.problem for entry in pools if entry.problem]
    problems += [entry.problem for entry in policies if entry.problem]
    problems += [each.problem.text for each in assign(policies, pools) if each.problem is not None]
    if problems:
        raise ControllerError(f"init: the objects that it would write cannot be used ({problems[0]}); please report it")
