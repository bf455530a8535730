"""The front before another image server, one of ours: its own admission and metrics, the other's images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from inference.errors import InferenceSettingsError
from inference.serving.engines import EngineChoice, open_chosen, parse_sizes
from tests.inference_server import RunningServer, running_server


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def front(upstream: RunningServer) -> Iterator[RunningServer]:
    choice = EngineChoice(upstream_url=upstream.url, upstream_sizes="8x8=64,16x16=256", num_slots=4)
    with running_server(open_chosen(choice)) as running:
        yield running


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG")])
def test_images_come_through_in_the_format_that_was_asked_for(
    front: RunningServer, output_format: str, kind: str
) -> None:
    """What the server behind us draws arrives, converted where that is needed, and is counted here."""
    answer = front.draw("seven", n=2, size="16x16", output_format=output_format, user=output_format)
    assert answer.status == 200, answer.body
    for image in answer.json["data"]:
        picture = Image.open(io.BytesIO(base64.b64decode(image["b64_json"])))
        assert (picture.format, picture.size) == (kind, (16, 16))
    assert front.metric("meltguard_inference_images_generated_total", size="16x16") >= 2


def test_what_the_other_refuses_is_told(front: RunningServer) -> None:
    """A prompt that only the server behind us can judge ends as an error with its word, and costs no quota."""
    answer = front.draw("a cat", user="cat")
    assert answer.status == 500
    assert answer.error["code"] == "stopped_error"
    used = front.get("/v1/quota", X_Meltguard_User="cat").json["windows"]
    front.wait(lambda: front.metric("meltguard_inference_requests_ended_total", outcome="error") >= 1)
    assert [window["used"] for window in front.get("/v1/quota", X_Meltguard_User="cat").json["windows"]] == [0, 0], used


def test_a_seed_is_not_promised(front: RunningServer) -> None:
    """Whether a seed reproduces an image there is not known here, so it is refused."""
    assert front.draw(seed=1).error["param"] == "seed"


def test_sizes_are_parsed() -> None:
    """WIDTHxHEIGHT=TOKENS with commas; anything else is refused by name."""
    assert {str(size): tokens for size, tokens in parse_sizes("8x8=64, 16x8=128").items()} == {"8x8": 64, "16x8": 128}
    for bad in ("8x8", "8=64", "x=1", "8x8=0", "8x-8=1"):
        with pytest.raises(InferenceSettingsError, match="--upstream-sizes"):
            parse_sizes(bad)
