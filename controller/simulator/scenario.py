"""The scenario file: what happens to which fleet. Every field has a unit in its name or in its description.

``meltguard replay`` reads these files; :func:`scenario_json_schema` publishes their JSON Schema. Unknown keys and
impossible values are refused with the path of the field.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from controller.errors import UsageError

SCENARIO_SCHEMA = "meltguard.scenario/v1"
MAX_STEPS = 200_000
"""Longest run, in steps: 23 days at 10 s."""
MAX_FILE_BYTES = 4 * 1024 * 1024

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
PositiveCount = Annotated[int, Meta(ge=1)]
Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Lower-case letters, digits and dashes; 63 at most.")
]


class FactKind(StrEnum):
    """Where a number comes from."""

    PUBLISHED = "published"
    MEASURED = "measured"
    ASSUMED = "assumed"


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the file: immutable, named fields, unknown keys refused."""


class Fact(Entry, frozen=True, kw_only=True):
    """One number of the scenario and where it comes from."""

    what: Annotated[str, Meta(description="The number in words.")]
    kind: Annotated[FactKind, Meta(description="published, measured or assumed.")]
    source: Annotated[str, Meta(description="Citation of a published or measured number; reason of an assumed one.")]


class WavePoint(Entry, frozen=True, kw_only=True):
    """A corner of the sign-up curve; between corners the rate is interpolated in the logarithm."""

    at_seconds: Annotated[float, Meta(ge=0, description="Seconds from the start.")]
    signups_per_hour: Annotated[float, Meta(gt=0, description="Whole world, before scaling.")]


class LoadPoint(Entry, frozen=True, kw_only=True):
    """A corner of a recorded load curve; between corners it is interpolated."""

    at_seconds: Annotated[float, Meta(ge=0, description="Seconds from the start.")]
    ratio: Annotated[float, Meta(ge=0, description="Load over the baseline.")]


class Users(Entry, frozen=True, kw_only=True):
    """Who comes, and what they ask for."""

    scale: Annotated[float, Meta(gt=0, le=1, description="Share of the world's users that the fleet serves.")]
    wave: Annotated[tuple[WavePoint, ...], Meta(min_length=1, description="The sign-up curve.")]
    baseline_requests_per_second: Annotated[
        float, Meta(ge=0, description="Requests of users from before the run, daily mean, after scaling.")
    ]
    baseline_ratio: Annotated[
        tuple[LoadPoint, ...], Meta(description="Load over the baseline as recorded; replaces the daily curve.")
    ] = ()
    day_amplitude_ratio: Annotated[Ratio, Meta(description="Half of the daily swing over its mean.")]
    requests_per_user_hour: Annotated[
        tuple[NonNegative, ...],
        Meta(min_length=1, description="Requests per hour of a new user, in the age classes of age_edges_seconds."),
    ]
    age_edges_seconds: Annotated[
        tuple[Positive, ...], Meta(min_length=1, description="Upper edge of each age class, ascending.")
    ]
    retry_ratio: Annotated[Ratio, Meta(description="Share of refused requests that are tried again.")]
    retry_delay_seconds: Annotated[Positive, Meta(description="Mean time until that.")]
    patience_seconds: Annotated[Positive, Meta(description="Mean time that a request waits before it is abandoned.")]
    queue_bound_seconds: Annotated[Positive, Meta(description="Longest queue, in seconds of the region's capacity.")]


class Tier(Entry, frozen=True, kw_only=True):
    """A class of users."""

    name: Name
    share: Annotated[Ratio, Meta(description="Share of all requests; the shares add up to 1.")]
    priority: Annotated[int, Meta(description="Higher is served first.")]
    protected: Annotated[bool, Meta(description="Never limited without a person's approval.")] = False
    deferrable: Annotated[bool, Meta(description="Batch work that may wait for hours.")] = False
    follows_signups: Annotated[bool, Meta(description="Whether new users belong to this tier.")] = True
    images_per_day: Annotated[PositiveCount, Meta(description="Quota in normal times.")]
    mean_images_per_user_day: Annotated[Positive, Meta(description="Mean wish of an active user.")]
    harm_per_limited_request: Annotated[NonNegative, Meta(description="Cost of a refused request, in the currency.")]
    harm_per_waited_second: Annotated[NonNegative, Meta(description="Cost of a request's second of waiting.")]


class Pool(Entry, frozen=True, kw_only=True):
    """A node pool, its prices and its lead times."""

    name: Name
    gpus_per_node: Annotated[PositiveCount, Meta(description="GPUs on a node.")] = 8
    nodes: Annotated[PositiveCount, Meta(description="Nodes that serve at the start.")]
    min_nodes: Annotated[PositiveCount, Meta(description="Never fewer.")]
    max_nodes: Annotated[PositiveCount, Meta(description="Never more.")]
    max_step_nodes: Annotated[PositiveCount, Meta(description="Largest change in one decision.")] = 2
    cost_per_node_hour: Annotated[NonNegative, Meta(description="In the currency.")]
    lead_time_p50_seconds: Annotated[Positive, Meta(description="Median from order to first image.")]
    lead_time_p95_seconds: Annotated[Positive, Meta(description="The same at 95 %.")]
    margin_target_celsius: Annotated[Positive, Meta(description="Margin that the plan keeps.")] = 6.0


class Site(Entry, frozen=True, kw_only=True):
    """The building around a region's pools."""

    inlet_celsius: Annotated[float, Meta(ge=-10, le=60, description="Air at the racks when the cooling keeps up.")]
    cooling_capacity_watts: Annotated[Positive, Meta(description="Heat of the GPUs that the cooling takes away.")]
    overload_celsius_per_watt: Annotated[
        NonNegative, Meta(description="Rise of the inlet per watt above the capacity, once settled.")
    ]
    overload_time_constant_seconds: Annotated[Positive, Meta(description="How fast that rise settles.")] = 480.0


class Region(Entry, frozen=True, kw_only=True):
    """A region: its share of the users, its site and its pools."""

    name: Name
    share: Annotated[Ratio, Meta(description="Share of all users; the shares add up to 1.")]
    peak_hour_utc: Annotated[float, Meta(ge=0, lt=24, description="Hour of the daily peak.")] = 18.0
    site: Site
    pools: Annotated[tuple[Pool, ...], Meta(min_length=1, description="Its node pools.")]


class Work(Entry, frozen=True, kw_only=True):
    """What an image costs; the planner is given the same numbers, as it would measure them."""

    images_per_request: Annotated[Positive, Meta(description="Mean images of a request.")] = 1.0
    tokens_per_image: Annotated[Positive, Meta(description="Image tokens.")]
    tokens_per_second_per_gpu: Annotated[Positive, Meta(description="Throughput of a full batch.")]


class Gpu(Entry, frozen=True, kw_only=True):
    """The GPU: power, limits, and the spread between units. The simulator draws hidden values around these."""

    idle_watts: Annotated[Positive, Meta(description="Power without work.")]
    busy_watts: Annotated[Positive, Meta(description="Power when fully used.")]
    limit_watts: Annotated[Positive, Meta(description="Enforced power limit.")]
    slowdown_celsius: Annotated[Positive, Meta(description="Die temperature at which the hardware slows down.")]
    shutdown_celsius: Annotated[Positive, Meta(description="Die temperature at which it switches off.")]
    resistance_celsius_per_watt: Annotated[Positive, Meta(description="Mean rise of the die over the inlet per watt.")]
    resistance_spread_ratio: Annotated[Ratio, Meta(description="Standard deviation between units over the mean.")]
    slowdown_speed_ratio: Annotated[Ratio, Meta(description="Speed of a GPU that is slowed down.")] = 0.4


class EventKind(StrEnum):
    """What can go wrong."""

    STOCK_OUT = "stock-out"
    QUOTA = "quota"
    COOLING_FAILURE = "cooling-failure"
    FAILED_FAN = "failed-fan"
    HOT_AISLE = "hot-aisle"
    METRICS_OUTAGE = "metrics-outage"
    COUNTER_GLITCH = "counter-glitch"


class Event(Entry, frozen=True, kw_only=True):
    """One misfortune: what, where, when, and how much of it."""

    kind: Annotated[EventKind, Meta(description="What goes wrong.")]
    at_seconds: Annotated[float, Meta(description="Beginning, seconds from the start; may lie in the lead-in.")]
    duration_seconds: Annotated[Positive, Meta(description="How long it lasts.")]
    ramp_seconds: Annotated[NonNegative, Meta(description="Time until it has its full extent.")] = 0.0
    region: Annotated[Name | None, Meta(description="Where; null is everywhere.")] = None
    nodes: Annotated[
        tuple[Count, ...], Meta(description="Node slots of the region's first pool: failed-fan, hot-aisle.")
    ] = ()
    extent: Annotated[
        NonNegative,
        Meta(
            description="quota: most nodes of a pool; cooling-failure: share of the cooling lost, 0..1; failed-fan: "
            "rise of the resistance of sink to air, ratio; hot-aisle: degrees; counter-glitch: factor on what the "
            "counters show; else unused."
        ),
    ] = 1.0


class BoundsOnActions(Entry, frozen=True, kw_only=True):
    """Hard bounds of the policy."""

    max_nodes_per_hour: Annotated[Count, Meta(description="Nodes added in any hour, over all pools.")] = 24
    max_cost_per_hour: Annotated[Positive, Meta(description="Cost of all nodes.")] = 1e9
    max_regions_disabled: Annotated[Count, Meta(description="Regions on rung 6 at once.")] = 1
    max_shaped_demand_ratio: Annotated[Ratio, Meta(description="Share of offered demand limited at once.")] = 0.9
    flap_budget_per_hour: Annotated[Count, Meta(description="Restores and scale-ins a region and hour.")] = 6


class Scenario(Entry, frozen=True, kw_only=True):
    """A whole scenario."""

    schema: Annotated[str, Meta(pattern="^meltguard\\.scenario/v1$", description="Always meltguard.scenario/v1.")]
    name: Name
    title: Annotated[str, Meta(description="One line for headings.")]
    description: Annotated[str, Meta(description="What happens, for people.")]
    currency: Annotated[str, Meta(description="Unit of harm and cost.")] = "USD"
    start: Annotated[datetime, Meta(tz=True, description="Virtual time of the start, with zone.")]
    duration_seconds: Annotated[Positive, Meta(description="Length of the run.")]
    lead_in_seconds: Annotated[
        NonNegative, Meta(description="Time before the start that is simulated, not recorded: models learn the fleet.")
    ] = 3600.0
    step_seconds: Annotated[Positive, Meta(description="Step of the simulation.")] = 10.0
    plan_period_seconds: Annotated[Positive, Meta(description="Period of the planner.")] = 10.0
    forecast_period_seconds: Annotated[Positive, Meta(description="Period and step of the demand forecasts.")] = 60.0
    flag_propagation_seconds: Annotated[Positive, Meta(description="From a written flag to admission.")] = 10.0
    metric_delay_seconds: Annotated[NonNegative, Meta(description="Age of the newest metric.")] = 10.0
    users: Users
    tiers: Annotated[tuple[Tier, ...], Meta(min_length=1)]
    regions: Annotated[tuple[Region, ...], Meta(min_length=1)]
    work: Work
    gpu: Gpu
    bounds: BoundsOnActions = BoundsOnActions()
    events: Annotated[tuple[Event, ...], Meta(description="What goes wrong, and when.")] = ()
    local_guard: Annotated[bool, Meta(description="Whether the pods bound their own load by their GPU's margin.")] = (
        False
    )
    facts: Annotated[tuple[Fact, ...], Meta(description="Which numbers are published, measured or assumed.")] = ()

    @property
    def num_steps(self) -> int:
        """Number of simulation steps."""
        return round(self.duration_seconds / self.step_seconds)


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Args:
        path: YAML or JSON.

    Returns:
        The scenario, checked.

    Raises:
        UsageError: If the file cannot be read or a field is wrong; names the field and the cure.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes; a scenario is a small text file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise UsageError(f"{path}: cannot be read ({reason}); give the path of a scenario file") from error
    return parse_scenario(text, place=str(path))


def parse_scenario(text: str, *, place: str) -> Scenario:
    """Parse the text of a scenario file; ``place`` names it in errors.

    Raises:
        UsageError: As :func:`load_scenario`.
    """
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{place}{line}: not valid YAML; compare with `meltguard replay --example`") from error
    try:
        scenario = msgspec.convert(document, Scenario, strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}: {error}; see the schema of {SCENARIO_SCHEMA}") from error
    wrong = _not_finite(msgspec.to_builtins(scenario), "$")
    if wrong:
        raise UsageError(f"{place}: `{wrong}` must be a finite number")
    _check(scenario, place)
    return scenario


def _not_finite(node: Any, path: str) -> str:
    """Return the path of the first number that is infinite or none; empty without one."""
    if isinstance(node, float):
        return "" if math.isfinite(node) else path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    found = (_not_finite(value, f"{path}.{key}") for key, value in items)
    return next((wrong for wrong in found if wrong), "")


def scenario_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the scenario file."""
    return msgspec.json.schema(Scenario)


def _check(scenario: Scenario, place: str) -> None:
    """Refuse combinations that the field types cannot express.

    Raises:
        UsageError: Naming the first one.
    """
    users = scenario.users
    problems = [
        (scenario.num_steps > MAX_STEPS, f"duration_seconds / step_seconds must be at most {MAX_STEPS}"),
        (
            len(users.requests_per_user_hour) != len(users.age_edges_seconds),
            "users.requests_per_user_hour and users.age_edges_seconds must have the same length",
        ),
        (list(users.age_edges_seconds) != sorted(set(users.age_edges_seconds)), "users.age_edges_seconds must ascend"),
        (
            [p.at_seconds for p in users.wave] != sorted({p.at_seconds for p in users.wave}),
            "users.wave must ascend in at_seconds",
        ),
        (abs(sum(tier.share for tier in scenario.tiers) - 1.0) > 1e-6, "the shares of tiers must add up to 1"),
        (abs(sum(region.share for region in scenario.regions) - 1.0) > 1e-6, "the shares of regions must add up to 1"),
        (not any(tier.follows_signups for tier in scenario.tiers), "one tier must have follows_signups: true"),
        (len({tier.name for tier in scenario.tiers}) != len(scenario.tiers), "names of tiers must differ"),
        (len({region.name for region in scenario.regions}) != len(scenario.regions), "names of regions must differ"),
        (
            scenario.gpu.shutdown_celsius <= scenario.gpu.slowdown_celsius,
            "gpu.shutdown_celsius must be above gpu.slowdown_celsius",
        ),
        (
            not scenario.gpu.idle_watts < scenario.gpu.busy_watts <= scenario.gpu.limit_watts,
            "gpu must have idle_watts < busy_watts <= limit_watts",
        ),
    ]
    names = {region.name: region.pools[0].max_nodes for region in scenario.regions}
    for number, event in enumerate(scenario.events):
        problems += [
            (event.region is not None and event.region not in names, f"events[{number}].region: no such region"),
            (
                bool(event.nodes) and (event.region is None or max(event.nodes) >= names.get(event.region, 0)),
                f"events[{number}].nodes: name a region and slots below its first pool's max_nodes",
            ),
            (
                event.kind in (EventKind.FAILED_FAN, EventKind.HOT_AISLE) and not event.nodes,
                f"events[{number}].nodes: say which nodes",
            ),
            (
                event.kind is EventKind.COOLING_FAILURE and event.extent > 1.0,
                f"events[{number}].extent: a share of the cooling, at most 1",
            ),
        ]
    pools = [pool for region in scenario.regions for pool in region.pools]
    problems.append((len({pool.name for pool in pools}) != len(pools), "names of pools must differ"))
    for pool in pools:
        problems += [
            (
                not pool.min_nodes <= pool.nodes <= pool.max_nodes,
                f"pool {pool.name}: min_nodes <= nodes <= max_nodes must hold",
            ),
            (
                pool.lead_time_p95_seconds < pool.lead_time_p50_seconds,
                f"pool {pool.name}: lead_time_p95_seconds must not be below lead_time_p50_seconds",
            ),
        ]
    for broken, text in problems:
        if broken:
            raise UsageError(f"{place}: {text}")
