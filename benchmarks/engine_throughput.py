"""Image tokens per CPU-second of the engine, against transformers' ``generate`` and ``generate_batch`` in the same run.

One thread, one random Llama of a million parameters, 64 images at a time of 64 tokens each, sampled. Claims: at least 2
times ``generate_batch`` and 0.6 of the static ``generate``, which is a ceiling: it starts and ends 64 images together
and can admit none in between. The engine is measured twice: given 128 images at once, as ``generate_batch`` is, and in
its steady state, one image arriving and one ending in each step, where every row looks back over whole images. The
cache of keys and values is worth at least a factor of 6 at 64 rows.

Every figure is the best of ``--rounds``, all contenders taking turns, in seconds of processor time: wall time would
measure what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig

from inference.engine.engine import Engine
from inference.engine.ports import StepReport
from inference.engine.requests import Conditioning, GenerationRequest, ImageSize, ModelDescription
from inference.engine.runner import DrawingModel
from inference.engine.settings import EngineSettings
from inference.runners.hugging_face import HuggingFaceDecoder
from inference.runners.llama_weights import transformer_of
from inference.runners.native import NativeDecoder
from inference.runners.self_check import check_decoder
from inference.runners.torch_runner import Decoder, TorchRunner

NUM_CONCURRENT = 64
NUM_TOKENS = 64
NUM_IMAGE_TOKENS = 17
VOCABULARY = 32
SIZE = ImageSize(width=8, height=8)
STEADY_STEPS = 128
PAGE_SETTINGS = ((16, 256), (32, 128), (64, 64))
"""Page sizes and blocks for each of which a page of 16 would hold as much."""


def main() -> None:
    """Run the benchmark and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender takes its turn")
    parser.add_argument("--only", default="", help="names of contenders, by commas; all where it is empty")
    parser.add_argument("--profile", action="store_true", help="print where the engine's time goes, and stop")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(llama_config()).eval()
    contenders: dict[str, Callable[[], float]] = {
        "generate": lambda: static_generate(model),
        "engine_hugging_face": lambda: engine_together(lambda: slots_of(model)),
        "engine_native": lambda: engine_together(lambda: native_of(model)),
        "steady_engine_hugging_face": lambda: steady_engine(lambda: slots_of(model)),
        "steady_engine_native": lambda: steady_engine(lambda: native_of(model)),
        "native_burst": lambda: burst(native_of(model)),
        "native_without_cache": lambda: without_cache(model),
    }
    for page_size, num_blocks in PAGE_SETTINGS:
        name = f"generate_batch_page_{page_size}"
        contenders[name] = lambda size=page_size, count=num_blocks: generate_batch(model, size, count)  # type: ignore[misc]
    if options.profile:
        profile(contenders["engine_native"])
        return
    if options.only:
        contenders = {name: contenders[name] for name in options.only.split(",")}
    best: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, contender in contenders.items():
            best[name] = max(best.get(name, 0.0), contender())
            print(f"{name}: {best[name]:.0f} tokens per CPU-second", file=sys.stderr, flush=True)
    print(json.dumps(best if options.only else summary(model, best)))


def llama_config() -> Any:
    """Return a Llama of about a million parameters."""
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def summary(model: Any, best: dict[str, float]) -> dict[str, object]:
    """Return the figures and their ratios; the rival's best page size counts."""
    rival = max(value for name, value in best.items() if name.startswith("generate_batch"))
    ratios = {
        f"{engine}_over_{name}": round(best[engine] / value, 3)
        for engine in best
        if "engine" in engine
        for name, value in (("generate_batch", rival), ("generate", best["generate"]))
    }
    return {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "num_concurrent": NUM_CONCURRENT,
        "tokens_per_image": NUM_TOKENS,
        "tokens_per_cpu_second": {name: round(value) for name, value in best.items()},
        "ratios": {**ratios, "cache_over_no_cache": round(best["native_burst"] / best["native_without_cache"], 2)},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


# ------------------------------------------------------------------------------------------------ contenders


def static_generate(model: Any) -> float:
    """Return the speed of one static batch, all images beginning and ending together."""
    prompts = torch.arange(NUM_CONCURRENT).remainder(10).add(NUM_IMAGE_TOKENS).unsqueeze(1)
    settings = GenerationConfig(
        max_new_tokens=NUM_TOKENS, min_new_tokens=NUM_TOKENS, do_sample=True, top_k=0, pad_token_id=0
    )
    began = time.process_time()
    output = model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=settings)
    return (output.numel() - prompts.numel()) / (time.process_time() - began)


def generate_batch(model: Any, page_size: int, num_blocks: int) -> float:
    """Return the speed of the library's own continuous batching, over twice as many images as fit at once."""
    settings = GenerationConfig(
        max_new_tokens=NUM_TOKENS, do_sample=True, top_k=0, eos_token_id=-1, pad_token_id=0, bos_token_id=0
    )
    pages = ContinuousBatchingConfig(
        page_size=page_size,
        num_blocks=num_blocks * 2,
        max_batch_tokens=2 * NUM_CONCURRENT,
        max_requests_per_batch=NUM_CONCURRENT,
        allow_block_sharing=False,
    )
    prompts = [[NUM_IMAGE_TOKENS + index % 10] for index in range(2 * NUM_CONCURRENT)]
    began = time.process_time()
    output = model.generate_batch(
        inputs=prompts, generation_config=settings, continuous_batching_config=pages, progress_bar=False
    )
    num_tokens = sum(len(result.generated_tokens) for result in output.values())
    assert num_tokens == len(prompts) * NUM_TOKENS, f"generate_batch made {num_tokens} tokens"
    return num_tokens / (time.process_time() - began)


class OneArrivalPerStep:
    """Submits an image after each step, and takes the processor time of the steps with a full batch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._num_submitted = 0
        self.began: float | None = None
        self.ended: float | None = None
        self.num_tokens = 0

    def submit(self) -> None:
        """Submit the next image."""
        number = self._num_submitted
        self._num_submitted += 1
        self._engine.submit(
            GenerationRequest(
                request_id=f"{number}",
                conditioning=Conditioning(tokens=(NUM_IMAGE_TOKENS + number % 10,)),
                size=SIZE,
                seed=number,
            )
        )

    def step_finished(self, report: StepReport) -> None:
        """Take note of a step; an `inference.engine.ports.StepObserver`."""
        now = time.process_time()
        if self.ended is not None:
            return
        if self.began is None and report.batch_size == NUM_CONCURRENT:
            self.began = now
        elif self.began is not None:
            self.num_tokens += report.num_new_tokens
            if self.num_tokens >= STEADY_STEPS * NUM_CONCURRENT:
                self.ended = now
        self.submit()


def make_engine(open_decoder: Callable[[], Decoder]) -> Engine:
    """Return an engine for 64 images at a time, not started."""
    description = ModelDescription(
        name="benchmark", draws="noise", tokens_by_size={SIZE: NUM_TOKENS}, default_size=SIZE
    )
    drawing = DrawingModel(
        description=description,
        prompts=None,  # type: ignore[arg-type]
        codec=None,  # type: ignore[arg-type]
        columns_by_size={SIZE: SIZE.width},
    )
    settings = EngineSettings(num_slots=NUM_CONCURRENT, warm_up_seconds=1.0)
    return Engine(drawing, lambda: TorchRunner(open_decoder(), max_image_tokens=NUM_TOKENS), settings)


def wait_until(engine: Engine, holds: Callable[[], bool]) -> None:
    """Wait for the engine's thread without taking its processor."""
    while not holds():
        time.sleep(0.05)
        assert engine.snapshot().failure is None, engine.snapshot().failure


def engine_together(open_decoder: Callable[[], Decoder]) -> float:
    """Return the speed of the whole engine, thread and bookkeeping included, given as many images as its rival."""
    engine = make_engine(open_decoder)
    engine.start()
    wait_until(engine, lambda: engine.snapshot().is_warm)
    arrivals = OneArrivalPerStep(engine)
    began = time.process_time()
    for _ in range(2 * NUM_CONCURRENT):
        arrivals.submit()
    wait_until(engine, lambda: engine.snapshot().image_tokens_total == 2 * NUM_CONCURRENT * NUM_TOKENS)
    spent = time.process_time() - began
    assert engine.close(10.0)
    return 2 * NUM_CONCURRENT * NUM_TOKENS / spent


def steady_engine(open_decoder: Callable[[], Decoder]) -> float:
    """Return the speed of the whole engine, thread and bookkeeping included, with 64 images at 64 different places."""
    engine = make_engine(open_decoder)
    arrivals = OneArrivalPerStep(engine)
    engine.set_observer(arrivals)
    engine.start()
    arrivals.submit()
    wait_until(engine, lambda: arrivals.ended is not None)
    assert arrivals.began is not None
    assert engine.close(10.0)
    return arrivals.num_tokens / (arrivals.ended - arrivals.began)


def burst(decoder: Decoder) -> float:
    """Return the speed of rows that begin together, keys and values cached."""
    tokens = torch.arange(NUM_CONCURRENT).remainder(10).add(NUM_IMAGE_TOKENS)
    began = time.process_time()
    with torch.inference_mode():
        for place in range(NUM_TOKENS):
            logits = decoder.decode(tokens, torch.full((NUM_CONCURRENT,), place), place + 1)
            tokens = torch.multinomial(torch.softmax(logits, dim=-1), 1).squeeze(1)
    return NUM_CONCURRENT * NUM_TOKENS / (time.process_time() - began)


def without_cache(model: Any) -> float:
    """Return the speed of the same rows when every step computes whole sequences anew."""
    network = transformer_of(
        model, max_positions=NUM_TOKENS, first_image_token=0, num_image_tokens=NUM_IMAGE_TOKENS
    ).eval()
    tokens = torch.arange(NUM_CONCURRENT).remainder(10).add(NUM_IMAGE_TOKENS).unsqueeze(1)
    began = time.process_time()
    with torch.inference_mode():
        for _ in range(NUM_TOKENS):
            logits = network(tokens)[:, -1]
            drawn = torch.multinomial(torch.softmax(logits, dim=-1), 1)
            tokens = torch.cat([tokens, drawn], dim=1)
    return NUM_CONCURRENT * NUM_TOKENS / (time.process_time() - began)


def slots_of(model: Any) -> HuggingFaceDecoder:
    """Return the unmodified model with slots, checked."""
    decoder = HuggingFaceDecoder(
        model,
        num_rows=NUM_CONCURRENT,
        max_positions=NUM_TOKENS,
        first_image_token=0,
        num_image_tokens=NUM_IMAGE_TOKENS,
    )
    check_decoder(decoder, decoder.reference, name="benchmark")
    return decoder


def native_of(model: Any) -> NativeDecoder:
    """Return our network with the model's weights, checked against the model."""
    network = transformer_of(model, max_positions=NUM_TOKENS, first_image_token=0, num_image_tokens=NUM_IMAGE_TOKENS)
    decoder = NativeDecoder(network, num_rows=NUM_CONCURRENT)
    check_decoder(decoder, slots_of(model).reference, name="benchmark")
    return decoder


def profile(contender: Callable[[], float]) -> None:
    """Print the functions that take the engine's time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CPU]) as seen:
        contender()
    print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))


if __name__ == "__main__":
    main()
