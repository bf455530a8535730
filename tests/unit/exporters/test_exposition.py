"""Both text formats say the same, parse with the reference parser, and compress into one member."""

from __future__ import annotations

import gzip
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporters.dcgm import dcgm_samples
from exporters.exposition import Blocks, Page, Renderer, Sample, accepts_gzip, wants_openmetrics
from exporters.metric_names import EXPORTER_WINDOW, GPU_ENERGY, GPU_TEMPERATURE
from exporters.samples import age_samples, gpu_samples, reading_times
from tests.exporter_samples import fleet_of

Parsed = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _page() -> tuple[Page, Blocks]:
    fleet = fleet_of(2)
    renderer = Renderer()
    body = [sample for gpu in fleet.gpus.values() for sample in gpu_samples(gpu, "node-1", "580.95.05", 101.5, 5.0)]
    body += [sample for gpu in fleet.gpus.values() for sample in dcgm_samples(gpu, "node-1", "580.95.05", None)]
    tail = renderer.blocks(age_samples(fleet, reading_times(fleet), "node-1", 101.5, 5.0))
    page = Page(renderer.blocks(body))
    return page, tail


def _name(name: str) -> str:
    # The reference parser gives every counter of the text format the suffix that DCGM's lack.
    return name.removesuffix("_total") if name.startswith("DCGM_") else name


def _flat(families: object) -> Parsed:
    return {
        (_name(sample.name), tuple(sorted(sample.labels.items()))): sample.value
        for family in families  # type: ignore[attr-defined]
        for sample in family.samples
    }


def test_both_formats_parse_and_agree() -> None:
    """Text and OpenMetrics hold the same samples, as the reference parsers read them."""
    page, tail = _page()
    text = _flat(parse_text(page.plain(tail, openmetrics=False).decode()))
    openmetrics = _flat(parse_openmetrics(page.plain(tail, openmetrics=True).decode()))
    assert text == openmetrics
    assert len(text) > 150


@pytest.mark.parametrize("openmetrics", [False, True])
def test_gzip_holds_the_plain_page(openmetrics: bool) -> None:
    """The body that was deflated before and the tail of this scrape make one correct gzip member."""
    page, tail = _page()
    packed = page.gzipped(tail, openmetrics=openmetrics)
    assert gzip.decompress(packed) == page.plain(tail, openmetrics=openmetrics)
    assert packed.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\x03") == 1
    assert page.gzipped(tail, openmetrics=openmetrics) == packed


@given(
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e")
    ),
    st.floats(allow_nan=False),
)
def test_any_label_and_value_survives(text: str, value: float) -> None:
    """Whatever a label holds, the parser gives it back."""
    sample = Sample(family=GPU_TEMPERATURE, labels=("u" + text, "0", "n"), value=value)
    page = Page(Renderer().blocks([sample]))
    (family,) = parse_text(page.plain((), openmetrics=False).decode())
    assert family.samples[0].labels["uuid"] == "u" + text
    assert family.samples[0].value == value


def test_infinity_and_nan_are_written_as_prometheus_writes_them() -> None:
    """Special values have their special names."""
    samples = [
        Sample(family=GPU_TEMPERATURE, labels=("a", "0", "n"), value=math.inf),
        Sample(family=GPU_TEMPERATURE, labels=("b", "0", "n"), value=-math.inf),
        Sample(family=GPU_TEMPERATURE, labels=("c", "0", "n"), value=math.nan),
    ]
    body = Page(Renderer().blocks(samples)).plain((), openmetrics=False).decode()
    assert [line.rsplit(" ", 1)[1] for line in body.splitlines() if line[0] != "#"] == ["+Inf", "-Inf", "NaN"]


def test_counter_family_and_unit_in_openmetrics() -> None:
    """OpenMetrics names a counter's family without _total and states the unit."""
    samples = [
        Sample(family=GPU_ENERGY, labels=("a", "0", "n"), value=1.5),
        Sample(family=EXPORTER_WINDOW, labels=(), value=5),
    ]
    body = Page(Renderer().blocks(samples)).plain((), openmetrics=True).decode()
    assert "# TYPE meltguard_gpu_energy_joules counter\n# UNIT meltguard_gpu_energy_joules joules\n" in body
    assert "meltguard_exporter_window_seconds 5\n" in body
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text; q=nonsense", False),
    ],
)
def test_format_follows_the_accept_header(accept: str, expected: bool) -> None:
    """OpenMetrics is served to those who prefer it."""
    assert wants_openmetrics(accept) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", False), ("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("br", False)],
)
def test_gzip_follows_the_header(header: str, expected: bool) -> None:
    """Compression is used where it is accepted."""
    assert accepts_gzip(header) is expected
