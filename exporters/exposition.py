"""Text and OpenMetrics rendering of samples. Pure.

Hand-written rather than prometheus-client's (docs/decisions/0031): it runs every second over all series, keeps the
formatted label sets, and lets a scrape append the ages of that very moment to a body that was rendered before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

MAX_CACHED_PREFIXES = 50_000
TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
GZIP_LEVEL = 1
_GZIP_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 4, 3))


class Family(Protocol):
    """What rendering needs to know of a metric family; ``Metric`` and ``DcgmField`` have it."""

    @property
    def name(self) -> str:
        """Name in the text format."""
        ...

    @property
    def type(self) -> str:
        """Prometheus type."""
        ...

    @property
    def help(self) -> str:
        """One sentence."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names."""
        ...

    @property
    def unit(self) -> str | None:
        """Base unit at the end of the name, if any."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a family.

    Attributes:
        labels: Values of the family's labels, in its order; an empty one is left out.
    """

    family: Family
    labels: tuple[str, ...]
    value: float


Blocks = tuple[tuple[Family, str], ...]
"""Families with their lines, heads still to come."""


def escape(text: str) -> str:
    """Return a label value as both formats write it."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def format_value(value: float) -> str:
    """Return a value as both formats write it."""
    if value != value:
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _head(family: Family, *, openmetrics: bool) -> str:
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if not openmetrics:
        return f"# HELP {family.name} {text}\n# TYPE {family.name} {family.type}\n"
    name, kind = family.name, family.type
    if kind == "counter":
        # OpenMetrics counters end in _total; a name that does not (DCGM's) keeps its samples by being of unknown type.
        name, kind = (name.removesuffix("_total"), kind) if name.endswith("_total") else (name, "unknown")
    text = text.replace('"', '\\"')
    unit = "" if family.unit is None else f"# UNIT {name} {family.unit}\n"
    return f"# TYPE {name} {kind}\n{unit}# HELP {name} {text}\n"


class Renderer:
    """Turns samples into text; keeps formatted names and labels from one rendering to the next."""

    def __init__(self) -> None:
        """Begin with an empty cache."""
        self._prefixes: dict[tuple[str, tuple[str, ...]], str] = {}

    def blocks(self, samples: Iterable[Sample]) -> Blocks:
        """Return each family with its lines, families in order of first appearance, both formats alike."""
        draft = Draft(self)
        draft.add(samples)
        return draft.finish()

    def line(self, sample: Sample) -> str:
        """Return one sample as a line, which both formats write alike."""
        return f"{self._prefix(sample.family, sample.labels)}{format_value(sample.value)}\n"

    def _prefix(self, family: Family, values: tuple[str, ...]) -> str:
        key = (family.name, values)
        prefix = self._prefixes.get(key)
        if prefix is None:
            pairs = ",".join(
                f'{name}="{escape(value)}"' for name, value in zip(family.labels, values, strict=True) if value
            )
            prefix = f"{family.name}{{{pairs}}} " if pairs else f"{family.name} "
            if len(self._prefixes) >= MAX_CACHED_PREFIXES:
                self._prefixes.clear()
            self._prefixes[key] = prefix
        return prefix


class Draft:
    """A page in the making, so that rendering can be done in parts with other work between them."""

    def __init__(self, renderer: Renderer) -> None:
        """Begin an empty page."""
        self._renderer = renderer
        self._families: dict[str, tuple[Family, list[str]]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Add samples to their families."""
        line, families = self._renderer.line, self._families
        for sample in samples:
            family = sample.family
            entry = families.get(family.name)
            if entry is None:
                entry = families[family.name] = (family, [])
            entry[1].append(line(sample))

    def finish(self) -> Blocks:
        """Return each family with its lines."""
        return tuple((family, "".join(lines)) for family, lines in self._families.values())


def render(blocks: Iterable[tuple[Family, str]], *, openmetrics: bool) -> bytes:
    """Return the blocks with their heads; OpenMetrics still lacks its final ``# EOF``."""
    return "".join(_head(family, openmetrics=openmetrics) + lines for family, lines in blocks).encode()


class Page:
    """A rendered body that scrapes share; encodings are made on first demand and kept."""

    def __init__(self, blocks: Blocks) -> None:
        """Serve ``blocks``."""
        self._blocks = blocks
        self._bodies: dict[bool, bytes] = {}
        self._deflated: dict[bool, tuple[bytes, int]] = {}

    def _body(self, openmetrics: bool) -> bytes:
        body = self._bodies.get(openmetrics)
        if body is None:
            body = self._bodies[openmetrics] = render(self._blocks, openmetrics=openmetrics)
        return body

    def plain(self, tail: Blocks, *, openmetrics: bool) -> bytes:
        """Return the whole page; ``tail`` holds what is only known at the scrape."""
        return self._body(openmetrics) + self._tail(tail, openmetrics)

    def gzipped(self, tail: Blocks, *, openmetrics: bool) -> bytes:
        """Return the whole page as one gzip member.

        The body is deflated once per rendering and ends on a byte boundary (full flush); the tail is deflated behind
        it, and the checksum goes over both.
        """
        cached = self._deflated.get(openmetrics)
        if cached is None:
            packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            body = self._body(openmetrics)
            deflated = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
            cached = self._deflated[openmetrics] = (deflated, zlib.crc32(body))
        deflated, checksum = cached
        end = self._tail(tail, openmetrics)
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        size = len(self._body(openmetrics)) + len(end)
        footer = struct.pack("<II", zlib.crc32(end, checksum), size & 0xFFFFFFFF)
        return _GZIP_HEADER + deflated + packer.compress(end) + packer.flush() + footer

    @staticmethod
    def _tail(tail: Blocks, openmetrics: bool) -> bytes:
        return render(tail, openmetrics=openmetrics) + (b"# EOF\n" if openmetrics else b"")


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics to the text format."""
    best_openmetrics, best_text = 0.0, 0.0
    for part in accept.split(",")[:32]:
        kind, _, parameters = part.strip().partition(";")
        quality = _quality(parameters)
        if kind.strip().lower() == "application/openmetrics-text":
            best_openmetrics = max(best_openmetrics, quality)
        elif kind.strip().lower() in {"text/plain", "text/*"}:
            best_text = max(best_text, quality)
    return best_openmetrics > 0.0 and best_openmetrics >= best_text


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for part in accept_encoding.split(",")[:32]:
        coding, _, parameters = part.strip().partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return _quality(parameters) > 0.0
    return False


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
