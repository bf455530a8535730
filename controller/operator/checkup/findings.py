"""What a check found, and how all findings are shown. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

SCHEMA = "meltguard.doctor/v1"
MAX_TEXT = 400
"""Longest text of a finding; what servers and objects say is cut to this."""


class Verdict(StrEnum):
    """How serious a finding is."""

    GOOD = "good"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        check: Which check.
        subject: What was looked at.
        verdict: How serious it is.
        text: What was found.
        cure: What to do; empty when all is well.
    """

    check: str
    subject: str
    verdict: Verdict
    text: str
    cure: str = ""


def good(check: str, subject: str, text: str) -> Finding:
    """Return a finding that needs nothing done.

    Args:
        check: Which check.
        subject: What was looked at.
        text: What was found; one line is made of it.

    Returns:
        The finding.
    """
    return Finding(check=check, subject=subject, verdict=Verdict.GOOD, text=one_line(text))


def warning(check: str, subject: str, text: str, cure: str) -> Finding:
    """Return a finding that somebody should look at.

    Args:
        check: Which check.
        subject: What was looked at.
        text: What was found; one line is made of it.
        cure: What to do.

    Returns:
        The finding.
    """
    return Finding(check=check, subject=subject, verdict=Verdict.WARNING, text=one_line(text), cure=one_line(cure))


def failed(check: str, subject: str, text: str, cure: str) -> Finding:
    """Return a finding without whose cure the installation does not work.

    Args:
        check: Which check.
        subject: What was looked at.
        text: What was found; one line is made of it.
        cure: What to do.

    Returns:
        The finding.
    """
    return Finding(check=check, subject=subject, verdict=Verdict.FAILED, text=one_line(text), cure=one_line(cure))


def unknown(check: str, subject: str, text: str, cure: str) -> Finding:
    """Return the finding of a check that could not be made; nothing is taken for good that was not seen.

    Args:
        check: Which check.
        subject: What was looked at.
        text: What was found; one line is made of it.
        cure: What to do.

    Returns:
        The finding.
    """
    return Finding(check=check, subject=subject, verdict=Verdict.UNKNOWN, text=one_line(text), cure=one_line(cure))


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters, cut to a bound: servers may say anything."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = " ".join(printable.split())
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 1]}…"


def is_healthy(findings: tuple[Finding, ...]) -> bool:
    """Return whether nothing failed and every check could be made; warnings are for people."""
    return not any(finding.verdict in (Verdict.FAILED, Verdict.UNKNOWN) for finding in findings)


def findings_text(findings: tuple[Finding, ...]) -> str:
    """Return the findings for people: what failed last, so that it stands above the prompt."""
    order = (Verdict.GOOD, Verdict.WARNING, Verdict.UNKNOWN, Verdict.FAILED)
    rows = []
    for finding in sorted(findings, key=lambda finding: order.index(finding.verdict)):
        rows.append(f"{finding.verdict.value:<8}{finding.check}, {finding.subject}: {finding.text}")
        if finding.cure:
            rows.append(f"        do: {finding.cure}")
    counts = ", ".join(f"{sum(f.verdict is verdict for f in findings)} {verdict.value}" for verdict in order)
    return "\n".join([*rows, "", counts])


def findings_json(findings: tuple[Finding, ...]) -> str:
    """Return the findings as one line of JSON."""
    document = {"schema": SCHEMA, "healthy": is_healthy(findings), "findings": findings}
    return msgspec.json.encode(document).decode()
