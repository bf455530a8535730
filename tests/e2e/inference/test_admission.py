"""Admission over HTTP: what flags, quotas, queue and drain answer, and that every refusal says what the user needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.engine.ports import WorkBound
from inference.stepped.engine import SteppedEngine
from tests.flag_documents import flag_document, write_flags
from tests.inference_server import Answer, RunningServer, running_server


@pytest.fixture
def flag_file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.json"
    path.write_text(flag_document(1))
    return path


@pytest.fixture
def server(flag_file: Path) -> Iterator[RunningServer]:
    with running_server(flags=str(flag_file)) as running:
        yield running


def apply(server: RunningServer, path: Path, revision: int, **limits: Any) -> None:
    """Write flags and wait until the server holds them."""
    write_flags(path, flag_document(revision, **limits))
    server.wait(lambda: server.server.pod.provider.state().revision == revision)


def assert_explains(answer: Answer, status: int, code: str, limit: str) -> None:
    """Check what every refusal must say."""
    assert answer.status == status, answer.body
    assert answer.error["code"] == code
    assert answer.error["limit"] == limit
    assert answer.error["reason"] and answer.error["message"]
    assert int(answer.headers["Retry-After"]) >= answer.error["retry_after_seconds"] > 0


def test_a_disabled_region_is_forbidden_for_the_tier_alone(server: RunningServer, flag_file: Path) -> None:
    """image-generation-enabled false gives 403 region_disabled in its region and tier, and nobody else is limited."""
    apply(server, flag_file, 2, image_generation_enabled=False, limit_reason="heat", seconds=600)
    answer = server.draw()
    assert_explains(answer, 403, "region_disabled", "image-generation-enabled")
    assert answer.error["flag_reason"] == "heat"
    # The rule's own end is the earliest time that helps.
    assert 500 < answer.error["retry_after_seconds"] <= 600
    assert server.draw(tier="paid").status == 200
    elsewhere = server.post({"prompt": "7"}, X_Meltguard_User="ann", X_Meltguard_Region="us")
    assert elsewhere.status == 200


def test_a_limit_ends_at_its_expiry_without_a_controller(server: RunningServer, flag_file: Path) -> None:
    """Nobody writes any more; the limit ends at the time that stands inside its rule."""
    apply(server, flag_file, 2, image_generation_enabled=False, seconds=3)
    assert server.draw().status == 403
    server.wait(lambda: server.draw().status == 200, seconds=8)


@pytest.mark.parametrize(
    "broken",
    ["{", '{"flags": []}', '{"flags": {"admission-ratio": {"state": "ON"}}}', ""],
    ids=["half a file", "no flags", "no state", "empty"],
)
def test_a_broken_flag_file_changes_nothing_and_is_reported(
    server: RunningServer, flag_file: Path, broken: str
) -> None:
    """The last good set stays in force, readiness says what is wrong, and a metric counts it."""
    apply(server, flag_file, 2, image_generation_enabled=False)
    write_flags(flag_file, broken)
    server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="malformed") >= 1)
    assert server.draw().status == 403
    assert server.get("/readyz").json["flags_problem"]
    assert server.get("/readyz").status == 200
    assert server.metric("meltguard_flags_revision") == 2
    apply(server, flag_file, 3)
    assert server.draw().status == 200
    assert server.get("/readyz").json["flags_problem"] == ""


def test_a_flag_that_cannot_be_evaluated_does_not_lift_the_limit(server: RunningServer, flag_file: Path) -> None:
    """A value of the wrong type would evaluate to the caller's default, so the whole set is refused."""
    apply(server, flag_file, 2, images_per_day=0)
    write_flags(flag_file, flag_document(3, images_per_day="many"))
    server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="wrong_value") >= 1)
    assert_explains(server.draw(), 429, "quota_exceeded", "images-per-day")


@pytest.mark.parametrize("older", [1, None])
def test_a_lower_revision_is_refused(server: RunningServer, flag_file: Path, older: int | None) -> None:
    """A set with a lower revision, or with none, does not replace one with a higher."""
    apply(server, flag_file, 7, image_generation_enabled=False)
    write_flags(flag_file, flag_document(older))
    server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="older") >= 1)
    assert server.draw().status == 403
    assert server.metric("meltguard_flags_revision") == 7


def test_a_flag_file_that_vanishes_leaves_the_flags_and_their_age_grows(server: RunningServer, flag_file: Path) -> None:
    """Without its source a set stays in force, and its age tells."""
    apply(server, flag_file, 2, image_generation_enabled=False)
    flag_file.unlink()
    server.wait(lambda: server.metric("meltguard_flags_age_seconds") > 0.5)
    assert server.draw().status == 403
    assert server.metric("meltguard_flags_refused_total", reason="unreadable") >= 1


def test_quotas_count_images_and_say_what_is_left(server: RunningServer, flag_file: Path) -> None:
    """A quota of the flags refuses the image beyond it, says when it returns, and other users have their own."""
    apply(server, flag_file, 2, images_per_day=3)
    assert server.draw(n=2).status == 200
    answer = server.draw(n=2)
    assert_explains(answer, 429, "quota_exceeded", "images-per-day")
    assert (answer.error["maximum"], answer.error["remaining"]) == (3, 1)
    assert answer.error["retry_after_seconds"] > 86_000
    assert server.draw(n=1).status == 200
    assert server.draw(user="bob").status == 200
    windows = server.get("/v1/quota", X_Meltguard_User="ann").json["windows"]
    assert [window["remaining"] for window in windows] == [47, 0]


def test_usage_counts_whatever_the_limit_was_when_it_happened(server: RunningServer, flag_file: Path) -> None:
    """Lowering a quota does not begin a new count, and raising it again gives back what is left of it."""
    assert server.draw(n=4).status == 200
    apply(server, flag_file, 2, images_per_day=4)
    assert server.draw().status == 429
    apply(server, flag_file, 3)
    assert server.draw().status == 200


def test_a_refused_request_costs_no_quota(server: RunningServer, flag_file: Path) -> None:
    """Neither a quota refusal nor a full region counts images."""
    apply(server, flag_file, 2, images_per_hour=2)
    assert [server.draw(n=3).status for _ in range(3)] == [429] * 3
    assert server.draw(n=2).status == 200


def test_limits_do_not_touch_admitted_work(flag_file: Path) -> None:
    """A request that was admitted is finished, whatever flags say in the meantime."""
    slow = SteppedEngine(tokens_per_second=60.0, num_slots=2)
    with running_server(slow, flags=str(flag_file)) as server, ThreadPoolExecutor(1) as pool:
        admitted = pool.submit(server.draw)
        server.wait(lambda: server.engine.snapshot().num_running_requests == 1)
        apply(server, flag_file, 2, image_generation_enabled=False)
        assert server.draw(user="bob").status == 403
        assert not admitted.done()
        assert admitted.result(timeout=30).status == 200


def test_a_share_of_users_is_admitted_by_turns(server: RunningServer, flag_file: Path) -> None:
    """admission-ratio admits about its share of users; asking again at once does not help; Retry-After is the turn."""
    apply(server, flag_file, 2, admission_ratio=0.5)
    users = [f"user-{number}" for number in range(60)]
    first = {user: server.draw(user=user).status for user in users}
    num_admitted = sum(status == 200 for status in first.values())
    assert 12 <= num_admitted <= 48
    refused = next(user for user, status in first.items() if status != 200)
    answer = server.draw(user=refused)
    assert_explains(answer, 429, "contended", "admission-ratio")
    assert answer.error["retry_after_seconds"] <= 60 * 60


def test_batch_work_is_deferred(server: RunningServer, flag_file: Path) -> None:
    """batch-admitted false refuses the batch tier only."""
    apply(server, flag_file, 2, batch_admitted=False, tier="batch")
    assert_explains(server.draw(tier="batch"), 429, "contended", "batch-admitted")
    assert server.draw().status == 200


def test_a_user_has_so_many_images_at_once() -> None:
    """max-concurrent-images bounds a user's images in work, and they free their place when they end."""
    with running_server(SteppedEngine(tokens_per_second=200.0, num_slots=4)) as server:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(server.draw, n=4)
            server.wait(lambda: server.engine.snapshot().num_running_requests == 1)
            answer = server.draw()
            assert_explains(answer, 429, "contended", "max-concurrent-images")
            assert running.result(timeout=30).status == 200
        assert server.draw().status == 200


def test_a_full_queue_refuses_with_the_time_it_takes_to_drain() -> None:
    """Free requests leave the last fifth of the queue to paid ones, and Retry-After is queued tokens over speed."""
    engine = SteppedEngine(tokens_per_second=128.0, num_slots=2, max_queued_tokens=640)
    with running_server(engine, max_wait_seconds=60.0) as server, ThreadPoolExecutor(40) as pool:
        free = [pool.submit(server.draw, user=f"user-{number}") for number in range(20)]
        server.wait(lambda: server.metric("meltguard_inference_requests_refused_total", reason="queue_full") >= 1)
        assert server.draw(user="payer", tier="paid").status == 200
        answers = [future.result(timeout=60) for future in free]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(refused) >= 2
    for answer in refused:
        assert_explains(answer, 429, "contended", "queue-tokens")
        # One image's tokens in excess, and those that the refused before it were told to come back with.
        assert answer.error["retry_after_seconds"] <= len(refused) * 64 / 128 + 1


def test_a_hot_gpu_refuses_with_its_reason(server: RunningServer) -> None:
    """While the guard lets no slot work, the answer is 503 no_capacity and names heat."""
    server.engine.set_bound(WorkBound(occupancy_ratio=0.0, duty_ratio=0.0))
    answer = server.draw()
    assert_explains(answer, 503, "no_capacity", "thermal-guard")
    assert "warm" in answer.error["message"]
    server.engine.set_bound(WorkBound())
    assert server.draw().status == 200


def test_an_engine_that_starts_is_alive_but_not_ready() -> None:
    """Until the engine is warm, readiness fails, liveness does not, and requests get 503 with Retry-After."""
    with running_server(SteppedEngine(warm_up_seconds=2.0), awaits_warmth=False) as server:
        assert server.get("/readyz").json["missing"] == ["engine is not warm"]
        assert server.get("/livez").status == 200
        assert_explains(server.draw(), 503, "no_capacity", "pod")
        server.wait(lambda: server.get("/readyz").status == 200)
        assert server.draw().status == 200


def test_retries_are_told_from_first_attempts(server: RunningServer, flag_file: Path) -> None:
    """A retry is what its client calls one, or what follows a refusal; everything else is a first attempt."""

    def counted(attempt: str) -> float:
        return server.metric("meltguard_inference_requests_received_total", attempt=attempt)

    apply(server, flag_file, 2, images_per_day=0)
    assert [server.draw().status for _ in range(3)] == [429, 429, 429]
    assert (counted("first"), counted("retry")) == (1, 2)
    server.post({"prompt": "7"}, X_Meltguard_User="bob", X_Stainless_Retry_Count="1")
    assert counted("retry") == 3
    assert server.draw(user="carl", tier="paid").status == 200
    assert counted("first") == 2


def test_anonymous_users_are_told_apart_by_key_or_address(server: RunningServer, flag_file: Path) -> None:
    """A key is a user; without one, the address that a trusted proxy names is."""
    apply(server, flag_file, 2, images_per_day=1)
    ask = {"prompt": "7"}
    assert server.post(ask, Authorization="Bearer one").status == 200
    assert server.post(ask, Authorization="Bearer one").status == 429
    assert server.post(ask, Authorization="Bearer two").status == 200
    assert server.post(ask, X_Forwarded_For="203.0.113.7").status == 200
    assert server.post(ask, X_Forwarded_For="198.51.100.1, 203.0.113.7").status == 429
    assert server.post(ask, X_Forwarded_For="203.0.113.8").status == 200


def test_headers_from_strangers_are_not_believed() -> None:
    """Who is no trusted proxy cannot name itself another user or a paid tier."""
    with running_server(trusted=()) as server:
        quota = server.get("/v1/quota", X_Meltguard_Tier="paid", X_Meltguard_User="boss").json
    assert quota["tier"] == "free"
    assert quota["windows"][1]["limit"] == 100


@pytest.mark.parametrize(("language", "word"), [("en", "Try again"), ("es", "Vuelva"), ("it", "Riprovi")])
def test_refusals_speak_the_users_language(server: RunningServer, flag_file: Path, language: str, word: str) -> None:
    """The message of a limited request is English, Spanish or Italian, and says so in Content-Language."""
    apply(server, flag_file, 2, images_per_day=0)
    headers = {"X_Meltguard_User": "ann", "Accept_Language": language}
    answer = server.post({"prompt": "7"}, **headers)
    assert word in answer.error["message"]
    assert answer.headers["Content-Language"] == language


def test_a_flag_change_reaches_admission_within_a_second_by_file(server: RunningServer, flag_file: Path) -> None:
    """The file is looked at often enough: counted in looks, not in wall time, which a busy machine stretches."""
    from inference.admission.flags.sources import LOOK_SECONDS, FileSource

    assert LOOK_SECONDS <= 0.5
    provider = server.server.pod.provider
    source = FileSource(flag_file, provider)
    source.look()
    write_flags(flag_file, flag_document(9, images_per_day=0))
    source.look()
    assert provider.state().revision == 9
    assert time.time() - (provider.state().accepted_at_unix or 0.0) < 60
