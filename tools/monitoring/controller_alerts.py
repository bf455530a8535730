"""Alerts on the controller: it is gone, it hangs, its actions fail, or it has nothing left to do. Pure."""

from __future__ import annotations

from tools.monitoring.model import Alert, Board, Component, Severity
from tools.monitoring.recordings import (
    ACTIONS_FAILED_RATIO,
    CROSSINGS,
    OPERATOR_JOB,
    POOL,
    POOL_MARGIN,
    REGION,
    RUNG,
    bridged,
    of_leader,
)
from tools.monitoring.thresholds import (
    ACTIONS_FAILED,
    ACTIONS_MIN,
    FLAPS_PER_HOUR,
    INPUT_AGE,
    MARGIN_LOW,
    PASS_AGE,
    RUNG_LAST_AUTOMATIC,
    RUNG_USERS_NOTICE,
    WAIT_NOTICED,
)
from tools.monitoring.wording import CONTROLLER_IN_FLEET, CONTROLLER_IN_REGION

_EXPIRE = (
    "Limits in force expire in stages by themselves, from one rung to the next milder one; nothing new is decided. "
    "The local guards of the pods go on."
)

_DESIRED = of_leader(bridged('meltguard_pool_nodes{state="desired"}'))
_LIMIT = of_leader(bridged('meltguard_pool_nodes_limit{bound="max"}'))
_INPUT = of_leader(bridged("meltguard_controller_input_age_seconds"))
_WAIT = bridged("meltguard_inference_estimated_wait_seconds")
_MOVED = of_leader('changes(meltguard_pool_nodes{state="serving"}[15m])')

CONTROLLER_ALERTS: tuple[Alert, ...] = (
    Alert(
        name="MitigationActive",
        severity=Severity.INFO,
        component=Component.CONTROLLER,
        board=Board.THERMAL,
        expr=f"{RUNG} >= {RUNG_USERS_NOTICE}",
        keep="2m",
        summary="Rung {{ $value }} is in force in region {{ $labels.region }}",
        description="Load is moved or limited to keep the region's GPUs below slowdown.",
        controller=CONTROLLER_IN_REGION,
        why="it explains other alerts and notifies nobody",
    ),
    Alert(
        name="MitigationLadderExhausted",
        severity=Severity.CRITICAL,
        component=Component.CONTROLLER,
        board=Board.THERMAL,
        expr=f"{RUNG} >= {RUNG_LAST_AUTOMATIC}\nand on ({REGION}) min by ({REGION}) ({POOL_MARGIN}:p10) < {MARGIN_LOW}",
        hold="3m",
        keep="5m",
        summary="Region {{ $labels.region }} is on rung {{ $value }} and its GPUs are still hot",
        description="The last rung without an approval is in force and a tenth of a pool is within 5 °C of slowdown.",
        controller=CONTROLLER_IN_REGION + " Rung 7 waits for your approval.",
        why="flags take effect within seconds and dies follow within a minute",
    ),
    Alert(
        name="MitigationBreakerOpen",
        severity=Severity.CRITICAL,
        component=Component.CONTROLLER,
        board=Board.THERMAL,
        expr=f"max by ({REGION}) {of_leader('meltguard_controller_breaker_open')} == 1",
        keep="2m",
        summary="Region {{ $labels.region }} no longer protects itself",
        description="It escalated so often within ten minutes that its breaker opened; only a person closes it.",
        controller="It takes no step up there by itself; restores go on. " + CONTROLLER_IN_REGION,
        why="it is open until a person closes it, so nothing is gained by waiting",
    ),
    Alert(
        name="MitigationFlapping",
        severity=Severity.WARNING,
        component=Component.CONTROLLER,
        board=Board.THERMAL,
        expr=f"max by ({REGION}) ({CROSSINGS}) > {FLAPS_PER_HOUR}",
        keep="15m",
        summary="Region {{ $labels.region }} goes back and forth between rungs",
        description="One rung was entered or left {{ $value }} times within an hour.",
        controller="The flap budget holds restores back, never escalations. " + CONTROLLER_IN_REGION,
        why="the hour is in the expression",
    ),
    Alert(
        name="ActuationFailing",
        severity=Severity.CRITICAL,
        component=Component.CONTROLLER,
        board=Board.SCALING,
        expr=f"{ACTIONS_FAILED_RATIO} > {ACTIONS_FAILED}\n"
        "and on (cluster, kind) sum by (cluster, kind)"
        f" (increase(meltguard_controller_actions_total[10m])) >= {ACTIONS_MIN}",
        hold="5m",
        summary="Actions of kind {{ $labels.kind }} fail",
        description="{{ $value | humanizePercentage }} of them failed within 10 minutes: decisions have no effect.",
        controller="It repeats them every pass. " + CONTROLLER_IN_FLEET,
        why="a conflict or a short outage of the API heals within a pass or two",
    ),
    Alert(
        name="ControllerNoLeader",
        severity=Severity.CRITICAL,
        component=Component.CONTROLLER,
        board=Board.SCALING,
        expr="sum by (cluster) (meltguard_controller_leader) != 1\n"
        f'or absent(meltguard_controller_leader{{job="{OPERATOR_JOB}"}})',
        hold="1m",
        summary="The controller does not have exactly one leader",
        description="None leads, two do, or no replica is seen at all.",
        controller=_EXPIRE,
        why="a failover takes lease and retry, well below a minute",
    ),
    Alert(
        name="ControllerReconcileStalled",
        severity=Severity.CRITICAL,
        component=Component.CONTROLLER,
        board=Board.SCALING,
        expr=f"time() - max by (cluster) (meltguard_controller_last_pass_timestamp_seconds) > {PASS_AGE}",
        hold="1m",
        summary="The controller has not finished a pass for {{ $value | humanizeDuration }}",
        description="A leader may hold the lease, but its loop stands.",
        controller=_EXPIRE,
        why="twelve passes were missed already",
    ),
    Alert(
        name="ControllerInputStale",
        severity=Severity.WARNING,
        component=Component.CONTROLLER,
        board=Board.SCALING,
        expr=f"max by (cluster, input) {_INPUT} > {INPUT_AGE}",
        hold="5m",
        summary="The controller's input {{ $labels.input }} is {{ $value | humanizeDuration }} old",
        description="Without it the controller may escalate, but neither restores nor gives nodes back.",
        controller="It keeps renewing limits until their longest duration, then lets them expire. "
        + CONTROLLER_IN_FLEET,
        why="a restart of Prometheus is shorter",
    ),
    Alert(
        name="NodePoolAtMax",
        severity=Severity.WARNING,
        component=Component.CONTROLLER,
        board=Board.SCALING,
        expr=f"max by ({POOL}) {_DESIRED}\n  >= on ({POOL}) max by ({POOL}) {_LIMIT}\n"
        f"and on ({REGION}) max by ({REGION}) ({_WAIT}) > {WAIT_NOTICED}",
        hold="15m",
        keep="5m",
        summary="Pool {{ $labels.pool }} is at its maximum and requests wait",
        description="{{ $value }} nodes are wanted, which is all that it may have.",
        controller=CONTROLLER_IN_REGION,
        why="a person decides on quota and budget; nobody does so within minutes",
    ),
    Alert(
        name="NodePoolProvisioningStuck",
        severity=Severity.WARNING,
        component=Component.CONTROLLER,
        board=Board.SCALING,
        expr=f"pool:meltguard_pool_nodes_waited_for:count > 0\nand on ({POOL}) max by ({POOL}) {_MOVED} == 0",
        hold="15m",
        summary="{{ $value }} nodes of pool {{ $labels.pool }} do not come",
        description="None has begun to serve for 15 minutes, and then 15 more, while some are wanted.",
        controller="It counts on the learned lead time no longer and looks for other pools. " + CONTROLLER_IN_REGION,
        why="slow but moving stays quiet; the slowest lead time of the built-in scenarios is 18 minutes",
    ),
)
