"""`meltguard serve` and `meltguard load` as a person runs them: errors in one line, a report in both formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference.serving.engines import gpu_in_sight
from tests.command_line import one_error_line, run_meltguard
from tests.inference_server import running_server


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--listen", "nowhere"), 2, "--listen nowhere: use HOST:PORT"),
        (("--flags", "/missing/flags.json"), 2, "--flags /missing/flags.json: no such file"),
        (("--flags", "grpc://host"), 2, "use grpc://HOST:PORT"),
        (("--model", "test-pattern:fast"), 2, "use test-pattern, or test-pattern:TOKENS_PER_SECOND"),
        (("--model", "/missing/model"), 2, "/missing/model"),
        (("--trusted-proxies", "everybody"), 2, "--trusted-proxies everybody: not a network"),
        (("--redis", "pod:6379"), 2, "--redis pod:6379: use redis://"),
        (("--exporter", "node:9400"), 2, "--exporter node:9400: use an address"),
        (("--grace", "soon"), 2, "--grace soon: use a duration"),
        (("--drain-delay", "-1s"), 2, "--drain-delay -1s: use a duration"),
        (("--train-digits", "--model", "other"), 2, "trains the model digits"),
        (("--listen", "203.0.113.1:80"), 1, "choose another"),
    ],
)
def test_wrong_arguments_of_serve_are_one_line(arguments: tuple[str, ...], code: int, says: str) -> None:
    """What cannot be served ends with one line that names the cure."""
    given = arguments if "--model" in arguments else (*arguments, "--model", "test-pattern")
    result = run_meltguard("serve", *given, "--log-level", "error")
    assert result.returncode == code, result.stderr
    assert says in one_error_line(result)


def test_the_default_model_says_how_to_make_it(tmp_path: Path) -> None:
    """Without a trained digit model the command says which flag trains it."""
    result = run_meltguard("serve", "--listen", "127.0.0.1:0", variables={"XDG_CACHE_HOME": str(tmp_path)})
    assert result.returncode == 2
    assert "--train-digits" in one_error_line(result)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pod:8000",), "use an address such as http://"),
        (("http://127.0.0.1:9", "--tiers", "free=no"), "--tiers free=no"),
        (("http://127.0.0.1:9", "--duration", "x"), "--duration x"),
    ],
)
def test_wrong_arguments_of_load_are_one_line(arguments: tuple[str, ...], says: str) -> None:
    """Arguments that cannot be used exit 2 with one line."""
    result = run_meltguard("load", *arguments)
    assert result.returncode == 2
    assert says in one_error_line(result)


@pytest.mark.parametrize(
    ("visible", "gpu"),
    [("GPU-8a5c2d1e,GPU-ffff", "GPU-8a5c2d1e"), ("void", "0"), ("all", "0"), ("", "0"), ("MIG-1f", "0")],
)
def test_the_gpu_of_the_pod_is_the_one_that_it_was_given(
    visible: str, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device plugin's word decides which GPU the guard watches; without one, and without a GPU, it is the first."""
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", visible)
    assert gpu_in_sight("cpu") == gpu


def test_load_says_when_nobody_answers() -> None:
    """A server that is not there is a failure in one line."""
    result = run_meltguard("load", "http://127.0.0.1:9", "--duration", "1s")
    assert result.returncode == 1
    assert "does not answer" in one_error_line(result)


def test_load_reports_what_a_server_did() -> None:
    """The JSON report counts what the server counted, and the text report has a row a tier."""
    with running_server() as server:
        options = ("--rate", "30", "--duration", "2s", "--users", "5000", "--regions", "eu,us", "--log-level", "error")
        result = run_meltguard("load", server.url, *options, "--output", "json")
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["schema"] == "meltguard.load/v1"
        assert found["total"]["served"] == found["total"]["offered"] > 0
        counted = server.metric("meltguard_inference_requests_received_total", outcome="admitted")
        assert found["total"]["served"] == counted
        assert server.metric("meltguard_inference_requests_received_total", region="us") > 0
        text = run_meltguard("load", server.url, *options, "--seed", "2")
        assert "tier free" in text.stdout and "region eu" in text.stdout
