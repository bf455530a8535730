"""Start, drain, hang: what probes say, what becomes of work, and how the process ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from inference.engine.engine import Engine
from inference.engine.errors import ModelError
from inference.engine.settings import EngineSettings
from inference.runners.noise import NoiseRunner, noise_model
from inference.stepped.engine import SteppedEngine
from tests.inference_server import RunningServer, running_server


def test_draining_finishes_what_runs_and_refuses_what_comes() -> None:
    """After SIGTERM's drain began: readiness and new requests get 503, admitted work ends well, probes are served."""
    with running_server(SteppedEngine(tokens_per_second=128.0, num_slots=2)) as server, ThreadPoolExecutor(4) as pool:
        running = [pool.submit(server.draw, user=f"u{number}") for number in range(2)]
        server.wait(lambda: server.engine.snapshot().num_busy_slots == 2)
        draining = pool.submit(server.run, server.server.drain())
        server.wait(lambda: server.get("/readyz").status == 503)
        assert "draining" in server.get("/readyz").json["missing"]
        answer = server.draw(user="late")
        assert answer.status == 503
        assert answer.error["code"] == "draining"
        assert int(answer.headers["Retry-After"]) >= 1
        assert server.get("/livez").status == 200
        assert server.metric("meltguard_inference_draining") == 1
        assert [future.result(timeout=30).status for future in running] == [200, 200]
        draining.result(timeout=30)


def test_readiness_fails_before_admission_stops() -> None:
    """During the delay the pod is unready, so that it is routed around, and yet draws for who still comes."""
    with running_server(drain_delay_seconds=60.0) as server:
        assert server.get("/readyz").status == 200
        draining = asyncio.run_coroutine_threadsafe(server.server.drain(), server.loop)
        server.wait(lambda: server.get("/readyz").status == 503)
        assert server.get("/readyz").json["missing"] == ["draining"]
        assert server.metric("meltguard_inference_draining") == 1
        assert server.draw(user="late").status == 200
        assert server.get("/livez").status == 200
        assert not draining.done()
        draining.cancel()


def test_what_cannot_finish_in_time_is_handed_back() -> None:
    """Work beyond the grace period gets 503 with Retry-After, and its images go back to the quota."""
    engine = SteppedEngine(tokens_per_second=20.0, num_slots=2)
    with running_server(engine, grace_seconds=0.5) as server, ThreadPoolExecutor(8) as pool:
        admitted = [pool.submit(server.draw, user="ann", tier="paid") for _ in range(5)]
        server.wait(lambda: server.engine.snapshot().num_busy_slots == 2)
        server.wait(lambda: server.engine.snapshot().num_queued_requests == 3)
        server.run(server.server.drain())
        answers = [future.result(timeout=30) for future in admitted]
        assert {answer.status for answer in answers} == {503}
        assert {answer.error["code"] for answer in answers} == {"draining"}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        server.wait(lambda: server.metric("meltguard_inference_requests_ended_total", outcome="draining") == 5)
        windows = server.get("/v1/quota", X_Meltguard_User="ann", X_Meltguard_Tier="paid").json["windows"]
        assert [window["used"] for window in windows] == [0, 0]


def test_a_stream_that_is_handed_back_ends_with_an_error_event() -> None:
    """Who streams gets the same refusal as an event."""
    engine = SteppedEngine(tokens_per_second=20.0, num_slots=2)
    with running_server(engine, grace_seconds=0.2) as server, ThreadPoolExecutor(2) as pool:
        stream = pool.submit(server.draw, stream=True)
        server.wait(lambda: server.engine.snapshot().num_busy_slots == 1)
        server.run(server.server.drain())
        last = stream.result(timeout=30).body.decode().strip().split("\n\n")[-1]
        assert last.startswith("event: error")
        assert json.loads(last.partition("data: ")[2])["error"]["code"] == "draining"


def test_a_hung_engine_fails_liveness_and_readiness() -> None:
    """When the engine's loop stops going round, probes say so, and they are answered."""
    engine = SteppedEngine()
    with running_server(engine, hang_seconds=0.3) as server:
        assert server.get("/livez").status == 200
        engine.hang()
        server.wait(lambda: server.get("/livez").status == 503)
        assert server.get("/healthz").status == 503
        assert "engine hangs" in server.get("/readyz").json["missing"]
        engine.hang(False)
        server.wait(lambda: server.get("/livez").status == 200)


def test_a_model_that_loads_slowly_does_not_look_hung() -> None:
    """While the real engine loads, it is alive but not ready, however long that takes; then it serves."""
    loaded = threading.Event()

    def open_runner() -> NoiseRunner:
        assert loaded.wait(30)
        return NoiseRunner(num_rows=4)

    engine = Engine(noise_model((8,)), open_runner, EngineSettings(num_slots=4, warm_up_seconds=0.1))
    with running_server(engine, awaits_warmth=False, hang_seconds=0.1) as server:
        time.sleep(0.3)
        assert server.get("/livez").status == 200
        assert server.get("/readyz").json["missing"] == ["engine is not warm"]
        loaded.set()
        server.wait(lambda: server.get("/readyz").status == 200)
        assert server.draw("noise").status == 200


def test_an_engine_that_cannot_load_fails_liveness_and_says_why() -> None:
    """A model that cannot be opened is no reason to wait: liveness fails, and readiness names the reason."""

    def open_runner() -> NoiseRunner:
        raise ModelError("the weights are torn; train them again")

    engine = Engine(noise_model((8,)), open_runner, EngineSettings(num_slots=4))
    with running_server(engine, awaits_warmth=False) as server:
        server.wait(lambda: server.get("/livez").status == 503)
        assert any("the weights are torn" in what for what in server.get("/readyz").json["missing"])
        answer = server.draw("noise")
        assert (answer.status, answer.error["code"]) == (503, "no_capacity")


@contextmanager
def serving_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `meltguard serve` as a process; yield it and its address."""
    program = str(Path(sys.executable).parent / "meltguard")
    command = [program, "serve", "--listen", "127.0.0.1:0", "--output", "json", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TERM": "dumb"}
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)["address"]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def test_the_command_serves_and_ends_with_zero_on_sigterm() -> None:
    """`meltguard serve` names its address, generates, leaves, drains what runs on SIGTERM and exits 0."""
    arguments = ("--model", "test-pattern:64", "--slots", "2", "--drain-delay", "100ms")
    with serving_process(*arguments) as (process, address):
        server = RunningServer(url=address, server=None, engine=None, loop=None)  # type: ignore[arg-type]
        server.wait(lambda: server.get("/readyz").status == 200)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(server.draw)
            server.wait(lambda: server.metric("meltguard_inference_slots", state="busy") == 1)
            process.send_signal(signal.SIGTERM)
            assert running.result(timeout=30).status == 200
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        events = [json.loads(line)["event"] for line in errors.splitlines()]
        assert events == ["server.listening", "server.leaving", "server.draining", "server.drained", "server.stopped"]


def test_a_second_signal_ends_at_once() -> None:
    """Who asks twice does not want to wait for the grace period."""
    arguments = ("--model", "test-pattern:4", "--slots", "2", "--grace", "60s")
    with serving_process(*arguments) as (process, address), ThreadPoolExecutor(1) as pool:
        server = RunningServer(url=address, server=None, engine=None, loop=None)  # type: ignore[arg-type]
        server.wait(lambda: server.get("/readyz").status == 200)
        running = pool.submit(server.draw)
        server.wait(lambda: server.metric("meltguard_inference_slots", state="busy") == 1)
        process.send_signal(signal.SIGTERM)
        server.wait(lambda: server.get("/readyz").status == 503)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert time.monotonic() - began < 30
        assert running.exception(timeout=30) is not None or running.result().status >= 500
