"""Builds HTML and SVG text that cannot be broken by the words inside it.

The report's other modules call :func:`tag`; nothing else in this package writes an angle bracket. Plain strings are
escaped, :class:`Html` is taken as it is. The output is XML as well as HTML, so that a test can parse it strictly.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Attributes: TypeAlias = Mapping[str, str | int | float | None]

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ALWAYS_CLOSED = frozenset(
    {"a", "div", "span", "p", "td", "th", "script", "style", "ol", "ul", "li", "section", "data"}
)
"""HTML elements that a browser would leave open if they were written as ``<div/>``."""


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def escape_text(text: str) -> Html:
    """Escape text for content and quoted attributes; characters that no document may hold become U+FFFD."""
    return Html(html.escape(_NOT_IN_XML.sub("\ufffd", text), quote=True))


def joined(parts: Iterable[str | None]) -> Html:
    """Join parts: plain strings escaped, markup as it is, None left out."""
    return Html("".join(part if isinstance(part, Html) else escape_text(part) for part in parts if part is not None))


def tag(name: str, attributes: Attributes | None = None, *children: str | None) -> Html:
    """Return one element.

    Args:
        name: Element name, ours, never from data.
        attributes: Names are ours; values are escaped; None leaves the attribute out.
        children: Plain text is escaped, :class:`Html` is not, None is left out.

    Returns:
        The element as markup.
    """
    pairs = (attributes or {}).items()
    written = "".join(f' {key}="{escape_text(_attribute_text(value))}"' for key, value in pairs if value is not None)
    content = joined(children)
    if not content and name not in _ALWAYS_CLOSED:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{content}</{name}>")


def _attribute_text(value: str | int | float) -> str:
    """Write numbers short: at most three decimals, no trailing zeros."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else repr(value)
    return str(value)


def json_island(identifier: str, document: object) -> Html:
    """Return a script element that holds data; no text inside can end it or mean markup."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{escape_text(identifier)}">{text}</script>')
