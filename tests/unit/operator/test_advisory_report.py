"""The advisory report: alarms that came true, alarms that did not, trouble that nobody announced."""

from dataclasses import replace
from datetime import timedelta

from controller.operator.advisory_report import advisory_report, report_text
from controller.planning import plan
from controller.planning.audit import DecisionRecord
from controller.types import Mode, PlanMemory, Sample
from tests.planning_samples import NOW, forecasts, policy, pool_state, snapshot, thermal

RULES = policy(1, mode=Mode.ADVISORY)


def records(*looks):
    """Return one record a minute; each look is load, growth and temperature at zero power."""
    found, memory = [], PlanMemory()
    for index, (load, growth, offset) in enumerate(looks):
        now = NOW + timedelta(minutes=index)
        response = thermal(load, offset_celsius=offset)
        seen = snapshot(RULES, load, now=now)
        pools = tuple(pool_state(p.name, p.region, load, as_of=now, response=response) for p in seen.pools)
        seen = replace(seen, pools=pools)
        ahead = forecasts(RULES, load, growth=growth, now=now)
        made = plan(seen, ahead, RULES, memory, now)
        found.append(DecisionRecord(now=now, snapshot=seen, forecasts=ahead, policy=RULES, memory=memory, plan=made))
        memory = made.memory
    return found


CALM, SURGE, HOT = (0.2, 1.0, 35.0), (0.9, 3.0, 44.0), (1.0, 1.0, 50.0)


def test_an_alarm_before_trouble_came_true():
    """Trouble within the horizon of an alarm is announced by it, with its lead."""
    (report,) = advisory_report(records(CALM, SURGE, SURGE, HOT, HOT), None)
    (region,) = report.regions
    assert [alarm.trouble_at is not None for alarm in region.alarms] == [True]
    assert region.alarms[0].trouble_at - region.alarms[0].began_at == timedelta(minutes=2)
    assert region.missed == () and region.trouble_minutes == 1.0
    assert "came true, first action 2 to 2 min ahead" in report_text(report)


def test_trouble_without_an_alarm_is_missed():
    """Trouble that begins while the planner would do nothing is counted against it."""
    rows = records(CALM, CALM)
    pools = tuple(replace(p, throttled_ratio=Sample.fresh(0.5, rows[1].now)) for p in rows[1].snapshot.pools)
    rows[1] = replace(rows[1], snapshot=replace(rows[1].snapshot, pools=pools))
    (report,) = advisory_report(rows, None)
    assert report.regions[0].missed == (rows[1].now,)


def test_only_the_last_stretch_counts():
    """`--since` leaves out what is older than the newest record by more than that."""
    (report,) = advisory_report(records(SURGE, CALM, CALM, CALM), timedelta(minutes=1))
    assert report.num_decisions == 2 and report.begins_at == NOW + timedelta(minutes=2)


def test_an_order_that_nobody_carries_out_counts_once():
    """In advisory mode the same order comes again and again; it is one order."""
    once = advisory_report(records(SURGE), None)[0].regions[0].nodes_ordered
    rows = records(SURGE)
    again = [rows[0], replace(rows[0], now=rows[0].now + timedelta(minutes=1))]
    assert advisory_report(again, None)[0].regions[0].nodes_ordered == once > 0
