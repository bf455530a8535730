"""Tokens per second and watts of the engine's decode on a GPU by batch size, and how near that is to the roofline.

Decode reads all weights once for each step, and the keys and values of every row. The roofline is the time that this
takes at the memory bandwidth which a copy of a large buffer reaches on the same GPU in the same run. Power is read from
NVML while the steps run; the least and the greatest SM clock tell whether they were comparable. Random weights in
bfloat16, images from their first token to their last. Prints one JSON line per batch size; without a GPU it fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from inference.engine.requests import Sampling
from inference.engine.runner import RowStart
from inference.models.transformer import Transformer, TransformerShape
from inference.runners.native import NativeDecoder
from inference.runners.torch_runner import TorchRunner

SHAPES = {
    "0.8B": (1280, 36, 20, 3456),
    "3B": (3072, 24, 24, 8192),
    "7B": (4096, 30, 32, 11008),
}
"""Dimension, layers, heads and hidden dimension of usual image transformers, with multi-head attention."""
NUM_IMAGE_TOKENS = 576
VOCABULARY = 16_384
SAMPLE_SECONDS = 0.05
WARM_UP_STEPS = 5
COPIED_BYTES = 2 * 2**30


@dataclass(frozen=True, kw_only=True)
class Row:
    """One batch size.

    Attributes:
        model: Which shape.
        num_rows: Rows of the batch.
        step_seconds: Mean time of a step.
        tokens_per_second: Rows by that time.
        mean_power_watts: Over the steps.
        joules_per_token: Power by tokens.
        bytes_per_step: Weights, keys and values that a step has to read.
        roofline_ratio: Time that those bytes take at the measured bandwidth, over the time of a step.
        bandwidth_bytes_per_second: Measured by a copy, reading and writing counted.
        min_clock_hertz: Least SM clock seen.
        max_clock_hertz: Greatest SM clock seen.
        temperature_celsius: At the end.
    """

    model: str
    num_rows: int
    step_seconds: float
    tokens_per_second: float
    mean_power_watts: float
    joules_per_token: float
    bytes_per_step: int
    roofline_ratio: float
    bandwidth_bytes_per_second: float
    min_clock_hertz: float
    max_clock_hertz: float
    temperature_celsius: float


class PowerMeter:
    """Samples power and clock in a thread while it is entered."""

    def __init__(self, index: int) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml: Any = pynvml
        self._gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        self._is_over = threading.Event()
        self.watts: list[float] = []
        self.clocks: list[float] = []

    def __enter__(self) -> PowerMeter:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self._thread.join()

    def temperature(self) -> float:
        """Return degrees Celsius."""
        return float(self._nvml.nvmlDeviceGetTemperature(self._gpu, self._nvml.NVML_TEMPERATURE_GPU))

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_SECONDS):
            self.watts.append(self._nvml.nvmlDeviceGetPowerUsage(self._gpu) / 1e3)
            self.clocks.append(self._nvml.nvmlDeviceGetClockInfo(self._gpu, self._nvml.NVML_CLOCK_SM) * 1e6)


def main() -> None:
    """Run the benchmark and print one JSON line per batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(SHAPES), default="3B", help="which shape")
    parser.add_argument("--rows", default="1,2,4,8,16,32,64,128", help="batch sizes")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each batch size runs; power needs some")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu_roofline: torch sees no GPU here; run it where there is one, with a CUDA build of torch")
    torch.manual_seed(0)
    batches = [int(text) for text in options.rows.split(",")]
    shape = shape_of(options.model)
    with torch.device("cuda"):
        transformer = Transformer(shape).to(torch.bfloat16)
    bandwidth = copy_bandwidth()
    runner = TorchRunner(NativeDecoder(transformer, num_rows=max(batches)), max_image_tokens=NUM_IMAGE_TOKENS)
    for num_rows in batches:
        row = measure(options.model, runner, transformer, num_rows, seconds=options.seconds, bandwidth=bandwidth)
        print(json.dumps(asdict(row)), flush=True)


def shape_of(name: str) -> TransformerShape:
    """Return the network of one of the shapes."""
    dimension, num_layers, num_heads, hidden_dimension = SHAPES[name]
    return TransformerShape(
        vocabulary_size=VOCABULARY + 1001,
        num_image_tokens=VOCABULARY,
        dimension=dimension,
        num_layers=num_layers,
        num_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dimension=dimension // num_heads,
        hidden_dimension=hidden_dimension,
        max_positions=NUM_IMAGE_TOKENS,
        has_position_table=False,
    )


def copy_bandwidth() -> float:
    """Return bytes read and written per second by a copy of a large buffer, the best of five."""
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(5):
        torch.cuda.synchronize()
        began_at = time.perf_counter()
        for _ in range(10):
            target.copy_(source)
        torch.cuda.synchronize()
        best = max(best, 10 * 2 * COPIED_BYTES / (time.perf_counter() - began_at))
    return best


def bytes_per_step(transformer: Transformer, num_rows: int, length: int) -> int:
    """Return what a step has to read: all weights but the table of embeddings, and what every row looks at.

    Args:
        transformer: The network.
        num_rows: Rows of the batch.
        length: Positions that each row looks at.

    Returns:
        Bytes.
    """
    shape, width = transformer.shape, transformer.norm.element_size()
    weights = sum(parameter.numel() for parameter in transformer.parameters()) - transformer.embedding.weight.numel()
    cached = 2 * shape.num_layers * shape.num_key_value_heads * shape.head_dimension * length
    return width * (weights + num_rows * cached)


def measure(
    name: str, runner: TorchRunner, transformer: Transformer, num_rows: int, *, seconds: float, bandwidth: float
) -> Row:
    """Run steps of one batch size, each image in turn from its first token to its last.

    Args:
        name: Of the shape.
        runner: With at least that many rows.
        transformer: The network.
        num_rows: Rows of the batch.
        seconds: How long.
        bandwidth: Bytes per second.

    Returns:
        The figures.
    """
    place_all(runner, num_rows)
    for _ in range(WARM_UP_STEPS):
        runner.step(num_rows)
    num_steps, num_positions = 0, 0
    place_all(runner, num_rows)
    place = 0
    spent_seconds = 0.0
    with PowerMeter(torch.cuda.current_device()) as meter:
        while spent_seconds < seconds:
            began_at = time.perf_counter()
            runner.step(num_rows)
            spent_seconds += time.perf_counter() - began_at
            place += 1
            num_steps += 1
            num_positions += place
            if place == NUM_IMAGE_TOKENS:
                place_all(runner, num_rows)
                place = 0
    step_seconds = spent_seconds / num_steps
    mean_length = num_positions // num_steps
    needed = bytes_per_step(transformer, num_rows, mean_length)
    watts = sum(meter.watts) / max(len(meter.watts), 1)
    tokens_per_second = num_rows / step_seconds
    return Row(
        model=name,
        num_rows=num_rows,
        step_seconds=step_seconds,
        tokens_per_second=tokens_per_second,
        mean_power_watts=watts,
        joules_per_token=watts / tokens_per_second,
        bytes_per_step=needed,
        roofline_ratio=needed / bandwidth / step_seconds,
        bandwidth_bytes_per_second=bandwidth,
        min_clock_hertz=min(meter.clocks, default=0.0),
        max_clock_hertz=max(meter.clocks, default=0.0),
        temperature_celsius=meter.temperature(),
    )


def place_all(runner: TorchRunner, num_rows: int) -> None:
    """Begin an image in every row."""
    for row in range(num_rows):
        runner.place(
            RowStart(
                row=row,
                prompt_tokens=(VOCABULARY + row % 1000,),
                num_image_tokens=NUM_IMAGE_TOKENS,
                seed=row,
                image_index=0,
                sampling=Sampling(),
                conditional_row=row,
                unconditional_row=row,
            )
        )


if __name__ == "__main__":
    main()
