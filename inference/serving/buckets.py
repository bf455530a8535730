"""Upper bounds of the histograms' buckets.

Those of vLLM's names are vLLM's own, so that its dashboards' quantiles work; between two tokens there are finer ones
below them, since image decoding takes 1 to 6 ms a step where vLLM begins at 10 ms (a superset keeps `le` queries true).
"""

from __future__ import annotations

from collections.abc import Mapping

from exporters import metric_names as names
from exporters.metric_names import Metric

Bounds = tuple[float, ...]

FIRST_TOKEN: Bounds = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
INTER_TOKEN: Bounds = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0,
    2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
REQUEST: Bounds = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
TOKENS: Bounds = tuple(float(mantissa * 10**power) for power in range(6) for mantissa in (1, 2, 5))
STEP_TOKENS: Bounds = (1.0, *(float(2**power) for power in range(3, 15)))
IMAGES: Bounds = (1.0, 2.0, 5.0, 10.0, 20.0)
WAIT: Bounds = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
WAIT_RATIO: Bounds = (0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0, 4.0)

BOUNDS: Mapping[Metric, Bounds] = {
    names.INFERENCE_TIME_TO_FIRST_TOKEN: FIRST_TOKEN,
    names.INFERENCE_INTER_TOKEN: INTER_TOKEN,
    names.INFERENCE_IMAGE_SECONDS: (0.01, 0.025, 0.05, 0.1, 0.2, *REQUEST),
    names.INFERENCE_WAIT: WAIT,
    names.INFERENCE_WAIT_RATIO: WAIT_RATIO,
    names.INFERENCE_FIRST_PARTIAL: FIRST_TOKEN,
    names.VLLM_FIRST_TOKEN: FIRST_TOKEN,
    names.VLLM_INTER_TOKEN: INTER_TOKEN,
    names.VLLM_PER_OUTPUT_TOKEN: INTER_TOKEN,
    names.VLLM_END_TO_END: REQUEST,
    names.VLLM_QUEUE_TIME: REQUEST,
    names.VLLM_INFERENCE_TIME: REQUEST,
    names.VLLM_PREFILL_TIME: REQUEST,
    names.VLLM_DECODE_TIME: REQUEST,
    names.VLLM_ITERATION_TOKENS: STEP_TOKENS,
    names.VLLM_REQUEST_PROMPT_TOKENS: TOKENS,
    names.VLLM_REQUEST_TOKENS: TOKENS,
    names.VLLM_REQUEST_MAX_TOKENS: TOKENS,
    names.VLLM_REQUEST_N: IMAGES,
}
