"""The chain from sign-ups to watts."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.capacity import CapacityModel, CohortKernel, parse_capacity
from forecasting.errors import InputError

MODEL = CapacityModel(
    tokens_per_image=1000.0, tokens_per_second_per_gpu=500.0, images_per_request=2.0, utilization_target_ratio=0.5
)


def test_a_request_costs_its_tokens_over_the_speed_of_a_gpu() -> None:
    """Two images of 1,000 tokens at 500 tokens a second take four GPU-seconds."""
    assert MODEL.gpu_seconds_per_request == pytest.approx(4.0)
    assert MODEL.image_tokens(np.array([3.0])) == pytest.approx([6000.0])


def test_gpus_are_whole_and_leave_the_planned_idle_share() -> None:
    """75 requests a minute are 300 GPU-seconds, five busy GPUs, ten at half utilization; one more request adds one."""
    assert MODEL.gpus_needed(np.array([0.0, 75.0, 76.0]), step_seconds=60.0) == pytest.approx([0.0, 10.0, 11.0])


def test_power_lies_between_idle_and_busy() -> None:
    """A pool without work draws idle power, one with too much draws full power and no more."""
    gpus = np.array([2.0, 2.0])
    watts = MODEL.power_watts(np.array([0.0, 1e9]), num_gpus=gpus, step_seconds=60.0)
    assert watts == pytest.approx([2 * MODEL.idle_watts_per_gpu, 2 * MODEL.busy_watts_per_gpu])


def test_the_kernel_hands_out_every_request_once_and_most_at_first() -> None:
    """Over its memory a sign-up makes all its requests, and about two fifths of them in the first 15 minutes."""
    kernel = CohortKernel()
    weights = kernel.weights(step_seconds=900.0, num_steps=int(kernel.memory_seconds / 900.0) + 2)
    assert weights.sum() == pytest.approx(kernel.requests_per_signup)
    assert weights.min() >= 0.0
    assert kernel.used_ratio(np.array([900.0]))[0] == pytest.approx(0.39, abs=0.04)


def test_requests_follow_sign_ups_and_never_precede_them() -> None:
    """One sign-up changes nothing before its own interval."""
    signups = np.zeros(20)
    signups[7] = 10.0
    requests = MODEL.requests_from_signups(signups, step_seconds=300.0, baseline=5.0)
    assert requests[:7] == pytest.approx(5.0)
    assert requests[7] > requests[12] > 5.0


def test_a_capacity_file_is_yaml_with_known_fields() -> None:
    """The fields of the model, and those of its kernel, can be set."""
    text = "tokens_per_image: 1056\ntokens_per_second_per_gpu: 2400\nkernel:\n  requests_per_signup: 3\n"
    model = parse_capacity(text, source="capacity.yaml")
    assert model.tokens_per_image == pytest.approx(1056.0)
    assert model.kernel.requests_per_signup == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("tokens_per_image: 1", "tokens_per_second_per_gpu"),
        ("tokens_per_imag: 1", "unknown field 'tokens_per_imag'"),
        ("tokens_per_image: many\ntokens_per_second_per_gpu: 1", "tokens_per_image"),
        ("tokens_per_image: -1\ntokens_per_second_per_gpu: 1", "tokens_per_image must be positive"),
        ("tokens_per_image: 1\ntokens_per_second_per_gpu: 1\nkernel: {half_life: 3}", "kernel.half_life"),
        ("a: [", "not YAML"),
        ("just words", "expected fields"),
    ],
)
def test_a_wrong_capacity_file_is_refused_with_the_place(text: str, part: str) -> None:
    """The message names the file and the field."""
    with pytest.raises(InputError) as caught:
        parse_capacity(text, source="capacity.yaml")
    assert str(caught.value).startswith("capacity.yaml")
    assert part in str(caught.value)
