"""Runbooks of the alerts on telemetry, on the demand forecast and on alerting itself. Pure."""

from __future__ import annotations

from tools.monitoring import orders
from tools.monitoring.runbook import Runbook, Step
from tools.monitoring.thresholds import (
    BLIND_SHARE,
    COVERAGE_LOW,
    DELIVERY_ERRORS,
    DELIVERY_FAILURES,
    DEMAND_QUANTILE,
    FORECAST_AGE,
    SNAPSHOT_AGE,
)

_EXPORTERS = "kubectl -n meltguard-nodes get pods -l app.kubernetes.io/name=meltguard-exporter -o wide"
_BLIND = (
    "What it cannot see it takes for unknown: it does not lift limits and gives no nodes back on such data, and it may "
    "still escalate on other evidence."
)
_OWNERS = "The team that runs meltguard, with the exporter's log and the node's kernel log."
_MONITORING = "The team that runs Prometheus and Alertmanager."

TELEMETRY_RUNBOOKS: tuple[Runbook, ...] = (
    Runbook(
        alert="GPUExporterDown",
        meaning=(
            "Prometheus cannot scrape the exporter of a node, or a ready node has no exporter that Prometheus knows of."
        ),
        impact="The node is blind: nobody sees its heat. Its local guard falls back to a stated floor of work.",
        controller=_BLIND,
        real="A node that was given back or reboots leaves within the hold. Several at once are discovery or the "
        "network.",
        look='up{job="meltguard-exporter"} == 0',
        blast="Share of exporters that answer, by pool:",
        blast_query='avg by (region, pool) (up{job="meltguard-exporter"})',
        steps=(
            Step(text="Is the pod there?", command=_EXPORTERS),
            Step(text="It restarts: read why.", command="kubectl -n meltguard-nodes logs POD --previous | tail -50"),
            Step(
                text="It runs: does it answer from inside the cluster?",
                command="kubectl -n meltguard-nodes port-forward POD 9400:9400 & curl -sf localhost:9400/readyz",
            ),
            Step(
                text="It answers, but Prometheus does not know it: compare labels with the PodMonitor.",
                command="kubectl -n meltguard-nodes get podmonitor meltguard-exporter -o yaml",
            ),
        ),
        verify="Every target answers, and there is one for each ready node:",
        verify_query='min by (pool) (up{job="meltguard-exporter"})',
        escalation=_OWNERS,
    ),
    Runbook(
        alert="GPUTelemetryStale",
        meaning="The exporter answers, but what it says of some or all GPUs is old, or cannot be true.",
        impact="Heat on these GPUs is not seen. Everything else of the exporter works.",
        controller=_BLIND,
        real=(
            "`stuck`: a driver call hangs; only that GPU is left out. `stale`: nothing was read in time. "
            "`driver_gone`, "
            "`no_library`, `collector_stuck`: nothing of the node can be read. `implausible`: a sensor talks nonsense."
        ),
        look="meltguard_gpu_up == 0",
        blast="How long driver calls have been hanging:",
        blast_query="max by (node, gpu, call) (meltguard_exporter_call_stuck_seconds) > 0",
        steps=(
            Step(text="What does the exporter say?", command="curl -s http://NODE_ADDRESS:9400/readyz"),
            Step(
                text="Processes in state D hang inside the driver; no signal ends them.",
                command="kubectl debug node/NODE -it --image=busybox -- chroot /host ps -eo pid,stat,wchan,cmd | grep "
                "' D'",
            ),
            Step(text="Only the exporter hangs: replace it.", command="kubectl -n meltguard-nodes delete pod POD"),
            Step(
                text="The driver hangs: drain the node and reboot it.",
                command="kubectl drain NODE --ignore-daemonsets --delete-emptydir-data --timeout=10m",
            ),
        ),
        verify="Every GPU of the node answers and the snapshot is a second old:",
        verify_query="max by (instance) (meltguard_exporter_snapshot_age_seconds)",
        escalation=_OWNERS,
        thresholds=(SNAPSHOT_AGE,),
    ),
    Runbook(
        alert="GPUFleetTelemetryAbsent",
        meaning="No exporter is scraped at all, or fewer than half of a pool's.",
        impact="The controller works blind, and no alert on heat can fire.",
        controller=_BLIND + " Limits are renewed until their longest duration, then they expire in stages.",
        real=(
            "No target at all is discovery: a PodMonitor, its labels, or Prometheus's permission to list pods. Targets "
            "that are down are the network or a bad release of the exporter."
        ),
        look='count by (job) (up{job="meltguard-exporter"})',
        blast="What other jobs does Prometheus still see?",
        blast_query="count by (job) (up == 1)",
        steps=(
            Step(
                text="Does Prometheus see the PodMonitor?",
                command="kubectl get podmonitor -A; kubectl -n meltguard-nodes get podmonitor meltguard-exporter -o "
                "yaml",
            ),
            Step(text="Are the pods there?", command=_EXPORTERS),
            Step(
                text="A release of the exporter was rolled out: take it back.",
                command="kubectl -n meltguard-nodes rollout undo daemonset/meltguard-exporter",
            ),
            Step(
                text="Until it is back, keep what is: no scale-in, no restore.",
                command=orders.pause("surge/POLICY", "all"),
            ),
        ),
        verify="The targets are back:",
        verify_query='sum by (pool) (up{job="meltguard-exporter"})',
        escalation=_MONITORING + " And the team that runs meltguard.",
        thresholds=(BLIND_SHARE,),
    ),
    Runbook(
        alert="DemandSurgeExceedsCapacity",
        meaning=(
            "Within its horizon the demand forecast of a region, at its 90 % quantile, needs more GPUs than the "
            "region's "
            "pools may have. A surge that they can serve never fires this."
        ),
        impact="If it comes true, free users will be limited; paid users only with a person's approval.",
        controller=(
            "It orders nodes up to the maximum, moves load to regions with headroom, and limits the lowest tiers by "
            "the "
            "forecast. It cannot raise a maximum."
        ),
        real=(
            "Look at the forecast's calibration and at the sign-ups behind it: a launch or a campaign is real, a "
            "crawler "
            "is not. Events that were announced belong into the SurgePolicy."
        ),
        look="min by (region, tier) (meltguard_forecast_interval_coverage_ratio)",
        blast="GPUs needed at the 90 % quantile by region, over what the pools may have:",
        blast_query=(
            "max by (cluster, region) (sum by (cluster, region, horizon) "
            '(meltguard_forecast_gpus_needed{q="0.9"})) / on (cluster, region) '
            "(sum by (cluster, region) (pool:meltguard_pool_gpus_max:sum) > 0)"
        ),
        steps=(
            Step(text="What has the controller decided, and what does it cost whom?", command=orders.EXPLAIN),
            Step(
                text="Is there quota and budget for more nodes? Raise the pool's maximum.",
                command='kubectl -n meltguard-system patch gpool POOL --type=merge -p \'{"spec": {"maxNodes": '
                "NUMBER}}'",
            ),
            Step(text="Is there not: tell product and support that free use will be limited, and when.", command=""),
        ),
        verify="The ratio above falls below 1:",
        verify_query=('max by (region) (sum by (region, horizon) (meltguard_forecast_gpus_needed{q="0.9"}))'),
        escalation="Capacity planning and product, with the forecast and the planned limits. Not at night: nothing is "
        "lost yet.",
        thresholds=(DEMAND_QUANTILE,),
    ),
    Runbook(
        alert="ForecastStale",
        meaning="The demand forecast has not succeeded for ten minutes.",
        impact="Nodes are ordered late: on what is measured now instead of what will come.",
        controller="It plans on present demand, holds nodes and does not restore limits on an old forecast.",
        real="Only the leader forecasts; after a failover the time stands still until its first pass.",
        look="time() - max by (instance) (meltguard_forecast_last_success_timestamp_seconds)",
        blast="Age of every input of the controller:",
        blast_query="max by (input) (meltguard_controller_input_age_seconds)",
        steps=(
            Step(
                text="What does the operator say?",
                command="kubectl -n meltguard-system logs deploy/meltguard-operator --since=15m | grep -i forecast",
            ),
            Step(
                text="Do the queries of the policy return data?",
                command=orders.DOCTOR,
            ),
            Step(
                text="Run the forecast by hand on the same query.",
                command="meltguard forecast --prometheus \"$PROMETHEUS\" --signups-query 'QUERY_OF_THE_POLICY'",
            ),
        ),
        verify="The age is below a minute:",
        verify_query="time() - max(meltguard_forecast_last_success_timestamp_seconds)",
        escalation="The team that runs meltguard, with the operator's log.",
        thresholds=(FORECAST_AGE,),
    ),
    Runbook(
        alert="ForecastUncalibrated",
        meaning="The forecast's 90 % interval has held what came far too seldom for an hour.",
        impact="Capacity that is bought by its quantiles is too small, or limits come too late.",
        controller="Intervals widen by themselves as misses are counted; the surge trigger does not depend on them.",
        real="After a jump of the level (a launch, an outage that ends) it recovers within the hour.",
        look="meltguard_forecast_surge_state == 1",
        blast="Coverage by region and tier:",
        blast_query="min by (region, tier) (meltguard_forecast_interval_coverage_ratio)",
        steps=(
            Step(
                text="Backtest the model on your own history against the named baselines.",
                command="meltguard backtest --requests HISTORY.csv:requests --horizon 60m",
            ),
            Step(
                text="Until it holds again, plan with a higher quantile.",
                command='kubectl -n meltguard-system patch surge POLICY --type=merge -p \'{"spec": {"quantile": '
                "0.95}}'",
            ),
        ),
        verify="Coverage is back near 0.9:",
        verify_query="min by (region, tier) (meltguard_forecast_interval_coverage_ratio)",
        escalation="The team that runs meltguard, with the series of the last week as CSV.",
        thresholds=(COVERAGE_LOW,),
    ),
    Runbook(
        alert="AlertDeliveryFailing",
        meaning="Prometheus cannot hand alerts to an Alertmanager, or Alertmanager cannot reach a receiver.",
        impact="Alerts come late or not at all. With one Alertmanager this one, too, may not arrive: trust the "
        "Watchdog.",
        controller="Nothing; it acts without alerts.",
        real="A restart is shorter than the hold. A receiver that answers 429 fails requests and still delivers in the "
        "end.",
        look="sum by (integration) (increase(alertmanager_notification_requests_failed_total[10m]))",
        blast="Alertmanagers that Prometheus knows:",
        blast_query="prometheus_notifications_alertmanagers_discovered",
        steps=(
            Step(
                text="Is Alertmanager up, and what does it say?",
                command="kubectl -n monitoring logs -l app.kubernetes.io/name=alertmanager --tail=50",
            ),
            Step(text="Is its configuration valid?", command="amtool check-config alertmanager.yml"),
            Step(text="A receiver fails: test its key or address by hand, then renew the secret.", command=""),
        ),
        verify="No failure for five minutes:",
        verify_query="sum(increase(alertmanager_notification_requests_failed_total[5m]))",
        escalation=_MONITORING,
        thresholds=(DELIVERY_FAILURES, DELIVERY_ERRORS),
    ),
    Runbook(
        alert="MonitoringRulesMissing",
        meaning="A rule file of meltguard is not loaded, so its alerts cannot fire.",
        impact="Silence that looks like health.",
        controller="Nothing; it does not use these rules to act.",
        real="Each file records `meltguard_rules:loaded:info`; the label `rules` of the alert names the missing file.",
        look="meltguard_rules:loaded:info",
        blast="Rule groups that Prometheus evaluates:",
        blast_query="count by (rule_group) (prometheus_rule_group_last_evaluation_timestamp_seconds)",
        steps=(
            Step(
                text="Are the objects there, with the labels that Prometheus selects?",
                command="kubectl get prometheusrule -A -l app.kubernetes.io/name=meltguard --show-labels",
            ),
            Step(
                text="Was a file refused?",
                command="kubectl -n monitoring logs -l app.kubernetes.io/name=prometheus --tail=100 | grep -i rule",
            ),
            Step(text="Apply them again.", command="kubectl apply -f manifests/monitoring/prometheus-rules.yaml"),
        ),
        verify="Six files are loaded:",
        verify_query="count(meltguard_rules:loaded:info)",
        escalation=_MONITORING,
    ),
    Runbook(
        alert="Watchdog",
        meaning="Nothing is wrong. It always fires, so that whoever receives it can raise the alarm when it stops.",
        impact="None while it fires. When it stops, no alert of this Prometheus reaches anybody.",
        controller="Nothing.",
        real="If your dead man's switch called you, the chain from Prometheus to it is broken somewhere.",
        look='ALERTS{alertname="Watchdog"}',
        blast="Are other alerts firing that nobody heard of?",
        blast_query='count by (alertname, severity) (ALERTS{alertstate="firing"})',
        steps=(
            Step(text="Does Prometheus run?", command='curl -sf "$PROMETHEUS/-/ready"'),
            Step(
                text="Does Alertmanager have it?",
                command='amtool alert query --alertmanager.url="$ALERTMANAGER" alertname=Watchdog',
            ),
            Step(
                text="Does it notify?",
                command='amtool config routes test --alertmanager.url="$ALERTMANAGER" alertname=Watchdog severity=none',
            ),
        ),
        verify="The dead man's switch is fed again; the query returns 1:",
        verify_query='count(ALERTS{alertname="Watchdog", alertstate="firing"})',
        escalation=_MONITORING + " Never silence it: that is the same as switching alerting off.",
    ),
)
