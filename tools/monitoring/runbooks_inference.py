"""Runbooks of the alerts on the inference pods. Pure."""

from __future__ import annotations

from tools.monitoring import orders
from tools.monitoring.runbook import Runbook, Step
from tools.monitoring.thresholds import QUOTA_SHARE, TRAFFIC_FLOOR, WAIT_LONG

_SERVING = "The team that serves the model, with region, pods and the time at which it began."
_PODS = "kubectl -n meltguard-system get pods -l app.kubernetes.io/name=meltguard-inference -o wide"
_BURN = (
    "The labels `long` and `short` say how urgent it is: 1h and 5m spend 2 % of the month's budget in an hour, 6h and "
    "30m "
    "5 % in six hours; 1d and 3d are tickets."
)

INFERENCE_RUNBOOKS: tuple[Runbook, ...] = (
    Runbook(
        alert="InferenceQueueSaturated",
        meaning="New requests at a pool wait longer than a third of what users are patient for.",
        impact="Users give up, and what was begun for them is wasted.",
        controller="It orders nodes, moves load, and sheds the lowest tiers when the forecast says that it will not "
        "drain.",
        real="A local guard that holds slots back makes waits without a lack of nodes: look at its ratio.",
        look="min by (pool) (meltguard_inference_thermal_guard_ratio)",
        blast="Waiting requests and their oldest, by pool:",
        blast_query="max by (region, pool) (meltguard_inference_queue_oldest_age_seconds)",
        steps=(
            Step(text="Are pods missing?", command=_PODS),
            Step(text="Does the controller see it?", command=orders.EXPLAIN),
            Step(text="It does, and nodes are late: see NodePoolProvisioningStuck and NodePoolAtMax."),
            Step(text="Shed by hand, for a limited time.", command=orders.limit(5, "the queue is full")),
        ),
        verify="The wait is short again:",
        verify_query="max by (pool) (meltguard_inference_estimated_wait_seconds)",
        escalation=_SERVING,
        thresholds=(WAIT_LONG,),
    ),
    Runbook(
        alert="InferenceTTFTBudgetBurn",
        meaning="Too many admitted requests wait longer than 2.5 s for their first token. " + _BURN,
        impact="Users see nothing happen.",
        controller=(
            "It acts on waits and heat, not on this budget. From rung 3 on the two pages are silent, because the cause "
            "is known and worked on; the tickets come all the same."
        ),
        real="Below a traffic floor the two pages are silent. A single slow pod is the pod, not the region.",
        look=(
            "histogram_quantile(0.99, sum by (instance, le) "
            "(rate(meltguard_inference_time_to_first_token_seconds_bucket[5m])))"
        ),
        blast="Share of slow requests in five minutes and an hour, by region:",
        blast_query='{__name__=~"region:meltguard_inference_first_token_slow:ratio_rate(5m|1h)"}',
        steps=(
            Step(
                text="Is it the wait or the model? A long queue is InferenceQueueSaturated.",
                command='promtool query instant "$PROMETHEUS" \'max by (region) '
                "(meltguard_inference_estimated_wait_seconds)'",
            ),
            Step(
                text="Are GPUs slowed down?",
                command="promtool query instant \"$PROMETHEUS\" 'pool:meltguard_gpu_throttled_by_heat:ratio'",
            ),
            Step(
                text="A release of the model was rolled out: take it back.",
                command="kubectl -n meltguard-system rollout undo deployment/meltguard-inference",
            ),
            Step(
                text="Demand is too high: shed the lowest tiers by hand.",
                command=orders.limit(5, "first tokens are late"),
            ),
        ),
        verify="The short window is below the limit:",
        verify_query="region:meltguard_inference_first_token_slow:ratio_rate5m",
        escalation=_SERVING,
        thresholds=(TRAFFIC_FLOOR,),
    ),
    Runbook(
        alert="InferenceAvailabilityBudgetBurn",
        meaning="Requests of the protected tier within its quota are refused too often. " + _BURN,
        impact="Paying users get no image.",
        controller="It never limits the protected tier before the free one and not without an approval (rung 7).",
        real=(
            "`contended` is a lack of capacity, `shed` and `region_disabled` are limits that should not reach this "
            "tier: "
            "then look at approvals and flags. Refusals by quota and invalid requests are not counted."
        ),
        look=(
            "sum by (region, outcome) (rate(meltguard_inference_requests_received_total"
            '{tier="paid", attempt="first"}[5m]))'
        ),
        blast="Share of refused requests by region:",
        blast_query="region:meltguard_inference_refused:ratio_rate5m",
        steps=(
            Step(
                text="Was rung 7 approved, and is it still needed?",
                command="kubectl describe surge -n meltguard-system",
            ),
            Step(text="`contended`: are nodes on their way?", command="kubectl -n meltguard-system get gpool -o wide"),
            Step(text="Limit the free tier harder, by hand.", command=orders.limit(6, "paying users are refused")),
            Step(text="Pods are missing or draining.", command=_PODS),
        ),
        verify="The short window is below the limit:",
        verify_query="region:meltguard_inference_refused:ratio_rate5m",
        escalation=_SERVING + " Product, if paying users were refused for more than an hour.",
        thresholds=(TRAFFIC_FLOOR,),
    ),
    Runbook(
        alert="InferenceQuotaRejectionsHigh",
        meaning="One in five first attempts of a tier is refused by its quota. It notifies nobody.",
        impact="Users of that tier are told their quota and when it ends.",
        controller="On rung 4 it lowers the free quota step by step; below, the quota is the policy's own.",
        real="Retries are not counted, so one impatient client does not make it.",
        look=(
            'sum by (region, tier, attempt) (rate(meltguard_inference_requests_received_total{outcome="quota"}[10m]))'
        ),
        blast="Images left over the tier's users:",
        blast_query="min by (tier) (meltguard_inference_quota_remaining)",
        steps=(
            Step(
                text="Is it the ladder? Rung 4 and above say yes.",
                command="promtool query instant \"$PROMETHEUS\" 'region:meltguard_controller_rung:max'",
            ),
            Step(text="It is not: the normal quota is too low for the use; product decides."),
        ),
        verify="The share falls:",
        verify_query=(
            "sum by (region, tier) (rate(meltguard_inference_requests_received_total"
            '{attempt="first", outcome="quota"}[10m]))'
        ),
        escalation="Product and support, within the week.",
        thresholds=(QUOTA_SHARE,),
    ),
    Runbook(
        alert="InferenceFlagsLagging",
        meaning="A pod works with flags older than its region's newest: it does not receive them.",
        impact="Limits do not reach its users, and restores neither. Its limits end by their own time to live.",
        controller="It reads the revision back as an acknowledgement and counts on no effect that it does not see.",
        real="A pod that starts catches up within seconds. All pods of a region behind another region's is no lag.",
        look="min by (region, instance) (meltguard_flags_revision)",
        blast="How many pods work with which revision?",
        blast_query='count_values by (region) ("revision", meltguard_flags_revision)',
        steps=(
            Step(
                text="How old are its flags, and what does it say of its source?",
                command="kubectl -n meltguard-system logs POD --since=10m | grep -i flag",
            ),
            Step(
                text="Can it reach the operator's sync port?",
                command="kubectl -n meltguard-system get endpoints meltguard-operator",
            ),
            Step(text="Replace the pod; it drains first.", command="kubectl -n meltguard-system delete pod POD"),
        ),
        verify="All pods of a region work with one revision:",
        verify_query="max by (region) (meltguard_flags_revision) - min by (region) (meltguard_flags_revision)",
        escalation=_SERVING,
    ),
)
