"""Reads fields of API objects whose shape nobody guarantees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Object: TypeAlias = Mapping[str, object]


def child(body: Object, *path: str) -> Object:
    """Return the object at a path; an empty one where there is none."""
    here: object = body
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def number(body: Object, *path: str) -> int | None:
    """Return the whole number at a path; None where there is none."""
    found = child(body, *path[:-1]).get(path[-1])
    if isinstance(found, bool):
        return None
    if isinstance(found, str) and found.strip().lstrip("-").isdigit():
        return int(found)
    return found if isinstance(found, int) else None


def text(body: Object, *path: str) -> str:
    """Return the string at a path; empty where there is none."""
    found = child(body, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else ""


def rows(body: Object, *path: str) -> tuple[Object, ...]:
    """Return the objects of the list at a path; none where there is no list."""
    found = child(body, *path[:-1]).get(path[-1])
    return tuple(row for row in found if isinstance(row, Mapping)) if isinstance(found, list) else ()
