"""What every test gets: hypothesis profiles, the rules about leaving tests out, and the real parts.

The rules: outside CI a test whose real part, GPU or data is missing is left out, and the end of the run says so in
one block. In CI (`CI=true`) only tests that need a GPU or recorded data may be left out; any other skip fails the run.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["tools.real_parts.fixtures"]

IN_CI = os.environ.get("CI") == "true"
DATA_VARIABLE = "MELTGUARD_DATA"
MAY_BE_LEFT_OUT = {"gpu", "recorded_data"}
GPU_DEVICE = Path("/dev/nvidia0")

# The failing example's blob and the seed of the run are printed, so every failure can be run again.
hypothesis.settings.register_profile("small", max_examples=25, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", max_examples=50, deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.register_profile("planner-nightly", max_examples=10_000, deadline=None, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "small")
hypothesis.settings.load_profile(PROFILE)

_left_out: list[tuple[str, str]] = []
_forbidden: list[tuple[str, str]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of random examples here, before hypothesis starts, so that the run can name it."""
    if config.option.hypothesis_seed is None and not hypothesis.settings().derandomize:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say under which rules this run stands, and how to draw the same examples again."""
    seed = config.option.hypothesis_seed
    examples = f"--hypothesis-seed={seed}" if seed is not None else "the same examples in each run"
    skips = "no skips but for a GPU or recorded data" if IN_CI else "not in CI"
    return [f"meltguard: HYPOTHESIS_PROFILE={PROFILE}, {examples}; {skips}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for recorded data, and leave out GPU tests where there is no GPU."""
    for item in items:
        if "recorded_data_directory" in getattr(item, "fixturenames", ()):
            item.add_marker("recorded_data")
        if item.get_closest_marker("gpu") and not GPU_DEVICE.exists():
            item.add_marker(pytest.mark.skip(reason=f"no GPU here ({GPU_DEVICE} does not exist)"))


@pytest.fixture(scope="session")
def recorded_data_directory() -> Path:
    """The folder of recorded telemetry and traces; leaves the test out where it does not exist."""
    directory = Path(os.environ.get(DATA_VARIABLE, Path(__file__).parents[2] / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no recorded data: set {DATA_VARIABLE} to its folder")
    return directory


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take note of every test that is left out, and judge whether it may be."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _take_note(report, bool(MAY_BE_LEFT_OUT & set(report.keywords)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Take note of whole modules that are left out."""
    if report.skipped:
        _take_note(report, False)


def _take_note(report: pytest.TestReport | pytest.CollectReport, is_marked: bool) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    _left_out.append((report.nodeid, reason))
    if not is_marked and DATA_VARIABLE not in reason:
        _forbidden.append((report.nodeid, reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that left out what it may not."""
    if IN_CI and _forbidden and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """List what was left out and why, one line per reason."""
    result = yield
    if _left_out:
        counts: dict[str, int] = {}
        for _, reason in _left_out:
            counts[reason] = counts.get(reason, 0) + 1
        terminalreporter.section("left out")
        for reason, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count} x {reason}")
    if IN_CI and _forbidden:
        terminalreporter.section("left out, but may not be in CI", red=True)
        for nodeid, reason in _forbidden:
            terminalreporter.write_line(f"{nodeid}: {reason}")
    return result
