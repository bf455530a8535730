"""Kinds of objects and their paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

JsonObject: TypeAlias = dict[str, Any]
"""One object of the API as it came: its shape belongs to the API, so readers narrow what they take from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object, in one namespace or in none.

    Attributes:
        api_version: Such as ``apps/v1`` or ``v1``.
        plural: Its name in paths.
        namespace: None for what has no namespace, and for all namespaces at once.
    """

    api_version: str
    plural: str
    namespace: str | None = None

    def path(self, name: str = "", subresource: str = "") -> str:
        """Return the path of the collection, of one object, or of its subresource."""
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [self.api_version]
        if self.namespace is not None:
            parts += ["namespaces", quote(self.namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return root + "/".join(parts)
