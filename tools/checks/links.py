"""Relative links in Markdown files lead to files that exist. Run by `make check`, without a network."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from tools.checks.repository import ROOT, report, repository_files

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
_REFERENCE = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)", re.MULTILINE)
_IMAGE_TAG = re.compile(r"<(?:img|a|source)[^>]+(?:src|href|srcset)=\"([^\"]+)\"")
_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def relative_links(text: str) -> Iterator[str]:
    """Find the links of a Markdown text that point into the repository.

    Args:
        text: the file's text.

    Yields:
        Link targets as written, without addresses and links within the page.
    """
    prose = _INLINE_CODE.sub("", _FENCE.sub("", text))
    for pattern in (_LINK, _REFERENCE, _IMAGE_TAG):
        for target in pattern.findall(prose):
            if not _ADDRESS.match(target) and not target.startswith("#"):
                yield target


def main() -> int:
    """Check every Markdown file of the repository.

    Returns:
        The exit code.
    """
    found: list[str] = []
    for path in repository_files("*.md"):
        for target in relative_links((ROOT / path).read_text(encoding="utf-8")):
            file = unquote(target.split("#")[0].split("?")[0])
            base = ROOT if file.startswith("/") else (ROOT / path).parent
            if not (base / file.lstrip("/")).exists():
                found.append(f"{path}: the link to {target} leads nowhere")
    return report("links", found)


if __name__ == "__main__":
    raise SystemExit(main())
