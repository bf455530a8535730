"""An image is the same whatever runs beside it: every runner against plain unbatched decoding, any batch around it.

In float64 always; in float32 except where the deciding values differ by less than a tolerance. Those are counted.
"""

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from inference.engine.requests import Conditioning, Sampling  # noqa: E402
from tests.exactness_samples import SAMPLES, Arrival, near_ties  # noqa: E402
from tests.torch_samples import FIRST_PROMPT_TOKEN, LARGE, SMALL, Sample  # noqa: E402

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


@pytest.fixture(scope="module", params=list(SAMPLES))
def precise(request: pytest.FixtureRequest) -> Sample:
    """Each network in float64."""
    return SAMPLES[request.param](torch.float64)


@pytest.fixture(scope="module", params=["native", "llama", "gpt2"])
def single(request: pytest.FixtureRequest) -> Sample:
    """One network of each kind in float32."""
    return SAMPLES[request.param](torch.float32)


@given(plan=arrivals)
def test_float64_images_do_not_depend_on_the_batch(precise: Sample, plan: list[Arrival]) -> None:
    """Greedy, drawn, guided or limited: in float64 every token is that of unbatched decoding, always."""
    num_images, num_ties = near_ties(precise, plan, tolerance=0.0)
    assert num_ties == 0
    event(f"images compared: {min(num_images, 5)}")


@given(plan=arrivals)
def test_float32_images_differ_only_at_near_ties(single: Sample, plan: list[Arrival]) -> None:
    """In float32 a token may differ from unbatched decoding only where the deciding values nearly tie."""
    _, num_ties = near_ties(single, plan, tolerance=NEAR_TIE)
    event(f"near ties: {num_ties}")
