"""What breaks a rule today and is known to: a list that may only shrink.

`allowances.toml` holds, per check, the name of each exception and its size. An exception that is not listed fails
its check; so does an entry that is no longer needed or could be smaller, which is what makes the list shrink.
`python -m tools.checks.<check> --record` writes the list anew; the change of the list is what a reviewer looks at.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.checks.repository import report

FILE = Path(__file__).with_name("allowances.toml")
RECORD_FLAG = "--record"

_HEADER = """\
# What breaks a rule of `make check` today. This list may only shrink; tools/checks/allowances.py says how it works.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One place that breaks a rule.

    Attributes:
        size: how far, in the rule's own unit; 1 where there is only yes and no.
        message: what is wrong and what to do, without the place.
    """

    size: int
    message: str


def judge(found: Mapping[str, Finding], allowed: Mapping[str, int]) -> Iterator[str]:
    """Compare what breaks a rule with what is known to.

    Args:
        found: findings by place.
        allowed: recorded sizes by place.

    Yields:
        One line per problem.
    """
    for place, finding in sorted(found.items()):
        if place not in allowed:
            yield f"{place}: {finding.message}"
        elif finding.size > allowed[place]:
            yield f"{place}: {finding.message}; {FILE.name} allows {allowed[place]}, and may only shrink"
        elif finding.size < allowed[place]:
            yield f"{place}: down to {finding.size}; lower its entry of {allowed[place]} in {FILE.name}"
    for place in sorted(allowed.keys() - found.keys()):
        yield f"{place}: in order now; remove its entry from {FILE.name}"


def conclude(check: str, found: Mapping[str, Finding], arguments: list[str]) -> int:
    """Report the problems of a check, or record its findings as the new list.

    Args:
        check: the check's name, a table of the file.
        found: findings by place.
        arguments: the command line after the program's name.

    Returns:
        The exit code.
    """
    recorded: dict[str, dict[str, int]] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    if RECORD_FLAG not in arguments:
        return report(check, judge(found, recorded.get(check, {})))
    recorded[check] = {place: finding.size for place, finding in found.items()}
    tables = (
        "\n".join([f"\n[{name}]", *(f'"{place}" = {size}' for place, size in sorted(entries.items()))])
        for name, entries in sorted(recorded.items())
    )
    FILE.write_text(_HEADER + "\n".join(tables) + "\n", encoding="utf-8")
    return 0
