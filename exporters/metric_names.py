"""The one contract of metric names: every family that a part of meltguard publishes is defined here.

The GPU exporter, the forecaster's CLI, the controller and the inference pod import their descriptors from this module;
rules, dashboards and golden tests check against it. It needs the standard library only, so that importing it costs
nothing, and it must not import any other part of the project. Units are base units and stand last in the name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "meltguard_"


class MetricType(StrEnum):
    """Prometheus types that meltguard uses."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric family.

    Attributes:
        name: Full name as the text format shows it; a counter ends in ``_total``.
        type: How to read its samples.
        help: One sentence for the reader of ``/metrics``.
        labels: Label names in the order in which they are written.
        unit: Base unit, the last word of the name (before ``_total``); None for counts, states and info series.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    unit: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that breaks the conventions above.

        Raises:
            ValueError: If the suffix disagrees with the type or the unit.
        """
        # Of vLLM's names, which are not ours to choose, a histogram ends in _total, too.
        is_counter = self.type is MetricType.COUNTER
        if (is_counter or self.name.startswith(PREFIX)) and is_counter != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only counters, end in _total")
        if self.unit is not None and not self.family.endswith("_" + self.unit):
            raise ValueError(f"{self.name}: the unit {self.unit} must be the last word of the name")

    @property
    def family(self) -> str:
        """The OpenMetrics family name: a counter's name without ``_total``."""
        return self.name.removesuffix("_total") if self.type is MetricType.COUNTER else self.name


def _metric(kind: MetricType, name: str, text: str, labels: str, unit: str | None, prefix: str = PREFIX) -> Metric:
    return Metric(name=prefix + name, type=kind, help=text, labels=tuple(labels.split()), unit=unit)


def _gauge(name: str, text: str, labels: str = "", unit: str | None = None, prefix: str = PREFIX) -> Metric:
    return _metric(MetricType.GAUGE, name, text, labels, unit, prefix)


def _counter(name: str, text: str, labels: str = "", unit: str | None = None, prefix: str = PREFIX) -> Metric:
    return _metric(MetricType.COUNTER, name, text, labels, unit, prefix)


def _histogram(name: str, text: str, labels: str = "", unit: str | None = "seconds", prefix: str = PREFIX) -> Metric:
    return _metric(MetricType.HISTOGRAM, name, text, labels, unit, prefix)


_GPU = "uuid gpu node"
GPU_LABELS: tuple[str, ...] = tuple(_GPU.split())
"""Every GPU series carries these, in this order; pool and region come by relabelling from node labels."""

# --- GPU exporter: state and identity ---
GPU_UP = _gauge("gpu_up", "1 while the GPU answers; 0 with the reason while it does not.", f"{_GPU} reason")
GPU_INFO = _gauge("gpu_info", "1; what the GPU is.", f"{_GPU} model pci_bus_id driver_version")
GPU_READING_AGE = _gauge("gpu_reading_age_seconds", "Age of the GPU's last reading at the scrape.", _GPU, "seconds")

# --- GPU exporter: heat ---
GPU_TEMPERATURE = _gauge("gpu_temperature_celsius", "Core temperature.", _GPU, "celsius")
GPU_MEMORY_TEMPERATURE = _gauge("gpu_memory_temperature_celsius", "Memory temperature.", _GPU, "celsius")
GPU_TEMPERATURE_LIMIT = _gauge(
    "gpu_temperature_limit_celsius",
    "Absolute limit: slowdown, shutdown, gpu_max or memory_max.",
    f"{_GPU} limit",
    "celsius",
)
GPU_THERMAL_MARGIN = _gauge(
    "gpu_thermal_margin_celsius",
    "Least degrees over core and memory to the first thermal intervention; negative above it.",
    _GPU,
    "celsius",
)
GPU_FAN_SPEED = _gauge("gpu_fan_speed_ratio", "Fan speed over its maximum.", f"{_GPU} fan", "ratio")

# --- GPU exporter: power and energy ---
GPU_POWER = _gauge("gpu_power_watts", "Board power as the driver reports it.", _GPU, "watts")
GPU_POWER_AVERAGE = _gauge("gpu_power_average_watts", "Board power averaged over one second.", _GPU, "watts")
GPU_POWER_INSTANT = _gauge("gpu_power_instant_watts", "Board power at the instant of the reading.", _GPU, "watts")
GPU_POWER_LIMIT = _gauge("gpu_power_limit_watts", "Enforced power limit.", _GPU, "watts")
GPU_POWER_LIMIT_RANGE = _gauge(
    "gpu_power_limit_range_watts", "Power limit that the board allows: min, max or default.", f"{_GPU} bound", "watts"
)
GPU_ENERGY = _counter("gpu_energy_joules_total", "Energy used since the driver was loaded.", _GPU, "joules")

# --- GPU exporter: work ---
GPU_UTILIZATION = _gauge("gpu_utilization_ratio", "Share of time with a kernel running.", _GPU, "ratio")
GPU_MEMORY_UTILIZATION = _gauge("gpu_memory_utilization_ratio", "Share of time with memory traffic.", _GPU, "ratio")
GPU_ENCODER_UTILIZATION = _gauge("gpu_encoder_utilization_ratio", "Share of time encoding video.", _GPU, "ratio")
GPU_DECODER_UTILIZATION = _gauge("gpu_decoder_utilization_ratio", "Share of time decoding video.", _GPU, "ratio")
GPU_ENGINE_UTILIZATION = _gauge(
    "gpu_engine_utilization_ratio",
    "Activity of an engine (graphics, sm, sm_occupancy, tensor, dram), Hopper and newer.",
    f"{_GPU} engine",
    "ratio",
)
GPU_MEMORY_USED = _gauge("gpu_memory_used_bytes", "Memory in use.", _GPU, "bytes")
GPU_MEMORY_TOTAL = _gauge("gpu_memory_total_bytes", "Memory installed.", _GPU, "bytes")
GPU_MEMORY_RESERVED = _gauge("gpu_memory_reserved_bytes", "Memory that the driver keeps for itself.", _GPU, "bytes")
GPU_PROCESSES = _gauge("gpu_processes", "Compute processes on the GPU.", _GPU)
GPU_PERFORMANCE_STATE = _gauge("gpu_performance_state", "Performance state, 0 is the fastest.", _GPU)
GPU_CLOCK = _gauge("gpu_clock_hertz", "Clock: graphics, sm, memory or video.", f"{_GPU} clock", "hertz")
GPU_CLOCK_MAX = _gauge("gpu_clock_max_hertz", "Highest clock that the GPU allows.", f"{_GPU} clock", "hertz")
GPU_THROTTLED = _gauge("gpu_throttled", "1 while the clocks are held down for this reason.", f"{_GPU} reason")
GPU_THROTTLED_SECONDS = _counter(
    "gpu_throttled_seconds_total", "Time with the clocks held down for this reason.", f"{_GPU} reason", "seconds"
)

# --- GPU exporter: faults and links ---
GPU_XID_ERRORS = _counter(
    "gpu_xid_errors_total", "XID events seen; class is hardware, application or unknown.", f"{_GPU} xid class"
)
GPU_XID_LAST = _gauge(
    "gpu_xid_last_timestamp_seconds", "Unix time of the last event of this XID.", f"{_GPU} xid class", "seconds"
)
GPU_ECC_ERRORS = _counter(
    "gpu_ecc_errors_total",
    "Memory errors: corrected or uncorrected since driver load, and each over the board's lifetime.",
    f"{_GPU} kind",
)
GPU_REMAPPED_ROWS = _counter("gpu_remapped_rows_total", "Memory rows remapped after errors.", f"{_GPU} kind")
GPU_ROW_REMAP_PENDING = _gauge("gpu_row_remap_pending", "1 while a row remap waits for a reset.", _GPU)
GPU_ROW_REMAP_FAILED = _gauge("gpu_row_remap_failed", "1 after a row remap failed.", _GPU)
GPU_RETIRED_PAGES = _gauge("gpu_retired_pages", "Memory pages retired for corrected or uncorrected.", f"{_GPU} kind")
GPU_PCIE_REPLAYS = _counter("gpu_pcie_replays_total", "PCIe packets sent again.", _GPU)
GPU_PCIE_GENERATION = _gauge("gpu_pcie_link_generation", "Present PCIe generation.", _GPU)
GPU_PCIE_WIDTH = _gauge("gpu_pcie_link_lanes", "Present PCIe width in lanes.", _GPU)
GPU_PCIE_BYTES = _counter("gpu_pcie_bytes_total", "PCIe bytes: transmit or receive.", f"{_GPU} direction", "bytes")
GPU_NVLINK_BYTES = _counter(
    "gpu_nvlink_bytes_total", "NVLink payload bytes over all links: transmit or receive.", f"{_GPU} direction", "bytes"
)
GPU_NVLINK_ERRORS = _counter("gpu_nvlink_errors_total", "NVLink errors over all links.", f"{_GPU} kind")
GPU_MIG_ENABLED = _gauge("gpu_mig_enabled", "1 while the GPU is partitioned (MIG).", _GPU)
GPU_MIG_INFO = _gauge(
    "gpu_mig_instance_info", "1; a MIG instance.", f"{_GPU} mig_uuid profile gpu_instance compute_instance"
)
GPU_MIG_MEMORY_USED = _gauge("gpu_mig_memory_used_bytes", "Memory used in the instance.", f"{_GPU} mig_uuid", "bytes")
GPU_MIG_MEMORY_TOTAL = _gauge("gpu_mig_memory_total_bytes", "Memory of the instance.", f"{_GPU} mig_uuid", "bytes")

# --- GPU exporter: extremes inside the scrape window ---
_WINDOW = "min, max or mean over the scrape window (meltguard_exporter_window_seconds)."
_STATISTIC = f"{_GPU} statistic"
GPU_WINDOW_TEMPERATURE = _gauge("gpu_window_temperature_celsius", f"Core temperature, {_WINDOW}", _STATISTIC, "celsius")
GPU_WINDOW_MARGIN = _gauge("gpu_window_thermal_margin_celsius", f"Thermal margin, {_WINDOW}", _STATISTIC, "celsius")
GPU_WINDOW_POWER = _gauge("gpu_window_power_watts", f"Power, {_WINDOW}", _STATISTIC, "watts")
GPU_WINDOW_UTILIZATION = _gauge("gpu_window_utilization_ratio", f"Utilisation, {_WINDOW}", _STATISTIC, "ratio")

# --- GPU exporter: derived from the thermal model ---
GPU_SECONDS_TO_SLOWDOWN = _gauge(
    "gpu_seconds_to_slowdown",
    "Cautious (5 % quantile) time until the first thermal intervention at present power; +Inf: not in the horizon.",
    _GPU,
)
GPU_THERMAL_RESISTANCE = _gauge(
    "gpu_thermal_resistance_celsius_per_watt", "Fitted plateau rise per watt.", _GPU, "celsius_per_watt"
)
GPU_THERMAL_RESISTANCE_DRIFT = _gauge(
    "gpu_thermal_resistance_drift_ratio",
    "Thermal resistance over the median of the node's GPUs, less 1.",
    _GPU,
    "ratio",
)
GPU_INLET_TEMPERATURE = _gauge(
    "gpu_inlet_temperature_estimate_celsius", "Estimated temperature at zero power.", _GPU, "celsius"
)
GPU_SUSTAINABLE_POWER = _gauge(
    "gpu_sustainable_power_watts", "Power whose plateau stays below the first thermal intervention.", _GPU, "watts"
)
GPU_THERMAL_MODEL = _gauge(
    "gpu_thermal_model_confidence",
    "1 for where the gains come from: fitted, fleet_prior or none.",
    f"{_GPU} confidence",
)

# --- GPU exporter: pods ---
_POD = "namespace pod container"
GPU_POD_INFO = _gauge("gpu_pod_info", "1; the container that was given the GPU.", f"{_GPU} {_POD} resource")
POD_GPU_ENERGY = _counter(
    "pod_gpu_energy_joules_total",
    "Energy by holder (pod or idle) since the exporter started; the increases of all holders add up to the GPU's.",
    f"{_GPU} {_POD} holder",
    "joules",
)
POD_GPU_THROTTLED_SECONDS = _counter(
    "pod_gpu_throttled_seconds_total", "Throttled time of a pod's GPU.", f"{_GPU} {_POD} reason", "seconds"
)

# --- GPU exporter: itself ---
EXPORTER_SNAPSHOT_AGE = _gauge(
    "exporter_snapshot_age_seconds", "Age of the newest reading of any GPU at the scrape.", unit="seconds"
)
EXPORTER_CALL_STUCK = _gauge(
    "exporter_call_stuck_seconds",
    "How long a driver call has been hanging past its deadline.",
    f"{_GPU} call",
    "seconds",
)
EXPORTER_REJECTED = _counter(
    "exporter_rejected_samples_total", "Implausible samples dropped: range, slope or reset.", f"{_GPU} reading why"
)
EXPORTER_BUILD_INFO = _gauge("exporter_build_info", "1; version and source.", "version source node")
EXPORTER_WINDOW = _gauge("exporter_window_seconds", "Length of the scrape window.", unit="seconds")
EXPORTER_COLLECTIONS = _counter("exporter_collections_total", "GPU readings received.")
EXPORTER_COLLECTOR_STARTS = _counter("exporter_collector_starts_total", "Collectors started, by why.", "why")
EXPORTER_COLLECTORS_ABANDONED = _gauge(
    "exporter_collectors_abandoned", "Killed collectors that the kernel still holds."
)
EXPORTER_CALLS = _counter("exporter_driver_calls_total", "Driver calls made.", "call")
EXPORTER_CALL_SECONDS = _counter("exporter_driver_call_seconds_total", "Time in driver calls.", "call", "seconds")
EXPORTER_CALL_MAX = _gauge("exporter_driver_call_max_seconds", "Slowest recent driver call.", "call", "seconds")
EXPORTER_RESIDENT_MEMORY = _gauge("exporter_resident_memory_bytes", "Resident memory.", "process", "bytes")
EXPORTER_CPU_SECONDS = _counter("exporter_cpu_seconds_total", "CPU time.", "process", "seconds")
EXPORTER_SCRAPES = _counter("exporter_scrapes_total", "Answers to /metrics.")
EXPORTER_SCRAPE_MAX = _gauge("exporter_scrape_max_seconds", "Slowest recent answer to /metrics.", unit="seconds")
EXPORTER_POD_MAP_AGE = _gauge("exporter_pod_map_age_seconds", "Age of the kubelet's answer on pods.", unit="seconds")
EXPORTER_POD_MAP_UP = _gauge("exporter_pod_map_up", "1 while the kubelet answers.")

# --- Forecast ---
FORECAST_DEMAND = _gauge("forecast_demand", "Forecast count per step at quantile q.", "q horizon region tier")
FORECAST_GPUS_NEEDED = _gauge("forecast_gpus_needed", "GPUs that the forecast demand needs.", "q horizon region tier")
FORECAST_SURGE_STATE = _gauge("forecast_surge_state", "1 for the present surge state.", "state region tier")
FORECAST_COVERAGE = _gauge(
    "forecast_interval_coverage_ratio", "Share of past intervals that held what came.", "region tier", "ratio"
)
FORECAST_LAST_SUCCESS = _gauge(
    "forecast_last_success_timestamp_seconds", "Unix time of the last forecast.", unit="seconds"
)

# --- Controller ---
CONTROLLER_RUNG = _gauge("controller_rung", "Highest ladder rung in force.", "region")
CONTROLLER_BREAKER_OPEN = _gauge(
    "controller_breaker_open", "1 while a region no longer escalates by itself, until a person closes it.", "region"
)
CONTROLLER_LEADER = _gauge("controller_leader", "1 while this replica leads.")
CONTROLLER_PASS_DURATION = _histogram("controller_pass_duration_seconds", "Duration of a step of a pass.", "step")
CONTROLLER_LAST_PASS = _gauge("controller_last_pass_timestamp_seconds", "Unix time of the last pass.", unit="seconds")
CONTROLLER_ACTIONS = _counter("controller_actions_total", "Actions by kind and result.", "kind result")
CONTROLLER_FLAG_PROPAGATION = _histogram("controller_flag_propagation_seconds", "From write to acknowledgement.")
CONTROLLER_DECISIONS = _counter("controller_decisions_total", "Plans decided.")
CONTROLLER_INPUT_AGE = _gauge("controller_input_age_seconds", "Age of an input at the last pass.", "input", "seconds")
CONTROLLER_EPOCH = _gauge("controller_leader_epoch", "Epoch of this replica's last term as leader.")
CONTROLLER_WATCH_AGE = _gauge(
    "controller_watch_age_seconds", "Age of the local copy of a list of objects.", "resource", "seconds"
)
CONTROLLER_QUEUE_DEPTH = _gauge("controller_queue_depth", "Keys that wait for a worker.", "queue")
CONTROLLER_QUEUE_REFUSED = _counter("controller_queue_refused_total", "Keys refused by a full queue.", "queue")
CONTROLLER_PASSES = _counter("controller_passes_total", "Passes by how they ended.", "result")
CONTROLLER_CONDITION = _gauge("controller_condition", "1 while a condition of a policy is true.", "policy condition")
POOL_NODES = _gauge("pool_nodes", "Nodes by state.", "pool region state")
POOL_LEAD_TIME = _gauge("pool_lead_time_seconds", "Learned time to the first image served.", "pool region q", "seconds")

# --- Controller: what a pool may become, for the alerts that ask whether demand fits into it ---
POOL_NODES_LIMIT = _gauge("pool_nodes_limit", "Bound on the pool's nodes: min or max.", "pool region bound")
POOL_GPUS_PER_NODE = _gauge("pool_gpus_per_node", "GPUs of one node of the pool.", "pool region")

# --- Inference ---
INFERENCE_REQUESTS = _counter(
    "inference_requests_received_total",
    "Offered requests before shedding, by attempt (first, retry) and outcome.",
    "region tier attempt outcome",
)
INFERENCE_TOKENS_REQUESTED = _counter(
    "inference_image_tokens_requested_total", "Image tokens asked for.", "region tier"
)
INFERENCE_IMAGES = _counter("inference_images_generated_total", "Images generated.", "tier size")
INFERENCE_QUEUE_DEPTH = _gauge("inference_queue_depth", "Requests waiting.")
INFERENCE_QUEUE_TOKENS = _gauge("inference_queue_tokens", "Image tokens waiting.")
INFERENCE_QUEUE_OLDEST = _gauge("inference_queue_oldest_age_seconds", "Wait of the oldest request.", unit="seconds")
INFERENCE_ESTIMATED_WAIT = _gauge("inference_estimated_wait_seconds", "Wait that a new request faces.", unit="seconds")
INFERENCE_SLOTS = _gauge("inference_slots", "Generation slots by state.", "state")
INFERENCE_BATCH_SIZE = _gauge("inference_batch_size", "Sequences in the present step.")
INFERENCE_ENGINE_BUSY = _counter("inference_engine_busy_seconds_total", "Time the engine ran steps.", "", "seconds")
INFERENCE_CAPACITY = _gauge("inference_capacity_tokens_per_second", "Tokens per second at full batch.")
INFERENCE_KV_CACHE = _gauge("inference_kv_cache_usage_ratio", "Share of the KV cache in use.", unit="ratio")
INFERENCE_TIME_TO_FIRST_TOKEN = _histogram("inference_time_to_first_token_seconds", "From arrival to first token.")
INFERENCE_INTER_TOKEN = _histogram("inference_inter_token_seconds", "Between two tokens of a sequence.")
INFERENCE_IMAGE_SECONDS = _histogram("inference_image_seconds", "From arrival to the finished image.")
INFERENCE_TOKENS = _counter("inference_tokens_total", "Tokens generated.")
INFERENCE_CANCELLED_TOKENS = _counter("inference_cancelled_tokens_total", "Tokens generated for requests given up.")
INFERENCE_QUOTA_REMAINING = _gauge("inference_quota_remaining", "Images left over the tier's users.", "tier")
INFERENCE_READY = _gauge("inference_ready", "1 while the pod is fit for work.")
INFERENCE_DRAINING = _gauge("inference_draining", "1 while the pod drains.")
INFERENCE_THERMAL_GUARD = _gauge(
    "inference_thermal_guard_ratio", "Share of slots that the local guard allows.", unit="ratio"
)
INFERENCE_GUARD_READING_AGE = _gauge(
    "inference_thermal_guard_reading_age_seconds", "Age of the guard's last usable reading.", unit="seconds"
)
INFERENCE_REFUSED = _counter("inference_requests_refused_total", "Requests refused, by why.", "tier reason")
INFERENCE_ENDED = _counter("inference_requests_ended_total", "Admitted requests that ended, by how.", "tier outcome")
INFERENCE_WAIT = _histogram("inference_wait_seconds", "Wait of admitted requests for a slot.", "tier")
INFERENCE_WAIT_RATIO = _histogram(
    "inference_wait_estimate_ratio", "Wait told at admission over the wait that came.", "tier", "ratio"
)
INFERENCE_FIRST_PARTIAL = _histogram("inference_time_to_first_partial_image_seconds", "Until a first partial image.")
INFERENCE_CLIENTS_DROPPED = _counter("inference_clients_dropped_total", "Clients that went or were too slow.", "reason")
INFERENCE_CONNECTIONS = _gauge("inference_connections", "Open connections.")
INFERENCE_HEARTBEAT_AGE = _gauge("inference_heartbeat_age_seconds", "Since the engine went round.", unit="seconds")
INFERENCE_QUOTA_STORE_UP = _gauge("inference_quota_store_up", "1 while the store of quotas answers.")
INFERENCE_QUOTA_STORE_FAILURES = _counter("inference_quota_store_failures_total", "Failed calls of that store.")
INFERENCE_QUOTA_WITHOUT_STORE = _counter(
    "inference_quota_decisions_without_store_total", "Requests judged without that store: open or local.", "policy"
)
FLAGS_AGE = _gauge(
    "flags_age_seconds", "Since the source of flags confirmed the set in force; 0 on a live stream.", unit="seconds"
)
FLAGS_REVISION = _gauge("flags_revision", "Revision of the flag set in force; only grows.")
FLAGS_ACCEPTED = _gauge("flags_accepted_timestamp_seconds", "Unix time when that set came into force.", unit="seconds")
FLAGS_REFUSED = _counter("flags_refused_total", "Flag sets and sources that could not be used, by why.", "reason")

# --- Inference under vLLM's core names: same types, labels and meaning, so that its dashboards and gateways work ---
VLLM_PREFIX = "vllm:"
_MODEL = "model_name engine"


def _vllm(make: Callable[..., Metric], name: str, text: str, labels: str = _MODEL) -> Metric:
    return make(name, text, labels, unit=None, prefix=VLLM_PREFIX)


VLLM_RUNNING = _vllm(_gauge, "num_requests_running", "Requests in the batch.")
VLLM_WAITING = _vllm(_gauge, "num_requests_waiting", "Requests waiting.")
VLLM_WAITING_WHY = _vllm(_gauge, "num_requests_waiting_by_reason", "Requests waiting, by why.", f"{_MODEL} reason")
VLLM_KV_CACHE = _vllm(_gauge, "kv_cache_usage_perc", "KV cache in use; 1 means 100 %.")
VLLM_CACHE_CONFIG = _vllm(_gauge, "cache_config_info", "1; the cache.", "block_size num_gpu_blocks engine")
VLLM_PROMPT_TOKENS = _vllm(_counter, "prompt_tokens_total", "Prompt tokens processed.")
VLLM_GENERATION_TOKENS = _vllm(_counter, "generation_tokens_total", "Tokens generated.")
VLLM_SUCCESS = _vllm(_counter, "request_success_total", "Requests finished, by how.", f"{_MODEL} finished_reason")
VLLM_PREEMPTIONS = _vllm(_counter, "num_preemptions_total", "Sequences put back; never here.")
VLLM_PREFIX_QUERIES = _vllm(_counter, "prefix_cache_queries_total", "Tokens looked up in a prefix cache; none here.")
VLLM_PREFIX_HITS = _vllm(_counter, "prefix_cache_hits_total", "Tokens found in a prefix cache; none here.")
VLLM_REJECTIONS = _vllm(_counter, "admission_rejections_total", "Refused at a full queue.", "model_name reason")
VLLM_FIRST_TOKEN = _vllm(_histogram, "time_to_first_token_seconds", "From arrival to first token.")
VLLM_INTER_TOKEN = _vllm(_histogram, "inter_token_latency_seconds", "Between two tokens.")
VLLM_PER_OUTPUT_TOKEN = _vllm(_histogram, "request_time_per_output_token_seconds", "Mean time a token, by request.")
VLLM_END_TO_END = _vllm(_histogram, "e2e_request_latency_seconds", "From arrival to the end.")
VLLM_QUEUE_TIME = _vllm(_histogram, "request_queue_time_seconds", "Time spent waiting.")
VLLM_INFERENCE_TIME = _vllm(_histogram, "request_inference_time_seconds", "Time spent in the batch.")
VLLM_PREFILL_TIME = _vllm(_histogram, "request_prefill_time_seconds", "From the slot to the first token.")
VLLM_DECODE_TIME = _vllm(_histogram, "request_decode_time_seconds", "From the first token to the last.")
VLLM_ITERATION_TOKENS = _vllm(_histogram, "iteration_tokens_total", "Prompt and image tokens of one step.")
VLLM_REQUEST_PROMPT_TOKENS = _vllm(_histogram, "request_prompt_tokens", "Prompt tokens of a request.")
VLLM_REQUEST_TOKENS = _vllm(_histogram, "request_generation_tokens", "Tokens generated for a request.")
VLLM_REQUEST_MAX_TOKENS = _vllm(_histogram, "request_max_num_generation_tokens", "Tokens asked for by a request.")
VLLM_REQUEST_N = _vllm(_histogram, "request_params_n", "Images asked for by a request.")


def metrics_with_prefix(*prefixes: str) -> tuple[Metric, ...]:
    """Return our families whose name, after ``meltguard_``, begins with one of ``prefixes``, in order of definition."""
    wanted = tuple(PREFIX + prefix for prefix in prefixes)
    return tuple(metric for metric in ALL_METRICS if metric.name.startswith(wanted))


ALL_METRICS: tuple[Metric, ...] = tuple(value for value in globals().copy().values() if isinstance(value, Metric))
"""Every family, vLLM's names included, in order of definition."""

EXPORTER_METRICS: tuple[Metric, ...] = metrics_with_prefix("gpu_", "exporter_", "pod_")
FORECAST_METRICS: tuple[Metric, ...] = metrics_with_prefix("forecast_")
CONTROLLER_METRICS: tuple[Metric, ...] = metrics_with_prefix("controller_", "pool_")
INFERENCE_METRICS: tuple[Metric, ...] = metrics_with_prefix("inference_", "flags_")
VLLM_METRICS: tuple[Metric, ...] = tuple(metric for metric in ALL_METRICS if metric.name.startswith(VLLM_PREFIX))
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in ALL_METRICS}
