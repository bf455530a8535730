"""The page in a real browser: panels are drawn, fit the width, and nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from controller.reporting.html_report import render_report
from tests.reporting_samples import sample_run_set, sample_scenario

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
)
PROBE = """<script>
document.addEventListener('DOMContentLoaded', function () {
  var drawn = {};
  document.querySelectorAll('section.panel').forEach(function (panel) {
    var box = panel.querySelector('svg.plot').getBoundingClientRect();
    var shapes = panel.querySelectorAll('path, rect').length;
    drawn[panel.id] = [Math.round(box.left), Math.round(box.width), Math.round(box.height), shapes];
  });
  var page = document.documentElement;
  var probe = document.createElement('pre');
  probe.id = 'probe';
  probe.textContent = JSON.stringify({
    drawn: drawn, overflow: page.scrollWidth - window.innerWidth,
    fetched: performance.getEntriesByType('resource').length,
    ink: getComputedStyle(document.body).color,
  });
  document.body.appendChild(probe);
});
</script></head>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """The path of a browser; leaves the test out where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no browser here: install chromium")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report with a probe that writes down what the browser made of it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(sample_run_set(), sample_scenario()).replace("</head>", PROBE, 1), encoding="utf-8")
    return path


def run_browser(browser: str, profile: Path, *arguments: str) -> str:
    """Start the browser once and return what it prints."""
    command = [browser, *QUIET, f"--user-data-dir={profile}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


@pytest.mark.real_parts
@pytest.mark.parametrize("width", [1280, 500])
def test_panels_are_drawn_and_aligned_in_a_browser(browser: str, page: Path, tmp_path: Path, width: int) -> None:
    """Every panel has shapes and size, all share one time axis, and the page is no wider than the window."""
    output = run_browser(browser, tmp_path, f"--window-size={width},2000", "--dump-dom", page.as_uri())
    match = re.search(r'<pre id="probe">(.*?)</pre>', output, flags=re.DOTALL)
    assert match is not None
    seen = json.loads(match.group(1).replace("&quot;", '"'))
    assert set(seen["drawn"]) == {f"panel-{name}" for name in ("signups", "heat", "rungs", "nodes", "requests")}
    assert len({(left, across) for left, across, _, _ in seen["drawn"].values()}) == 1
    for left, across, height, shapes in seen["drawn"].values():
        assert left >= 0
        assert across > width * 0.6
        assert height > 50
        assert shapes > 0
    assert seen["overflow"] <= 0
    assert seen["fetched"] == 0


@pytest.mark.real_parts
def test_dark_mode_and_picture(browser: str, page: Path, tmp_path: Path) -> None:
    """A reader of dark pages gets light ink, and the page can be photographed."""
    picture = tmp_path / "report.png"
    dark = "--blink-settings=preferredColorScheme=0"
    output = run_browser(browser, tmp_path / "a", dark, "--dump-dom", page.as_uri())
    assert "rgb(233, 238, 242)" in output
    run_browser(browser, tmp_path / "b", "--window-size=1280,1600", f"--screenshot={picture}", page.as_uri())
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert (width, height) == (1280, 1600)
    assert picture.stat().st_size > 50_000
