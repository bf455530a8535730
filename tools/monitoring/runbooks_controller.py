"""Runbooks of the alerts on the controller and its pools. Pure."""

from __future__ import annotations

from tools.monitoring import orders
from tools.monitoring.runbook import Runbook, Step
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

_OWNERS = "The team that runs meltguard, with the operator's log and the id of the last decision."
_LOG = "kubectl -n meltguard-system logs deploy/meltguard-operator --since=15m | tail -100"
_EXPIRE = (
    "Nothing new is decided. Limits in force expire in stages, each rung to the next milder one; the local guards in "
    "the "
    "pods go on and keep each GPU below its limit."
)

CONTROLLER_RUNBOOKS: tuple[Runbook, ...] = (
    Runbook(
        alert="MitigationActive",
        meaning="A region is on a rung that moves or limits work. It notifies nobody and stands beside other alerts.",
        impact="Rung 3 defers batch work; 4 lowers free quotas; 5 sheds; 6 closes the free tier in the region.",
        controller="All of it. Every limit carries its reason, its decision and its end.",
        real="The rung is the controller's own word. What pods apply is their flag revision.",
        look="region:meltguard_controller_rung:max",
        blast="Requests refused by limits, by tier:",
        blast_query=(
            "sum by (region, tier, outcome) (rate(meltguard_inference_requests_received_total"
            '{outcome=~"quota|shed|region_disabled"}[5m]))'
        ),
        steps=(
            Step(
                text="Why? The decision names inputs, constraints and the rejected alternatives.",
                command=orders.EXPLAIN,
            ),
            Step(
                text="It is wrong: lift the rung by hand, for a limited time and with a reason.",
                command=orders.lift("not needed"),
            ),
        ),
        verify="The rung is below 3 everywhere:",
        verify_query="max(region:meltguard_controller_rung:max)",
        escalation="Nobody: it only informs.",
        thresholds=(RUNG_USERS_NOTICE,),
    ),
    Runbook(
        alert="MitigationLadderExhausted",
        meaning="The last rung without an approval is in force in a region, and a tenth of a pool is still hot.",
        impact="GPUs will slow themselves down or already do. What is left costs paying users something.",
        controller="Everything that it may do alone: nodes, moving load, quotas, shedding, closing the free tier.",
        real=(
            "If the load fell and heat did not, the room is the cause, and limits will not help. If the load did not "
            "fall, "
            "limits do not reach the pods."
        ),
        look="pool:meltguard_gpu_power_watts:sum / pool:meltguard_gpu_power_limit_watts:sum",
        blast="Margin of each pool at a tenth of its GPUs, and the share that slows down:",
        blast_query=(
            "pool:meltguard_gpu_thermal_margin_celsius:p10 and on (cluster, region, pool) "
            "pool:meltguard_gpu_throttled_by_heat:ratio >= 0"
        ),
        steps=(
            Step(
                text="Does the work fall? If not, see InferenceFlagsLagging and ActuationFailing.",
                command="promtool query instant \"$PROMETHEUS\" 'avg by (region) (meltguard_gpu_utilization_ratio)'",
            ),
            Step(text="Call the facility: cooling of the region."),
            Step(
                text="Approve rung 7, which touches paying users and drains the hottest nodes; it expires by itself.",
                command=orders.approve(),
            ),
            Step(
                text="Or drain the hottest nodes yourself.",
                command="kubectl drain NODE --ignore-daemonsets --delete-emptydir-data --timeout=10m",
            ),
            Step(
                text="Last resort on a node: a lower power limit, which you must take back later.",
                command="nvidia-smi -i GPU_INDEX -pl WATTS",
            ),
        ),
        verify="The margin of a tenth of every pool is back above the threshold:",
        verify_query="min by (region) (pool:meltguard_gpu_thermal_margin_celsius:p10)",
        escalation="Facility at once; the incident lead for the decision on paying users.",
        thresholds=(RUNG_LAST_AUTOMATIC, MARGIN_LOW),
    ),
    Runbook(
        alert="MitigationBreakerOpen",
        meaning="A region went up the ladder so often within ten minutes that its breaker opened.",
        impact="If heat or demand rises further, nothing stops it there. Users are limited as they were.",
        controller="It holds: no step up in this region by itself. Restores go on, the other regions too.",
        real="Many steps up in a short time are noise in a sensor, limits that do not take effect, or a person.",
        look="region:meltguard_controller_rung_crossings:changes1h",
        blast="Which regions no longer escalate:",
        blast_query="max by (region) (meltguard_controller_breaker_open) == 1",
        steps=(
            Step(text="Why did it go up so often? Read the last decision's reasons.", command=orders.EXPLAIN),
            Step(text="Do limits reach the pods? If not, see InferenceFlagsLagging and ActuationFailing."),
            Step(text="It is hot meanwhile: set a rung by hand.", command=orders.limit(5, "the breaker is open")),
            Step(text="The cause is found: let the region escalate by itself again.", command=orders.close_breaker()),
        ),
        verify="No breaker is open:",
        verify_query="max(meltguard_controller_breaker_open)",
        escalation=_OWNERS,
    ),
    Runbook(
        alert="MitigationFlapping",
        meaning="A region enters and leaves one rung again and again.",
        impact="Users meet limits that come and go, which is worse than a limit that stays.",
        controller="The flap budget holds restores back. It never holds back an escalation.",
        real="One surge crosses every rung twice. More is noise in a sensor, a margin target too close, or a person.",
        look="region:meltguard_controller_rung_crossings:changes1h",
        blast="How often each region's rung changed in an hour:",
        blast_query="changes(region:meltguard_controller_rung:max[1h])",
        steps=(
            Step(
                text="What do the decisions say? Compare the reasons of entering and leaving.",
                command=orders.EXPLAIN,
            ),
            Step(text="Hold the rung by hand until the cause is found.", command=orders.limit(4, "it flaps")),
            Step(
                text="Widen the distance between `enter` and `exit`, or the dwell, in the policy.",
                command="kubectl -n meltguard-system edit surge POLICY",
            ),
        ),
        verify="No rung is crossed more than twice within an hour:",
        verify_query="max(region:meltguard_controller_rung_crossings:changes1h)",
        escalation=_OWNERS,
        thresholds=(FLAPS_PER_HOUR,),
    ),
    Runbook(
        alert="ActuationFailing",
        meaning="Most actions of one kind (nodes or flags) fail, so decisions have no effect.",
        impact="Capacity does not come, or limits do not. The fleet is as if no controller were there.",
        controller="It repeats the action every pass and chooses other pools where it can. A stock-out is not counted.",
        real="A conflict with another writer heals within a pass. Rejections and time-outs do not.",
        look="sum by (kind, result) (increase(meltguard_controller_actions_total[10m])) > 0",
        blast="Share of failed actions by kind:",
        blast_query="kind:meltguard_controller_actions_failed:ratio_rate10m",
        steps=(
            Step(text="What does the API answer?", command=_LOG),
            Step(
                text="Do the operator's permissions still stand?",
                command="kubectl auth can-i --list --as=system:serviceaccount:meltguard-system:meltguard-operator",
            ),
            Step(text="Quota of the cloud is used up: raise it, or the pool's maximum elsewhere.", command=""),
            Step(
                text="Nodes are wanted now: scale the pool by hand; the controller takes it over.",
                command="kubectl -n meltguard-system get gpool POOL -o jsonpath='{.spec.target}'",
            ),
        ),
        verify="Actions succeed:",
        verify_query='sum by (kind) (increase(meltguard_controller_actions_total{result="done"}[10m]))',
        escalation=_OWNERS,
        thresholds=(ACTIONS_FAILED, ACTIONS_MIN),
    ),
    Runbook(
        alert="ControllerNoLeader",
        meaning="Not exactly one replica of the operator leads: none, two, or no replica is seen.",
        impact="No node is ordered and no limit is set. With two leaders, the fence lets only the newer one write.",
        controller=_EXPIRE,
        real="A failover is shorter than the hold. If no replica is seen, Prometheus may only have lost its target.",
        look='up{job="meltguard-operator"}',
        blast="What is in force, as the last leader left it:",
        blast_query="region:meltguard_controller_rung:max",
        steps=(
            Step(
                text="Do the replicas run?",
                command="kubectl -n meltguard-system get pods -l app.kubernetes.io/name=meltguard-operator -o wide",
            ),
            Step(text="Who holds the lease, and since when?", command="kubectl -n meltguard-system get lease -o wide"),
            Step(
                text="They crash: read why, and take the last release back.",
                command="kubectl -n meltguard-system rollout undo deployment/meltguard-operator",
            ),
            Step(
                text="The API server refuses them: check it, and the operator's permissions.",
                command=orders.DOCTOR,
            ),
        ),
        verify="Exactly one leads:",
        verify_query="sum(meltguard_controller_leader)",
        escalation=_OWNERS,
    ),
    Runbook(
        alert="ControllerReconcileStalled",
        meaning="No pass has finished for two minutes, though a leader may hold the lease.",
        impact="Decisions are frozen at the last pass.",
        controller=_EXPIRE,
        real="Every pass is bounded in time; a stall is a bug, a starved process, or an API that never answers.",
        look="time() - max by (instance) (meltguard_controller_last_pass_timestamp_seconds)",
        blast="Slowest step of the last passes, in seconds:",
        blast_query=(
            "histogram_quantile(0.99, sum by (step, le) (rate(meltguard_controller_pass_duration_seconds_bucket[10m])))"
        ),
        steps=(
            Step(text="Where does it stand?", command=_LOG),
            Step(
                text="Is it starved of CPU or memory?",
                command="kubectl -n meltguard-system top pods -l app.kubernetes.io/name=meltguard-operator",
            ),
            Step(
                text="End the leader; the other replica takes over within the lease.",
                command="kubectl -n meltguard-system delete pod LEADER",
            ),
        ),
        verify="The last pass is seconds old:",
        verify_query="time() - max(meltguard_controller_last_pass_timestamp_seconds)",
        escalation=_OWNERS,
        thresholds=(PASS_AGE,),
    ),
    Runbook(
        alert="ControllerInputStale",
        meaning="One of the controller's inputs is old: a query of Prometheus fails or returns nothing.",
        impact="It may still limit, but lifts nothing and gives no nodes back until the input is fresh.",
        controller="It renews limits until their longest duration, then lets them expire in stages.",
        real="The label `input` names it. An empty answer counts as old: no data is never read as zero.",
        look="max by (input) (meltguard_controller_input_age_seconds)",
        blast="Do the rules that it reads still record?",
        blast_query="meltguard_rules:loaded:info",
        steps=(
            Step(text="Does Prometheus answer, and with what the operator needs?", command=orders.DOCTOR),
            Step(
                text="Run the input's query by hand; the policy holds it.",
                command="kubectl -n meltguard-system get surge POLICY -o jsonpath='{.spec.signals}'",
            ),
        ),
        verify="Every input is fresh:",
        verify_query="max(meltguard_controller_input_age_seconds)",
        escalation=_OWNERS,
        thresholds=(INPUT_AGE,),
    ),
    Runbook(
        alert="NodePoolAtMax",
        meaning="A pool is as large as it may be, and requests of its region wait.",
        impact="More demand means longer waits and stricter limits.",
        controller="It uses other pools and regions with headroom, and limits the lowest tiers.",
        real="If serving nodes are fewer than desired ones, the maximum is not the problem: see "
        "NodePoolProvisioningStuck.",
        look="meltguard_pool_nodes",
        blast="Estimated wait by region, in seconds:",
        blast_query="max by (region) (meltguard_inference_estimated_wait_seconds)",
        steps=(
            Step(text="Which bound holds, and what would change the decision?", command=orders.EXPLAIN),
            Step(
                text="Raise the maximum, if quota and budget allow.",
                command='kubectl -n meltguard-system patch gpool POOL --type=merge -p \'{"spec": {"maxNodes": '
                "NUMBER}}'",
            ),
        ),
        verify="The wait is short, or a node may be added:",
        verify_query="max by (region) (meltguard_inference_estimated_wait_seconds)",
        escalation="Capacity planning, within the day.",
        thresholds=(WAIT_NOTICED,),
    ),
    Runbook(
        alert="NodePoolProvisioningStuck",
        meaning="Nodes were asked for and none has begun to serve for a long time.",
        impact="The plan counts on capacity that does not come; limits take its place.",
        controller="It tells stock-out, quota and time-out apart, counts less on the pool, and tries others.",
        real="Nodes that come one after the other keep this quiet, however slowly.",
        look="pool:meltguard_pool_nodes_waited_for:count",
        blast="Where in their life do the nodes stand?",
        blast_query="max by (pool, state) (meltguard_pool_nodes)",
        steps=(
            Step(text="What stands in the pool's way?", command="kubectl -n meltguard-system describe gpool POOL"),
            Step(text="Desired above created: stock-out or quota of the cloud. Ask for another zone or type."),
            Step(
                text="Created above ready: driver or device plugin.",
                command="kubectl get nodes -l meltguard.dev/pool=POOL; kubectl -n gpu-operator get pods -o wide | grep "
                "-v Running",
            ),
            Step(
                text="Ready above serving: image pull or model load.",
                command="kubectl -n meltguard-system get events --sort-by=.lastTimestamp | tail -20",
            ),
        ),
        verify="Nobody waits for nodes:",
        verify_query="max by (pool) (pool:meltguard_pool_nodes_waited_for:count)",
        escalation="The provider, with pool, zone and the error of the last request.",
    ),
)
