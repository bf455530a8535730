import pytest

from tools.checks.allowances import Finding, judge
from tools.checks.docstrings import incomplete, unstated_rules
from tools.checks.lazy_imports import eager_imports
from tools.checks.links import relative_links
from tools.checks.locks import problems_of as lock_problems
from tools.checks.machine_paths import machine_paths
from tools.checks.sizes import oversized
from tools.checks.wheel import problems_of as wheel_problems

PIN = "numpy==2.0.0 \\\n    --hash=sha256:00\n    # via meltguard (pyproject.toml)\n"
COMPLETE_WHEEL = [
    *(f"{package}/py.typed" for package in ("controller", "exporters", "forecasting", "inference")),
    "meltguard-1.dist-info/licenses/LICENSE",
]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n" + "    x = 1\n" * 60, ["m.py::f lines"]),
        ("def f():\n" + "    x = 1\n" * 59, []),
        ('def f():\n    """' + "text\n" * 40 + '"""\n' + "    x = 1\n" * 30, []),
        ("def f(a, b, c, d, e, f, g): ...\n", ["m.py::f parameters"]),
        ("class C:\n    def f(self, a, b, c, d, e, *, f): ...\n", []),
        ("class C:\n    def f(self, a, b, c, d, e, f, *, g): ...\n", ["m.py::C.f parameters"]),
        ("def f(a, b, c, d, e, f, g: Annotated[int, typer.Option()]): ...\n", []),
        ("O = Annotated[int, typer.Option()]\ndef f(a, b, c, d, e, f, g: O): ...\n", []),
        ("x = 1\n" * 401, ["m.py lines"]),
    ],
)
def test_sizes_finds_what_is_over_a_limit(source, expected):
    """A function, a parameter list or a file over its limit is found, a docstring never makes one too long."""
    assert [place for place, _, _ in oversized("m.py", source, check_functions=True)] == expected


def test_a_known_exception_may_only_shrink():
    """A finding fails when it is new or larger than recorded; an entry fails when it is stale or could be lower."""
    found = {name: Finding(size=70, message="too long") for name in ("new", "larger", "same", "smaller")}
    allowed = {"larger": 65, "same": 70, "smaller": 80, "gone": 70}

    assert [problem.split(":")[0] for problem in judge(found, allowed)] == ["larger", "new", "smaller", "gone"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('def f(a: int, b: int, c: int) -> int:\n    """Add."""\n', ["m.py::f Args"]),
        ('def f(a: int, b: int) -> int:\n    """Add a and b."""\n', []),
        ('def f(a: int) -> int:\n    """Add.\n\n    Args:\n        a: one.\n    """\n', ["m.py::f Returns"]),
        ('def f() -> None:\n    """Refuse."""\n    raise ValueError("no")\n', ["m.py::f Raises ValueError"]),
        ('def f() -> None:\n    """Refuse.\n\n    Raises:\n        E: always.\n    """\n    raise E("no")\n', []),
        ('class C:\n    @property\n    def f(self) -> int:\n        """Size."""\n        raise ValueError("no")\n', []),
        ('def _f(a: int, b: int, c: int) -> int:\n    """Add."""\n', []),
    ],
)
def test_docstrings_finds_missing_sections(source, expected):
    """A public docstring that lacks a section where one is due is found by place and section."""
    assert list(incomplete("m.py", source)) == expected


def test_docstrings_finds_a_test_without_a_rule():
    """A test function without a docstring is found, a helper is not."""
    source = 'def test_a(): ...\ndef helper(): ...\ndef test_b():\n    """Rule."""\n'
    assert list(unstated_rules("m.py", source)) == ["m.py::test_a rule"]


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (PIN, None),
        ("", "is missing"),
        (PIN.replace("2.0.0", "1.0.0"), "does not satisfy"),
        (PIN.replace("--hash=sha256:00", ""), "has no hash"),
        (PIN + PIN.replace("numpy", "scipy"), "no longer asked for"),
        ("--index-url https://packages.example/simple\n" + PIN, "names where packages come from"),
    ],
)
def test_lock_has_to_satisfy_the_project(lock, problem):
    """A lock that is out of date, unhashed, too large or bound to an index is refused, a good one is not."""
    problems = list(lock_problems("lock", lock, ["numpy>=1.26"]))
    assert (len(problems) == 1 and problem in problems[0]) if problem else problems == []


def test_links_of_a_page_without_addresses_and_code():
    """Relative links, images and reference links count; addresses, anchors and code do not."""
    page = (
        '[a](one.md) ![b](two.png "t") [c](https://x.example/) [d](#part) `[e](no.md)`\n'
        '```\n[f](no.md)\n```\n[g]: three.md\n<img src="four.svg">\n'
    )
    assert list(relative_links(page)) == ["one.md", "two.png", "three.md", "four.svg"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("path = '/ho" + "me/ada/src'", True),
        ("cd /ro" + "ot/.cache", True),
        ("cd /wo" + "rk/main\n", True),
        ("https://example.org/home/page", False),
        ("relative/wo" + "rk/dir and docs/ro" + "ot/x", False),
        ("HOME=/ho" + "me/nonroot", False),
        ("the root / is read-only", False),
    ],
)
def test_machine_paths_are_found(text, found):
    """Homes and work folders of one machine are found, addresses and relative paths are not."""
    assert bool(list(machine_paths(text))) is found


def test_wheel_holds_the_packages_and_nothing_else():
    """A file too many, a file too few, and a missing licence are each a problem."""
    expected = [name for name in COMPLETE_WHEEL if "dist-info" not in name]

    assert list(wheel_problems(COMPLETE_WHEEL, expected)) == []
    assert list(wheel_problems([*COMPLETE_WHEEL, "tests/conftest.py"], expected)) != []
    assert list(wheel_problems(COMPLETE_WHEEL[1:], expected)) != []
    assert list(wheel_problems(COMPLETE_WHEEL[:-1], expected)) == ["lacks the licence"]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import forecasting.thermal\n", [1]),
        ("from forecasting import types\n", [1]),
        ("try:\n    import forecasting\nexcept ImportError:\n    pass\n", [2]),
        ("def f():\n    import forecasting\n", []),
        ("if TYPE_CHECKING:\n    import forecasting\n", []),
        ("from . import forecasting\nimport forecastings\n", []),
        ("from exporters.thermal_memory import ThermalMemory\n", [1]),
        ("from exporters import thermal_memory\n", [1]),
    ],
)
def test_eager_imports_are_those_that_run_on_loading(source, lines):
    """An import inside a function or for type checkers alone is lazy, any other is eager."""
    assert list(eager_imports(source, "forecasting")) == lines
