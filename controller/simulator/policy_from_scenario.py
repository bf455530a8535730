"""The planner's policy for a scenario: what a platform team would have written for that fleet."""

from __future__ import annotations

from controller.planning.ladder import default_ladder
from controller.simulator.scenario import Scenario
from controller.types import Limits, Mode, Policy, PoolSpec, RegionSpec, TierSpec
from forecasting.capacity import CapacityModel

PASSES_PER_TTL = 4
"""A limit lives at least this many passes and propagation times; the rule asks for three."""
MIN_TTL_SECONDS = 120.0


def policy_of(scenario: Scenario) -> Policy:
    """Return the policy; prices, bounds and lead times come from the scenario, the rest are defaults."""
    pools = tuple(
        PoolSpec(
            name=pool.name,
            region=region.name,
            gpus_per_node=pool.gpus_per_node,
            min_nodes=pool.min_nodes,
            max_nodes=pool.max_nodes,
            max_step_nodes=pool.max_step_nodes,
            cost_per_node_hour=pool.cost_per_node_hour,
            lead_time_p50_seconds=pool.lead_time_p50_seconds,
            lead_time_p95_seconds=pool.lead_time_p95_seconds,
            margin_target_celsius=pool.margin_target_celsius,
        )
        for region in scenario.regions
        for pool in region.pools
    )
    tiers = tuple(
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
        for tier in scenario.tiers
    )
    longest_lead_seconds = max(pool.lead_time_p95_seconds for pool in pools)
    passes_seconds = scenario.flag_propagation_seconds + scenario.plan_period_seconds
    bounds = scenario.bounds
    return Policy(
        name=scenario.name,
        mode=Mode.ACTIVE,
        tiers=tiers,
        regions=tuple(RegionSpec(name=region.name) for region in scenario.regions),
        pools=pools,
        ladder=default_ladder(max(pool.margin_target_celsius for pool in pools)),
        limits=Limits(
            max_nodes_per_hour=bounds.max_nodes_per_hour,
            max_cost_per_hour=bounds.max_cost_per_hour,
            max_regions_disabled=bounds.max_regions_disabled,
            max_shaped_demand_ratio=bounds.max_shaped_demand_ratio,
            flap_budget_per_hour=bounds.flap_budget_per_hour,
        ),
        capacity=CapacityModel(
            images_per_request=scenario.work.images_per_request,
            tokens_per_image=scenario.work.tokens_per_image,
            tokens_per_second_per_gpu=scenario.work.tokens_per_second_per_gpu,
            idle_watts_per_gpu=scenario.gpu.idle_watts,
            busy_watts_per_gpu=scenario.gpu.busy_watts,
        ),
        horizon_seconds=max(1800.0, 2.0 * longest_lead_seconds),
        patience_seconds=scenario.users.patience_seconds,
        flag_propagation_seconds=scenario.flag_propagation_seconds,
        flag_ttl_seconds=max(MIN_TTL_SECONDS, PASSES_PER_TTL * passes_seconds),
    )
