"""Images drawn by the engine beside others, compared with plain unbatched decoding of each by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch

from inference.engine.events import FinishedImage, TokenImage
from inference.engine.requests import GenerationRequest
from inference.engine.settings import EngineSettings
from inference.runners.torch_runner import TorchRunner
from tests.inference_samples import VirtualEngine
from tests.torch_samples import LARGE, Sample, hugging_face_sample, native_sample, sample_model, unbatched

Arrival = tuple[int, dict[str, object], bool]
"""Steps until the next arrival, the request's fields, and whether the one before is cancelled then."""

SAMPLES: dict[str, Callable[[torch.dtype], Sample]] = {
    "native": lambda dtype: native_sample(dtype),
    "native, grouped heads": lambda dtype: native_sample(dtype, num_key_value_heads=2, has_position_table=False),
    "llama": lambda dtype: hugging_face_sample("llama", dtype),
    "qwen3": lambda dtype: hugging_face_sample("qwen3", dtype),
    "gpt2": lambda dtype: hugging_face_sample("gpt2", dtype),
}


def drawn_by_engine(sample: Sample, plan: list[Arrival]) -> dict[tuple[str, int], tuple[int, ...]]:
    """Run requests through the engine, each some steps after the one before; some are cancelled on the way."""
    runner = TorchRunner(sample.decoder(5), max_image_tokens=LARGE.width * LARGE.height)
    engine = VirtualEngine(EngineSettings(num_slots=5), model=sample_model(), runner=runner)
    for number, (num_steps, changes, is_cancelled) in enumerate(plan):
        engine.submit(f"{number}", **changes)
        for _ in range(num_steps):
            engine.step()
        if is_cancelled and number:
            engine.streams[f"{number - 1}"].cancel()
    engine.run()
    images: dict[tuple[str, int], tuple[int, ...]] = {}
    for name in engine.streams:
        for found in engine.events(name):
            if isinstance(found, FinishedImage):
                assert isinstance(found.content, TokenImage)
                images[name, found.image_index] = found.content.tokens
    return images


def near_ties(sample: Sample, plan: list[Arrival], tolerance: float) -> tuple[int, int]:
    """Compare every finished image with unbatched decoding; returns images compared and near ties among them."""
    images = drawn_by_engine(sample, plan)
    num_ties = 0
    for (name, image_index), tokens in images.items():
        request = GenerationRequest(request_id=name, **plan[int(name)][1])  # type: ignore[arg-type]
        wanted = unbatched(sample.logits, request, image_index, len(tokens))
        differing = [place for place, choice in enumerate(wanted) if choice.token != tokens[place]]
        if differing:
            num_ties += 1
            # After the first difference everything may differ; up to it, only a near tie may.
            assert wanted[differing[0]].margin < tolerance, (name, image_index, differing[0], wanted[differing[0]])
    return len(images), num_ties
