"""From objects of the API to what the planner and the adapters know; every refusal names the field.

Pure: objects in, values out. An object that cannot be used raises :class:`UsageError`, which the operator turns into
the object's ``Ready`` condition; nothing in an object can crash a pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from controller.adapters.targets import AsgTarget, EksTarget, ObjectReference, PoolTarget, ScaleTarget, UnbuiltTarget
from controller.errors import UsageError
from controller.operator.resources.fields import duration_seconds
from controller.operator.resources.gpu_pool import GPUPoolSpec, Target
from controller.operator.resources.rules import POLICY_RULES, POOL_RULES, Rule, check_keys, check_rules
from controller.operator.resources.surge_policy import LadderRung, SurgePolicySpec
from controller.planning.ladder import default_ladder
from controller.types import (
    Approval,
    Ladder,
    LadderStep,
    Limits,
    PausedDirection,
    Policy,
    PoolSpec,
    RegionSpec,
    Rung,
    TierSpec,
)
from forecasting.capacity import CapacityModel

Spec = TypeVar("Spec", bound=msgspec.Struct)

PAUSED_ANNOTATION = "meltguard.dev/paused"
DEFAULT_MARGIN_TARGET_CELSIUS = 6.0
PAID_ADMISSION_RATIO = 0.5
"""Share of paid requests admitted on rung 7 where the ladder does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which object, and which version of it.

    Attributes:
        namespace: Its namespace.
        name: Its name.
        uid: Its uid; a new object of the same name has another one.
        generation: Of its spec.
        deleting_since: When somebody asked to delete it; None when nobody has.
        finalizers: Who must still agree to its deletion.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    deleting_since: datetime | None
    finalizers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadReference:
    """The inference workload of a pool: its object, and how many pods stand on each ready node."""

    reference: ObjectReference
    pods_per_node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A GPUPool that can be used.

    Attributes:
        identity: Which object.
        spec: As the planner knows it.
        target: As the adapters know it.
        workload: What follows its ready nodes; None for nothing.
        gpu_model: Model of its GPUs, for people.
    """

    identity: Identity
    spec: PoolSpec
    target: PoolTarget
    workload: WorkloadReference | None
    gpu_model: str


def parse_spec(raw: object, kind: type[Spec], rules: tuple[Rule, ...]) -> Spec:
    """Return a spec that its schema and rules accept.

    Args:
        raw: ``spec`` of the object.
        kind: Its shape.
        rules: What the shape cannot say.

    Returns:
        The spec with its defaults.

    Raises:
        UsageError: Naming the field and what to do.
    """
    try:
        spec = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise UsageError(f"spec{path.rstrip('`')}: {message[:1].lower()}{message[1:]}") from error
    check_rules(spec, rules)
    return spec


def identity_of(entry: Mapping[str, object]) -> Identity:
    """Return which object this is."""
    metadata = entry.get("metadata")
    fields = metadata if isinstance(metadata, dict) else {}
    deleted = fields.get("deletionTimestamp")
    return Identity(
        namespace=str(fields.get("namespace") or ""),
        name=str(fields.get("name") or ""),
        uid=str(fields.get("uid") or ""),
        generation=int(fields.get("generation") or 0),
        deleting_since=datetime.fromisoformat(deleted) if isinstance(deleted, str) else None,
        finalizers=tuple(str(name) for name in fields.get("finalizers") or ()),
    )


def annotations_of(entry: Mapping[str, object]) -> dict[str, str]:
    """Return an object's annotations."""
    metadata = entry.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def parse_pool(entry: Mapping[str, object]) -> Pool:
    """Return a pool.

    Args:
        entry: A GPUPool as the API keeps it.

    Returns:
        The pool; its ``paused`` is the stricter of the field and the annotation.

    Raises:
        UsageError: If it cannot be used.
    """
    identity = identity_of(entry)
    spec = parse_spec(entry.get("spec"), GPUPoolSpec, POOL_RULES)
    workload = None
    if spec.workload is not None:
        work = spec.workload
        place = ObjectReference(
            api_version=work.api_version,
            kind=work.kind,
            name=work.name,
            namespace=work.namespace or identity.namespace,
        )
        workload = WorkloadReference(reference=place, pods_per_node=work.pods_per_node)
    return Pool(
        identity=identity,
        spec=PoolSpec(
            name=identity.name,
            region=spec.region,
            gpus_per_node=spec.gpus_per_node,
            min_nodes=spec.min_nodes,
            max_nodes=spec.max_nodes,
            max_step_nodes=spec.max_step_nodes,
            cost_per_node_hour=spec.cost_per_node_hour,
            lead_time_p50_seconds=duration_seconds(spec.lead_time.p50, place="spec.leadTime.p50"),
            lead_time_p95_seconds=duration_seconds(spec.lead_time.p95, place="spec.leadTime.p95"),
            margin_target_celsius=spec.thermal.margin_target_celsius,
            ownership=spec.ownership,
            paused=stricter(spec.paused, paused_annotation(annotations_of(entry))),
        ),
        target=PoolTarget(
            pool=identity.name,
            region=spec.region,
            target=_target(spec.target, identity.namespace),
            ownership=spec.ownership,
            min_nodes=spec.min_nodes,
            max_nodes=spec.max_nodes,
            gpus_per_node=spec.gpus_per_node,
            node_labels=spec.node_selector,
            init_deadline_seconds=duration_seconds(spec.init_deadline, place="spec.initDeadline"),
            buffer=spec.buffer.name or None if spec.buffer is not None else None,
            buffer_pod_template=spec.buffer.pod_template if spec.buffer is not None else None,
        ),
        workload=workload,
        gpu_model=spec.gpu_model,
    )


def paused_annotation(annotations: Mapping[str, str]) -> PausedDirection:
    """Return the direction that an annotation pauses.

    Raises:
        UsageError: If it names none.
    """
    text = annotations.get(PAUSED_ANNOTATION, PausedDirection.NONE.value)
    try:
        return PausedDirection(text)
    except ValueError as error:
        known = ", ".join(direction.value for direction in PausedDirection)
        raise UsageError(f"metadata.annotations[{PAUSED_ANNOTATION}]: {text!r} is none of {known}") from error


def stricter(first: PausedDirection, second: PausedDirection) -> PausedDirection:
    """Return the pause that holds when both are asked for."""
    if PausedDirection.NONE in (first, second):
        return second if first is PausedDirection.NONE else first
    return first if first is second else PausedDirection.ALL


def parse_policy_spec(entry: Mapping[str, object]) -> SurgePolicySpec:
    """Return the spec of a SurgePolicy.

    Args:
        entry: A SurgePolicy as the API keeps it.

    Returns:
        Its spec with defaults.

    Raises:
        UsageError: If it cannot be used.
    """
    spec = parse_spec(entry.get("spec"), SurgePolicySpec, POLICY_RULES)
    check_keys(spec)
    for index, event in enumerate(spec.events):
        if datetime.fromisoformat(event.start).tzinfo is None or datetime.fromisoformat(event.end).tzinfo is None:
            raise UsageError(f"spec.events[{index}]: give times with a zone, such as 2026-01-01T18:00:00Z")
    paused_annotation(annotations_of(entry))
    return spec


def policy_of(name: str, spec: SurgePolicySpec, pools: tuple[PoolSpec, ...]) -> Policy:
    """Return the policy that the planner decides by.

    Args:
        name: Its name.
        spec: What people wrote.
        pools: The pools of its regions.

    Returns:
        The policy; its horizon reaches at least as far as the longest lead time.

    Raises:
        UsageError: If the ladder cannot be used.
    """
    longest_lead_seconds = max((pool.lead_time_p95_seconds for pool in pools), default=0.0)
    limits = spec.limits
    return Policy(
        name=name,
        mode=spec.mode,
        tiers=tuple(
            TierSpec(
                name=tier.name,
                priority=tier.priority,
                protected=tier.protected,
                deferrable=tier.deferrable,
                harm_per_limited_request=tier.harm_per_limited_request,
                harm_per_waited_second=tier.harm_per_waited_second,
                images_per_day=tier.images_per_day,
                mean_images_per_user_day=tier.mean_images_per_user_day,
            )
            for tier in spec.tiers
        ),
        regions=tuple(
            RegionSpec(name=region.name, may_serve=tuple(region.may_serve), routable_ratio=region.routable_ratio)
            for region in spec.regions
        ),
        pools=pools,
        ladder=_ladder(spec, pools),
        limits=Limits(
            max_nodes_per_hour=limits.max_nodes_per_hour,
            max_cost_per_hour=limits.max_cost_per_hour,
            max_regions_disabled=limits.max_regions_disabled,
            max_shaped_demand_ratio=limits.max_shaped_demand_ratio,
            flap_budget_per_hour=limits.flap_budget_per_hour,
            max_escalations_per_ten_minutes=limits.max_escalations_per_ten_minutes,
        ),
        capacity=_capacity(spec),
        demand_quantile=spec.quantile,
        horizon_seconds=max(duration_seconds(spec.horizon, place="spec.horizon"), longest_lead_seconds, 60.0),
        flag_propagation_seconds=duration_seconds(spec.flag_propagation, place="spec.flagPropagation"),
        flag_ttl_seconds=duration_seconds(spec.flag_ttl, place="spec.flagTtl"),
        stale_after_seconds=duration_seconds(spec.stale_after, place="spec.staleAfter"),
        forecast_stale_after_seconds=duration_seconds(spec.forecast_stale_after, place="spec.forecastStaleAfter"),
    )


def _capacity(spec: SurgePolicySpec) -> CapacityModel:
    """Return the factors from requests to watts."""
    work = spec.workload
    try:
        return CapacityModel(
            images_per_request=work.images_per_request,
            tokens_per_image=work.tokens_per_image,
            tokens_per_second_per_gpu=work.tokens_per_second_per_gpu,
            idle_watts_per_gpu=work.watts_per_gpu.idle,
            busy_watts_per_gpu=work.watts_per_gpu.busy,
        )
    except ValueError as error:
        raise UsageError(f"spec.workload: {error}") from error


def _ladder(spec: SurgePolicySpec, pools: tuple[PoolSpec, ...]) -> Ladder:
    """Return the ladder, every rung with its steps; the default one where none is written."""
    if not spec.ladder:
        return default_ladder(max((p.margin_target_celsius for p in pools), default=DEFAULT_MARGIN_TARGET_CELSIUS))
    rungs = sorted(spec.ladder, key=lambda entry: entry.rung)
    quotas = [round(step) for entry in rungs if entry.rung == Rung.LOWER_FREE_QUOTA for step in entry.steps]
    steps = [step for entry in rungs for step in _steps(entry, tightest_quota=min(quotas, default=None))]
    if not steps or steps[0].rung is not Rung.OBSERVE:
        first = rungs[0]
        observe = LadderRung(rung=0, enter=first.enter, exit=first.exit, min_dwell="0s")
        steps = [*_steps(observe, tightest_quota=None), *steps]
    try:
        return Ladder(steps=tuple(steps))
    except ValueError as error:
        raise UsageError(f"spec.ladder: {error}") from error


def _steps(entry: LadderRung, *, tightest_quota: int | None) -> list[LadderStep]:
    """Return the positions of one rung, mildest first."""
    rung = Rung(entry.rung)
    quotas: list[int | None] = [tightest_quota if rung is Rung.SHED else None]
    ratios = [1.0]
    if rung is Rung.LOWER_FREE_QUOTA:
        quotas = [round(step) for step in sorted(entry.steps, reverse=True)] or [None]
    elif rung is Rung.SHED:
        ratios = sorted(entry.steps, reverse=True) or [0.5]
    elif rung is Rung.PAID_IMPACT:
        ratios = sorted(entry.steps, reverse=True)[:1] or [PAID_ADMISSION_RATIO]
    return [
        LadderStep(
            rung=rung,
            images_per_day=quota,
            admission_ratio=ratio,
            generation_enabled=rung < Rung.DISABLE_FREE,
            batch_admitted=rung < Rung.SHAPE_QUIETLY,
            enter_margin_celsius=entry.enter.margin_celsius,
            exit_margin_celsius=entry.exit.margin_celsius,
            min_dwell_seconds=duration_seconds(entry.min_dwell, place=f"spec.ladder[rung={rung:d}].minDwell"),
            max_duration_seconds=duration_seconds(entry.max_duration, place=f"spec.ladder[rung={rung:d}].maxDuration"),
            approval=Approval.MANUAL if rung is Rung.PAID_IMPACT else entry.approval,
        )
        for quota in quotas
        for ratio in ratios
    ]


def _target(target: Target, namespace: str) -> ScaleTarget:
    """Return the adapters' form of a target; exactly one is set."""
    if target.scale is not None:
        return ObjectReference(
            api_version=target.scale.api_version,
            kind=target.scale.kind,
            name=target.scale.name,
            namespace=target.scale.namespace or namespace,
        )
    if target.eks is not None:
        return EksTarget(cluster=target.eks.cluster, nodegroup=target.eks.nodegroup)
    if target.asg is not None:
        return AsgTarget(name=target.asg.name)
    for provider in ("gke", "aks", "coreweave"):
        settings = getattr(target, provider)
        if settings is not None:
            return UnbuiltTarget(provider=provider, settings=settings)
    raise AssertionError("the rules let exactly one target through")
