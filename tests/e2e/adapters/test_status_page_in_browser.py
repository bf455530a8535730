"""The status page in a real browser: it fits a desk and a phone, fetches nothing and runs nothing."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from controller.operator.status_page import render_status_page
from tests.status_samples import status_in_a_surge

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--allow-file-access-from-files",
)
# A browser's window is never narrower than 500 pixels; a frame may be as narrow as a phone.
FRAME = """<!doctype html><body style="margin:0">
<iframe id="f" src="page.html" style="width:%dpx;height:3000px;border:0"></iframe><script>
document.getElementById('f').addEventListener('load', function () {
  var inner = this.contentDocument, width = this.clientWidth, wide = [];
  inner.querySelectorAll('body *').forEach(function (one) {
    var box = one.getBoundingClientRect();
    if (box.right > width + 1 && getComputedStyle(one).position !== 'absolute') wide.push(one.tagName);
  });
  var filled = Array.from(inner.querySelectorAll('svg path')).map(function (one) {
    return one.getAttribute('class') + ' ' + getComputedStyle(one).fill;
  });
  var probe = document.createElement('pre');
  probe.id = 'probe';
  probe.textContent = JSON.stringify({
    overflow: inner.documentElement.scrollWidth - width, wide: wide, filled: filled,
    rows: getComputedStyle(inner.querySelector('tbody tr')).display,
    letters: parseFloat(getComputedStyle(inner.querySelector('td')).fontSize),
    fetched: inner.defaultView.performance.getEntriesByType('resource').length,
  });
  document.body.appendChild(probe);
});
</script></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """The path of a browser; leaves the test out where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no browser here: install chromium")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page."""
    path = tmp_path_factory.mktemp("status")
    (path / "page.html").write_bytes(render_status_page(status_in_a_surge()))
    return path


def run_browser(browser: str, profile: Path, *arguments: str) -> str:
    """Start the browser once and return what it prints."""
    command = [browser, *QUIET, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


@pytest.mark.real_parts
@pytest.mark.parametrize(("width", "rows"), [(1280, "table-row"), (390, "block")])
def test_the_page_fits_a_desk_and_a_phone(browser: str, folder: Path, tmp_path: Path, width: int, rows: str) -> None:
    """Nothing is wider than the screen, rows become cards on a phone, letters stay readable, nothing is fetched."""
    frame = folder / f"frame-{width}.html"
    frame.write_text(FRAME % width, encoding="utf-8")
    output = run_browser(browser, tmp_path, "--window-size=1400,3200", "--dump-dom", frame.as_uri())
    match = re.search(r'<pre id="probe">(.*?)</pre>', output, flags=re.DOTALL)
    assert match is not None
    seen = json.loads(match.group(1).replace("&quot;", '"'))

    assert (seen["overflow"], seen["wide"]) == (0, [])
    assert seen["rows"] == rows
    assert seen["letters"] >= 14.0
    assert seen["fetched"] == 0
    # A path that is not told otherwise is filled with black.
    assert not any("rgb(0, 0, 0)" in path for path in seen["filled"])


@pytest.mark.real_parts
def test_the_page_can_be_photographed(browser: str, folder: Path, tmp_path: Path) -> None:
    """The page as it is sent shows a picture of some content."""
    picture = tmp_path / "status.png"
    page = (folder / "page.html").as_uri()
    run_browser(browser, tmp_path / "p", "--window-size=1280,1600", f"--screenshot={picture}", page)
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (1280, 1600)
    assert picture.stat().st_size > 50_000
