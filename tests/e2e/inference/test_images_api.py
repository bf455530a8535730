"""The images API over HTTP: OpenAI's shape, its official client, streams, files, and what cannot be drawn."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator

import openai
import pytest
from PIL import Image

from inference.engine.engine import Engine
from inference.engine.settings import EngineSettings
from inference.runners.noise import NoiseRunner, noise_model
from tests.inference_server import RunningServer, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def picture(encoded: str) -> Image.Image:
    """Return the image that base64 holds."""
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def test_the_official_client_gets_images(server: RunningServer) -> None:
    """OpenAI's own library generates images against us, with usage and size."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-test-client") as client:
        answer = client.images.generate(prompt="draw a seven", n=2, model="test-pattern")
        assert client.models.list().data[0].id == "test-pattern"
    assert answer.data is not None and len(answer.data) == 2
    assert picture(answer.data[0].b64_json or "").size == (8, 8)
    assert answer.usage is not None and answer.usage.output_tokens == 128


def test_the_official_client_streams_partial_images(server: RunningServer) -> None:
    """The client's stream yields the partial images that were asked for, then the complete one."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-test-client") as client:
        stream = client.images.generate(prompt="tres", stream=True, partial_images=3)
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
    partials = [event.partial_image_index for event in events if event.type == "image_generation.partial_image"]
    assert partials == [0, 1, 2]
    # A partial image is the beginning of the complete one: the finished rows agree.
    complete = picture(events[-1].b64_json).tobytes()
    first = picture(events[0].b64_json).tobytes()
    assert first[:16] == complete[:16] and first != complete


def test_the_official_client_sees_a_refusal_as_rate_limit() -> None:
    """A limited request is the client's RateLimitError, after its own retries, with our code in it."""
    tier_free = {"X-Meltguard-User": "bob"}
    with (
        running_server() as limited,
        openai.OpenAI(base_url=f"{limited.url}/v1", api_key="k", max_retries=0, default_headers=tier_free) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.images.generate(prompt="seven", n=10)
    assert caught.value.code == "contended"
    assert int(caught.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_files_come_in_the_format_that_was_asked_for(server: RunningServer, output_format: str, kind: str) -> None:
    """PNG, JPEG and WebP are what they say."""
    answer = server.draw(output_format=output_format, size="16x16", user=output_format)
    assert answer.status == 200
    assert answer.json["output_format"] == output_format
    image = picture(answer.json["data"][0]["b64_json"])
    assert image.format == kind and image.size == (16, 16)


def test_an_url_is_a_data_url(server: RunningServer) -> None:
    """response_format url gives an address that holds the image itself."""
    url = server.draw(response_format="url", user="url").json["data"][0]["url"]
    assert url.startswith("data:image/png;base64,")
    assert picture(url.partition(",")[2]).size == (8, 8)


def test_a_seed_reproduces_an_image(server: RunningServer) -> None:
    """The same seed gives the same image, another one another."""
    images = [server.draw(seed=seed, user="seed").json["data"][0]["b64_json"] for seed in (5, 5, 6)]
    assert images[0] == images[1] != images[2]


def test_progress_is_told_where_it_is_asked_for(server: RunningServer) -> None:
    """A stream that asks for progress begins with the expected wait and counts tokens up to all of them."""
    body = {"prompt": "uno", "stream": True, "stream_options": {"include_progress": True}}
    text = server.post(body, X_Meltguard_User="progress").body.decode()
    data = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    progress = [event for event in data if event["type"] == "image_generation.progress"]
    assert progress[0]["estimated_wait_seconds"] is not None
    done = [event["image_tokens_done"] for event in progress]
    assert done == sorted(done) and done[-1] <= 64 and len(done) > 1
    assert data[-1]["type"] == "image_generation.completed"


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"prompt": "a cat"}, "prompt", "digits 0 to 9"),
        ({"prompt": ""}, "prompt", "digit"),
        ({"prompt": "seven or 8"}, "prompt", "exactly one"),
        ({"prompt": "7", "size": "1024x1024"}, "size", "8x8"),
        ({"prompt": "7", "size": "²x8"}, "size", "8x8"),
        ({"prompt": "7", "n": 11}, "n", "<= 10"),
        ({"prompt": "7", "n": 0}, "n", ">= 1"),
        ({"prompt": "7", "partial_images": 2}, "partial_images", "stream"),
        ({"prompt": "7", "model": "dall-e-3"}, "model", "test-pattern"),
        ({"prompt": "7", "background": "transparent"}, "background", "transparent"),
        ({"prompt": "7", "negative_prompt": "8"}, None, "negative_prompt"),
        ({"prompt": "7", "guidance_scale": 3.0}, "guidance_scale", "at most"),
        ({"prompt": "7", "output_compression": 50}, "output_compression", "jpeg"),
        ({"n": 1}, None, "prompt"),
        ([], None, "object"),
        (b"{", None, "not JSON"),
        (b"[" * 100_000, None, ""),
        (b'{"prompt": "\xff"}', None, "not JSON"),
    ],
)
def test_what_cannot_be_met_is_said(server: RunningServer, body: object, param: str | None, says: str) -> None:
    """A request that makes no sense gets 400, OpenAI's error shape, the field, and what would be right."""
    answer = server.post(body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert says in answer.error["message"]


@pytest.mark.parametrize(
    ("language", "begins"),
    [("es-MX, en;q=0.5", "El texto debe"), ("de, it;q=0.4", "Il testo deve"), ("de", "The prompt"), ("", "The prompt")],
)
def test_prompts_are_refused_in_the_users_language(server: RunningServer, language: str, begins: str) -> None:
    """Accept-Language picks English, Spanish or Italian."""
    assert server.post({"prompt": "gato"}, Accept_Language=language).error["message"].startswith(begins)


def test_other_types_and_sizes_of_bodies_are_refused(server: RunningServer) -> None:
    """A body that is no JSON by its type gets 415, one that is too large 413."""
    assert server.post(b"prompt=7", Content_Type="application/x-www-form-urlencoded").status == 415
    assert server.post({"prompt": "7" * 300_000}).status == 413


def test_unknown_paths_and_methods_are_answered_in_the_same_shape(server: RunningServer) -> None:
    """404 and 405 are errors in OpenAI's shape, too."""
    assert server.get("/v1/images").error["code"] == "http_404"
    answer = server.get("/v1/images/generations")
    assert answer.error["code"] == "http_405" and answer.headers["Allow"] == "POST"


def test_what_was_asked_for_is_counted(server: RunningServer) -> None:
    """Each request is counted once by outcome, and its tokens as demand."""

    def offered(outcome: str) -> float:
        return server.metric("meltguard_inference_requests_received_total", outcome=outcome)

    def tokens() -> float:
        return server.metric("meltguard_inference_image_tokens_requested_total", region="us", tier="paid")

    before = (offered("admitted"), offered("invalid"), tokens())
    headers = {"X_Meltguard_User": "eve", "X_Meltguard_Tier": "paid", "X_Meltguard_Region": "us"}
    assert server.post({"prompt": "7", "n": 2}, **headers).status == 200
    assert server.post({"prompt": "cat"}, **headers).status == 400
    assert (offered("admitted"), offered("invalid"), tokens()) == (before[0] + 1, before[1] + 1, before[2] + 128)


def test_what_the_engine_itself_refuses_is_a_bad_request_and_costs_nothing() -> None:
    """The real engine's own rules come through as 400 with the field, and no image is counted."""
    settings = EngineSettings(num_slots=4, warm_up_seconds=0.1)
    engine = Engine(noise_model((8,)), lambda: NoiseRunner(num_rows=4), settings)
    with running_server(engine) as server:
        answer = server.draw("noise", guidance_scale=0.5, user="ann")
        assert (answer.status, answer.error["param"]) == (400, "guidance_scale")
        windows = server.get("/v1/quota", X_Meltguard_User="ann").json["windows"]
        assert [window["used"] for window in windows] == [0, 0]
        assert server.metric("meltguard_inference_requests_received_total", outcome="invalid") == 1
        guided = server.draw("noise", guidance_scale=2.0, n=2, user="ann")
        assert guided.status == 200 and len(guided.json["data"]) == 2
        assert server.server.pod.gate._in_work == {}
