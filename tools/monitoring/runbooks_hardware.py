"""Runbooks of the alerts on hardware. Pure."""

from __future__ import annotations

from tools.monitoring import orders
from tools.monitoring.runbook import Runbook, Step
from tools.monitoring.thresholds import (
    BRAKE_SHARE,
    COMMON_CAUSE_NODES,
    COMMON_CAUSE_SHARE,
    HEAT_SHARE,
    MARGIN_LOW,
    RUNG_BUYS_TIME,
    SLOWDOWN_SOON,
    XID_MEMORY,
)

_COMMON = (COMMON_CAUSE_NODES, COMMON_CAUSE_SHARE)
_DRAIN = "kubectl cordon NODE && kubectl drain NODE --ignore-daemonsets --delete-emptydir-data --timeout=10m"
_OUTLIER = (
    "One GPU or one node never makes the controller limit users. The local guard of the pod on that GPU bounds its "
    "work "
    "within seconds, and the gateway sends work elsewhere."
)
_FACILITY = (
    "Facility or the provider's support, with region, racks or node names, the time at which it began, and the margin "
    "of "
    "the whole pool over that time."
)
_VENDOR = "The hardware vendor or the provider, with node, GPU UUID, the XIDs and the output of `nvidia-bug-report.sh`."

HARDWARE_RUNBOOKS: tuple[Runbook, ...] = (
    Runbook(
        alert="GPUThermalMarginLow",
        meaning=(
            "A GPU has been within a few degrees of its own first thermal intervention for two minutes. The margin is "
            "counted to what the device itself uses, not to a temperature for all cards."
        ),
        impact="None yet. At 0 °C the GPU lowers its clocks and its requests slow down.",
        controller=(
            "Where two or more nodes of a pool are hot, the region's rung rises by itself. "
            "For one hot GPU only the local guard acts."
        ),
        real=(
            "Compare it with its neighbours: one GPU is a fan, paste or a blocked slot; all GPUs of a node are its "
            "fans; "
            "a whole pool is the room or the load. A margin that jumps by tens of degrees between two readings is a "
            "sensor: then `meltguard_exporter_rejected_samples_total` rises."
        ),
        look="bottomk(10, gpu:meltguard_gpu_thermal_margin_celsius:min)",
        blast="The margin of each pool at its hottest GPU, tenth and half of its GPUs:",
        blast_query='{__name__=~"pool:meltguard_gpu_thermal_margin_celsius:(min|p10|p50)"}',
        steps=(
            Step(
                text="See whether the room warms up: compare the estimated inlet temperature with yesterday's.",
                command='promtool query instant "$PROMETHEUS" '
                "'pool:meltguard_gpu_inlet_temperature_estimate_celsius:p95 "
                "- pool:meltguard_gpu_inlet_temperature_estimate_celsius:p95 offset 1d'",
            ),
            Step(text="One GPU or node: drain it and have its fans and air path looked at.", command=_DRAIN),
            Step(text="A pool: see what the controller decided last, and why.", command=orders.EXPLAIN),
            Step(
                text="It does not act though it should: set a rung by hand, for a limited time and with a reason.",
                command=orders.limit(4, "margin is low"),
            ),
        ),
        verify="The margin stays above the threshold for ten minutes:",
        verify_query="min_over_time(gpu:meltguard_gpu_thermal_margin_celsius:min[10m])",
        escalation=_FACILITY,
        thresholds=(MARGIN_LOW,),
    ),
    Runbook(
        alert="GPUThermalSlowdownActive",
        meaning=(
            "GPUs lower their clocks because they are too hot. As a ticket it is one GPU; as a page several nodes of a "
            "pool do so at once."
        ),
        impact="Images take longer on these GPUs; queues behind them grow. Above shutdown temperature they switch off.",
        controller=(
            f"{_OUTLIER} For a pool it has climbed the ladder as far as its limits allow; if you were paged, that was "
            "not enough or did not take effect."
        ),
        real=(
            "The exporter reads the hardware's own counters of slowed time, so this is a fact, not a forecast. "
            "`sw_power_cap` is not counted: a power cap is normal at full load."
        ),
        look='max by (node, gpu, reason) (gpu:meltguard_gpu_throttled:ratio_rate5m{reason=~"sw_thermal|hw_thermal"}) > '
        "0",
        blast="Share of each pool's GPUs that are slowed down now:",
        blast_query="pool:meltguard_gpu_throttled_by_heat:ratio",
        steps=(
            Step(
                text="Is cooling in trouble? Ask the facility while you go on; look at the inlet estimate.",
                command='promtool query instant "$PROMETHEUS" '
                "'pool:meltguard_gpu_inlet_temperature_estimate_celsius:p95'",
            ),
            Step(
                text="Do the limits reach the pods? Compare the revision of the flags that they work with.",
                command='promtool query instant "$PROMETHEUS" \'count_values by (region) ("revision", '
                "meltguard_flags_revision)'",
            ),
            Step(text="One GPU or node: drain it.", command=_DRAIN),
            Step(
                text="A pool, and the rung does not rise: raise it by hand.", command=orders.limit(5, "GPUs slow down")
            ),
            Step(
                text="Rung 6 is in force and it still burns: approve rung 7. An approval expires by itself.",
                command=orders.approve(),
            ),
        ),
        verify="Nothing is slowed down any more:",
        verify_query="pool:meltguard_gpu_throttled_by_heat:ratio == 0",
        escalation=_FACILITY,
        thresholds=(HEAT_SHARE, *_COMMON),
    ),
    Runbook(
        alert="GPUThermalSlowdownPredicted",
        meaning=(
            "At its present power a GPU reaches its first thermal intervention within minutes, by the cautious "
            "estimate "
            "of its thermal model, and its region's rung does not answer heat."
        ),
        impact="None yet; in minutes its requests slow down.",
        controller="It is on rung 0 or 1 in that region. " + _OUTLIER,
        real=(
            "A GPU whose model still rests on the fleet's prior predicts wider; `fitted` is its own. One GPU alone is "
            "an "
            "outlier; several of one pool should have raised the rung within two minutes."
        ),
        look="meltguard_gpu_thermal_model_confidence == 1 and on (uuid) meltguard_gpu_seconds_to_slowdown < 300",
        blast="The nearest slowdown of each pool, in seconds:",
        blast_query="pool:meltguard_gpu_seconds_to_slowdown:min",
        steps=(
            Step(
                text="Ask the controller why it does not act; its last decisions name the inputs and their ages.",
                command="kubectl describe surge -n meltguard-system",
            ),
            Step(
                text="Are its inputs fresh?",
                command='promtool query instant "$PROMETHEUS" \'max by (input) '
                "(meltguard_controller_input_age_seconds)'",
            ),
            Step(text="One GPU or node: drain it before it slows down.", command=_DRAIN),
            Step(text="A pool: set a rung by hand, for a limited time.", command=orders.limit(4, "slowdown is near")),
        ),
        verify="No GPU is within the time, or the rung answers:",
        verify_query="min by (region) (meltguard_gpu_seconds_to_slowdown)",
        escalation="The team that runs meltguard, with the decision id of the last pass (`meltguard explain "
        "DECISION_ID`).",
        thresholds=(SLOWDOWN_SOON, RUNG_BUYS_TIME),
    ),
    Runbook(
        alert="GPUPowerBrakeActive",
        meaning="An external signal, from a power supply or the rack, holds the clocks down. It is not the power cap.",
        impact="The GPUs run at a fraction of their speed for as long as the signal stands; a reboot does not clear "
        "it.",
        controller=(
            "The planner sees less throughput and orders nodes elsewhere if the forecast needs them. Limits do not "
            "help "
            "against a brake."
        ),
        real=(
            "The hardware counts the braked time. All GPUs of a node are its power supplies; the same position of a "
            "rack "
            "is its feed. Tests of supplies are shorter than the alert's hold."
        ),
        look='max by (node, gpu) (gpu:meltguard_gpu_throttled:ratio_rate5m{reason="hw_power_brake"}) > 0',
        blast="Nodes of each pool with a braked GPU:",
        blast_query=(
            "count by (region, pool) (group by (region, pool, node) "
            '(gpu:meltguard_gpu_throttled:ratio_rate5m{reason="hw_power_brake"} > 0.5))'
        ),
        steps=(
            Step(
                text="Read the node's supplies.", command="ipmitool -H BMC_ADDRESS -U USER -a sdr type 'Power Supply'"
            ),
            Step(text="Call the facility; do not reboot.", command=""),
            Step(text="One node: drain it, so that work goes where power is.", command=_DRAIN),
            Step(
                text="A rack: keep scale-in of the other pools back until it is over.",
                command=orders.pause("gpool/POOL", "scaleIn"),
            ),
        ),
        verify="No GPU is braked:",
        verify_query='max by (node) (gpu:meltguard_gpu_throttled:ratio_rate5m{reason="hw_power_brake"}) < 0.05',
        escalation=_FACILITY,
        thresholds=(BRAKE_SHARE, *_COMMON),
    ),
    Runbook(
        alert="GPUHardwareXid",
        meaning=(
            "The driver reported an XID of the hardware class: memory, bus, NVLink or firmware. XIDs of applications "
            "(13, "
            "31, 43, 45, 68, 69) never fire this."
        ),
        impact="The work on that GPU was ended or will be. 79 and 119 take the GPU away; 63 only asks for a reset.",
        controller=_OUTLIER,
        real=(
            "48, 64, 79, 95, 119, 120: the GPU is out. 63, 92, 94: it works on, reset it today. 74 alone may be a peer "
            "or "
            "a cable: look at both ends. Several nodes at once are a driver, firmware or power, not broken GPUs."
        ),
        look='sum by (node, gpu, xid) (increase(meltguard_gpu_xid_errors_total{class="hardware"}[1h])) > 0',
        blast="Nodes of each pool with such an XID in half an hour:",
        blast_query=(
            "count by (region, pool) (group by (region, pool, node) "
            '(time() - meltguard_gpu_xid_last_timestamp_seconds{class="hardware"} < 1800))'
        ),
        steps=(
            Step(
                text="Read what the kernel says.",
                command="kubectl debug node/NODE -it --image=busybox -- chroot /host dmesg -T | grep -i xid | tail -20",
            ),
            Step(text="Take the node out.", command=_DRAIN),
            Step(text="Reset the GPU while nothing uses it.", command="nvidia-smi --gpu-reset -i GPU_INDEX"),
            Step(text="It comes again: diagnose, and open a case.", command="dcgmi diag -r 3"),
            Step(text="Back in service.", command="kubectl uncordon NODE"),
        ),
        verify="The counter stands still, and the GPU answers:",
        verify_query='sum by (node, gpu) (increase(meltguard_gpu_xid_errors_total{class="hardware"}[30m]))',
        escalation=_VENDOR,
        thresholds=(XID_MEMORY, *_COMMON),
    ),
    Runbook(
        alert="GPUUncorrectableMemoryError",
        meaning="GPU memory had an error that ECC could not correct, or a row that failed could not be replaced.",
        impact=(
            "The driver ended the work that met the error; nothing wrong was delivered. A failed row remap means that "
            "the "
            "next error of that row will end work again."
        ),
        controller=_OUTLIER,
        real=(
            "Corrected errors never fire this. A pending remap is normal after one error and needs a reset; a failed "
            "remap "
            "needs another board."
        ),
        look='{__name__=~"meltguard_gpu_row_remap_(failed|pending)"} == 1',
        blast="Uncorrected errors of the last day by node and GPU:",
        blast_query='sum by (node, gpu) (increase(meltguard_gpu_ecc_errors_total{kind="uncorrected"}[1d])) > 0',
        steps=(
            Step(text="Look at the rows.", command="nvidia-smi -q -d ROW_REMAPPER,ECC -i GPU_INDEX"),
            Step(text="Take the node out.", command=_DRAIN),
            Step(
                text="A remap is pending: reset the GPU, which carries it out.",
                command="nvidia-smi --gpu-reset -i GPU_INDEX",
            ),
            Step(text="A remap failed: replace the board; leave the node cordoned.", command=""),
        ),
        verify="No remap is failed or pending:",
        verify_query='sum by (node, gpu) ({__name__=~"meltguard_gpu_row_remap_(failed|pending)"})',
        escalation=_VENDOR,
    ),
    Runbook(
        alert="GPUMissing",
        meaning="A GPU that the exporter has seen no longer answers: lost, in need of a reset, or not listed any more.",
        impact="Its capacity is gone. Pods on it fail; on the node's other GPUs work goes on.",
        controller="It counts nodes that serve. If the forecast needs the capacity, it orders a node.",
        real=(
            "The exporter lists every GPU it ever saw, so a fresh exporter on a node with a dead GPU knows only the "
            "others: compare with the pool's number of GPUs a node. A GPU that hangs is GPUTelemetryStale."
        ),
        look="meltguard_gpu_up == 0",
        blast="GPUs that answer in each pool, of those that are known:",
        blast_query="pool:meltguard_gpus_up:sum / on (cluster, region, pool) pool:meltguard_gpus:count",
        steps=(
            Step(
                text="Why did it go? XID 79 means that it fell off the bus.",
                command="kubectl debug node/NODE -it --image=busybox -- chroot /host dmesg -T | grep -iE 'xid|nvrm' | "
                "tail",
            ),
            Step(text="Take the node out.", command=_DRAIN),
            Step(
                text="A reset is asked for: reset. Off the bus: switch the node off and on, a reboot is not enough.",
                command="nvidia-smi --gpu-reset -i GPU_INDEX",
            ),
            Step(text="Several nodes: stop the roll-out of driver or firmware that is under way.", command=""),
        ),
        verify="Every GPU answers:",
        verify_query="count(meltguard_gpu_up == 0) or vector(0)",
        escalation=_VENDOR,
        thresholds=_COMMON,
    ),
)
