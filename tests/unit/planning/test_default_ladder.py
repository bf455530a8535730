"""The ladder that comes with meltguard: what each rung does, when it may be entered and left, and how long it stays."""

import pytest

from controller.planning.ladder import default_ladder, is_limiting, is_permitted, milder, shaping_indices
from controller.planning.shaping import quota_admitted_ratio
from controller.types import Approval, Rung

TARGET_CELSIUS = 5.0
LADDER = default_ladder(TARGET_CELSIUS)
MEAN_IMAGES = 6.3


def _of(rung: Rung) -> list[int]:
    return [index for index, step in enumerate(LADDER.steps) if step.rung is rung]


def test_every_rung_is_there_in_order() -> None:
    """Rungs ascend, none is left out, and two of them are ramps: seven quotas and five shares of admission."""
    rungs = [step.rung for step in LADDER.steps]
    assert rungs == sorted(rungs)
    assert set(rungs) == set(Rung)
    assert {rung: len(_of(rung)) for rung in Rung if len(_of(rung)) > 1} == {Rung.LOWER_FREE_QUOTA: 7, Rung.SHED: 5}


def test_quotas_take_about_a_tenth_of_free_use_each_down_to_three_images() -> None:
    """From normal days to the lowest quota no step takes more than a sixth of free use."""
    quotas = [LADDER.steps[index].images_per_day for index in _of(Rung.LOWER_FREE_QUOTA)]
    assert quotas == [14, 10, 8, 6, 5, 4, 3]
    admitted = [1.0, *(quota_admitted_ratio(quota or 0, MEAN_IMAGES) for quota in quotas)]
    taken = [before - after for before, after in zip(admitted[:-1], admitted[1:], strict=True)]
    assert min(taken) > 0.05
    assert max(taken) < 1.0 / 6.0


def test_shedding_keeps_the_lowest_quota_and_admits_less_and_less() -> None:
    """On the way back a tenth, a quarter, a half and all of the demand that the quota leaves are admitted."""
    shed = [LADDER.steps[index] for index in _of(Rung.SHED)]
    assert [step.admission_ratio for step in shed] == [0.75, 0.5, 0.35, 0.25, 0.1]
    assert {step.images_per_day for step in shed} == {3}
    assert all(step.generation_enabled for step in shed)


def test_the_last_rungs_switch_free_use_off_and_only_then_touch_paid() -> None:
    """Rung 6 disables without touching admission; rung 7 halves paid admission, and a person approves it alone."""
    disabled, paid = (LADDER.steps[_of(rung)[0]] for rung in (Rung.DISABLE_FREE, Rung.PAID_IMPACT))
    assert (disabled.generation_enabled, disabled.admission_ratio) == (False, 1.0)
    assert (paid.generation_enabled, paid.admission_ratio) == (False, 0.5)
    manual = [step.rung for step in LADDER.steps if step.approval is Approval.MANUAL]
    assert manual == [Rung.PAID_IMPACT]
    assert all(step.generation_enabled for step in LADDER.steps if step.rung < Rung.DISABLE_FREE)


@pytest.mark.parametrize(
    ("rung", "above_celsius"),
    [
        (Rung.OBSERVE, 4.0),
        (Rung.HOLD, 4.0),
        (Rung.PROVISION, 4.0),
        (Rung.SHAPE_QUIETLY, 1.0),
        (Rung.LOWER_FREE_QUOTA, 0.75),
        (Rung.SHED, 0.5),
        (Rung.DISABLE_FREE, 0.25),
        (Rung.PAID_IMPACT, 0.0),
    ],
)
def test_each_rung_is_considered_before_the_target_is_lost_and_left_half_a_degree_later(
    rung: Rung, above_celsius: float
) -> None:
    """Milder rungs are considered at a larger margin; every exit lies half a degree above its enter."""
    for index in _of(rung):
        step = LADDER.steps[index]
        assert step.enter_margin_celsius == TARGET_CELSIUS + above_celsius
        assert step.exit_margin_celsius == step.enter_margin_celsius + 0.5


def test_only_limits_hold_back_batch_and_dwell() -> None:
    """Watching, holding and growing touch nobody and need no dwell; limits defer batch and last a day at most."""
    for index, step in enumerate(LADDER.steps):
        limiting = step.rung >= Rung.SHAPE_QUIETLY
        assert is_limiting(LADDER, index) is limiting
        assert step.batch_admitted is not limiting
        assert (step.min_dwell_seconds > 0.0) is limiting
        assert step.max_duration_seconds == 24 * 3600.0


def test_a_rung_is_left_after_ninety_seconds_and_a_step_within_it_after_thirty() -> None:
    """The mildest step of a rung has the rung's dwell; the others are a ramp and are left sooner."""
    for rung in (rung for rung in Rung if rung >= Rung.SHAPE_QUIETLY):
        dwells = [LADDER.steps[index].min_dwell_seconds for index in _of(rung)]
        assert dwells == [90.0, *(30.0 for _ in dwells[1:])]


def test_a_person_may_permit_what_is_not_automatic_up_to_a_rung() -> None:
    """Without leave rung 7 is not among the positions; with leave for it, it is, and leave for rung 6 is not enough."""
    last = len(LADDER.steps) - 1
    assert last not in shaping_indices(LADDER)
    assert last in shaping_indices(LADDER, approved=Rung.PAID_IMPACT)
    assert last not in shaping_indices(LADDER, approved=Rung.DISABLE_FREE)
    assert shaping_indices(LADDER)[0] == LADDER.first_of(Rung.SHAPE_QUIETLY)
    assert not is_permitted(LADDER.steps[last], approved=None)


def test_restoring_goes_down_one_position_and_from_the_first_limit_to_none() -> None:
    """Each limit is left for the next milder one; below the first of them nothing is limited."""
    first = LADDER.first_of(Rung.SHAPE_QUIETLY)
    assert milder(LADDER, first) == 0
    for index in range(first + 1, len(LADDER.steps)):
        assert milder(LADDER, index) == index - 1
