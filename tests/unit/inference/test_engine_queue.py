"""Who goes next: weights, ageing, reserved slots, and rows without gaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.outlook import Load
from inference.engine.requests import Conditioning, GenerationRequest, ImageSize, Sampling
from inference.engine.rows import RowTable
from inference.engine.settings import EngineSettings, EngineSettingsError
from inference.engine.stream import EventStream
from inference.engine.waiting import WaitingQueue, next_tier
from inference.engine.work import ImageTask, Job, partial_marks

SIZE = ImageSize(width=8, height=8)


def _job(name: str = "a", tier: str = "free", weight: float = 0.0, guided: bool = False) -> Job:
    request = GenerationRequest(
        request_id=name,
        conditioning=Conditioning(tokens=(0,)),
        size=SIZE,
        seed=0,
        tier=tier,
        priority_weight=weight,
        sampling=Sampling(guidance_scale=2.0 if guided else 1.0),
    )
    return Job(request=request, stream=EventStream(request, lambda request_id: None), submitted_at=0.0)


def _queued(queue: WaitingQueue, job: Job, submitted_at: float) -> Job:
    key = queue.next_key(job.request.priority_weight, submitted_at)
    job.images = [ImageTask(job=job, image_index=0, key=key, num_tokens=64, num_columns=8, partial_after=())]
    queue.add(job)
    return job


def test_heavier_overtakes_only_within_its_head_start() -> None:
    """A weight of one is a head start of so many seconds: enough against younger work, not against older."""
    queue = WaitingQueue(seconds_per_weight=30.0)
    _queued(queue, _job("old", "free"), submitted_at=0.0)
    _queued(queue, _job("young", "free"), submitted_at=25.0)
    _queued(queue, _job("paid", "free", weight=1.0), submitted_at=40.0)
    assert [queue.pop("free").job.request.request_id for _ in range(3)] == ["old", "paid", "young"]


def test_equals_go_in_order_of_arrival() -> None:
    """Of two that arrived at the same time the first submitted goes first."""
    queue = WaitingQueue(seconds_per_weight=30.0)
    for name in ("b", "a"):
        _queued(queue, _job(name), submitted_at=1.0)
    assert [queue.pop("free").job.request.request_id for _ in range(2)] == ["b", "a"]


def test_removed_request_leaves_no_tokens_behind() -> None:
    """The tokens of a request that is taken out are no longer counted."""
    queue = WaitingQueue(seconds_per_weight=30.0)
    gone = _queued(queue, _job("gone"), submitted_at=0.0)
    _queued(queue, _job("stays"), submitted_at=0.0)
    queue.remove(gone)
    assert (queue.num_tokens, len(queue)) == (64, 1)


RESERVED = {"paid": 2}
EARLY, LATE = (0.0, 0, 0), (1.0, 1, 0)


@pytest.mark.parametrize(
    ("heads", "num_free", "busy", "expected"),
    [
        ({"free": (EARLY, 1)}, 2, {"free": 2}, None),
        ({"free": (EARLY, 2)}, 2, {}, "free"),
        ({"free": (EARLY, 2), "paid": (LATE, 1)}, 2, {}, "paid"),
        ({"free": (EARLY, 1)}, 3, {}, "free"),
        ({"free": (EARLY, 1)}, 2, {"paid": 1}, "free"),
        ({"free": (EARLY, 1), "paid": (LATE, 1)}, 2, {}, "paid"),
        ({"free": (EARLY, 1), "paid": (LATE, 1)}, 3, {}, "free"),
        ({"free": (EARLY, 2), "paid": (LATE, 1)}, 1, {"paid": 2}, None),
        ({"free": (EARLY, 2), "trial": (LATE, 1)}, 3, {"free": 1}, None),
        ({"paid": (EARLY, 2)}, 1, {}, None),
        ({}, 5, {}, None),
    ],
    ids=[
        "free leaves both reserved rows alone",
        "unless nothing runs",
        "and nobody may go within a reservation",
        "free takes the third",
        "a row in use by paid is no longer kept",
        "paid passes a waiting free one within its reservation",
        "first come first served where both fit",
        "nobody passes a guided image that waits for its second row, beyond reservations",
        "nor does a smaller one of a tier without reservation",
        "a guided image does not start with one row",
        "nobody waits",
    ],
)
def test_reserved_rows(
    heads: dict[str, tuple[tuple[float, int, int], int]], num_free: int, busy: dict[str, int], expected: str | None
) -> None:
    """Other tiers leave reserved rows free; beyond reservations nobody passes the first in the queue."""
    found = next_tier(
        {tier: Load(key=key, tier=tier, num_rows=num_rows, num_steps=1) for tier, (key, num_rows) in heads.items()},
        num_free_rows=num_free,
        busy_by_tier=busy,
        reserved_by_tier=RESERVED,
    )
    assert found == expected


@given(st.data())
def test_rows_have_no_gaps_and_moves_say_where_everything_went(data: st.DataObject) -> None:
    """After any takes and releases the busy rows are 0..n-1, and a runner that follows the moves agrees with it."""
    table, present = RowTable(), []
    runner: dict[int, ImageTask] = {}
    for step in range(data.draw(st.integers(1, 30))):
        if present and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(present))
            present.remove(gone)
            moves, _ = table.release(gone)
            for move in moves:
                runner[move.target] = runner.pop(move.source)
            runner = {row: image for row, image in runner.items() if row < table.num_busy}
        else:
            job = _job(f"{step}", data.draw(st.sampled_from(["free", "paid"])), guided=data.draw(st.booleans()))
            image = ImageTask(job=job, image_index=0, key=(0.0, step, 0), num_tokens=4, num_columns=2, partial_after=())
            table.take(image)
            present.append(image)
            runner |= dict.fromkeys(image.rows, image)
        assert sorted(row for image in present for row in image.rows) == list(range(table.num_busy))
        assert {row: image for image in present for row in image.rows} == runner
        assert sum(table.busy_by_tier.values()) == table.num_busy
        assert sorted(table.images, key=id) == sorted(present, key=id)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 3))
def test_partial_images_end_with_a_row(num_rows: int, num_columns: int, num_partial: int) -> None:
    """Partial images come at ends of rows, before the last, rising, and as many as were asked for if there are rows."""
    marks = partial_marks(num_rows * num_columns, num_columns, num_partial)
    assert all(mark % num_columns == 0 and 0 < mark < num_rows * num_columns for mark in marks)
    assert list(marks) == sorted(set(marks))
    assert len(marks) == min(num_partial, num_rows - 1) or num_rows <= 2 * num_partial


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_slots": 1},
        {"max_queued_requests": 0},
        {"max_queued_tokens": 0},
        {"reserved_slots": {"paid": 15}},
        {"reserved_slots": {"paid": -1}},
        {"idle_seconds": 0.0},
        {"seconds_per_weight": float("nan")},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    """Settings that cannot be, alone or together, are refused by name when they are made."""
    with pytest.raises(EngineSettingsError, match=next(iter(wrong))):
        EngineSettings(**wrong)  # type: ignore[arg-type]
