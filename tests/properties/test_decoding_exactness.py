"""An image is the same whatever runs beside it: every runner against plain unbatched decoding, any batch around it.

In float64 always; in float32 except where the deciding values differ by less than a tolerance. Those are counted.
"""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from inference.engine.events import FinishedImage, TokenImage  # noqa: E402
from inference.engine.requests import Conditioning, GenerationRequest, Sampling  # noqa: E402
from inference.engine.settings import EngineSettings  # noqa: E402
from inference.runners.torch_runner import TorchRunner  # noqa: E402
from tests.inference_samples import VirtualEngine  # noqa: E402
from tests.torch_samples import (  # noqa: E402
    FIRST_PROMPT_TOKEN,
    LARGE,
    SMALL,
    Sample,
    hugging_face_sample,
    native_sample,
    sample_model,
    unbatched,
)

NEAR_TIE = 1e-4
"""Deciding values (logits, or random number and boundary) that differ by less may fall either way in float32."""

requests = st.fixed_dictionaries(
    {
        "conditioning": st.lists(st.integers(FIRST_PROMPT_TOKEN, FIRST_PROMPT_TOKEN + 9), min_size=1, max_size=3).map(
            lambda tokens: Conditioning(tokens=tuple(tokens))
        ),
        "size": st.sampled_from([SMALL, LARGE]),
        "seed": st.integers(-(2**70), 2**70),
        "num_images": st.integers(1, 2),
        "sampling": st.builds(
            Sampling,
            temperature=st.sampled_from([0.0, 0.0, 0.7, 1.0, 1.5]),
            top_k=st.sampled_from([None, None, 1, 5, 1000]),
            guidance_scale=st.sampled_from([1.0, 1.0, 1.0, 2.5]),
        ),
    }
)
arrivals = st.lists(st.tuples(st.integers(0, 8), requests, st.booleans()), min_size=1, max_size=5)


def _drawn(sample: Sample, plan: list[tuple[int, dict[str, object], bool]]) -> dict[tuple[str, int], tuple[int, ...]]:
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


def _near_ties(sample: Sample, plan: list[tuple[int, dict[str, object], bool]], tolerance: float) -> tuple[int, int]:
    """Compare every finished image with unbatched decoding; returns images compared and near ties among them."""
    images = _drawn(sample, plan)
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


SAMPLES = {
    "native": lambda dtype: native_sample(dtype),
    "native, grouped heads": lambda dtype: native_sample(dtype, num_key_value_heads=2, has_position_table=False),
    "llama": lambda dtype: hugging_face_sample("llama", dtype),
    "qwen3": lambda dtype: hugging_face_sample("qwen3", dtype),
    "gpt2": lambda dtype: hugging_face_sample("gpt2", dtype),
}


@pytest.fixture(scope="module", params=list(SAMPLES))
def precise(request: pytest.FixtureRequest) -> Sample:
    """Each network in float64."""
    return SAMPLES[request.param](torch.float64)


@pytest.fixture(scope="module", params=list(SAMPLES))
def single(request: pytest.FixtureRequest) -> Sample:
    """Each network in float32."""
    return SAMPLES[request.param](torch.float32)


@given(plan=arrivals)
def test_float64_images_do_not_depend_on_the_batch(precise: Sample, plan: list) -> None:
    """Greedy, drawn, guided or limited: in float64 every token is that of unbatched decoding, always."""
    num_images, num_ties = _near_ties(precise, plan, tolerance=0.0)
    assert num_ties == 0
    event(f"images compared: {min(num_images, 5)}")


@given(plan=arrivals)
def test_float32_images_differ_only_at_near_ties(single: Sample, plan: list) -> None:
    """In float32 a token may differ from unbatched decoding only where the deciding values nearly tie."""
    _, num_ties = _near_ties(single, plan, tolerance=NEAR_TIE)
    event(f"near ties: {num_ties}")
