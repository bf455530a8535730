"""The scenarios that come with the package, and how a name or a path finds one."""

import pytest

from controller.errors import UsageError
from controller.simulator.builtin import builtin_names, builtin_text, load_builtin, load_named
from controller.simulator.scenario import parse_scenario


def test_every_builtin_scenario_is_valid_and_bears_its_own_name():
    """Each name loads, and the file says the same name, which reports and errors use."""
    assert "march-2025" in builtin_names()
    for name in builtin_names():
        assert load_builtin(name).name == name


def test_names_are_sorted_and_bare():
    """Names come in a fixed order and without a suffix."""
    assert list(builtin_names()) == sorted(builtin_names())
    assert not any("." in name for name in builtin_names())


def test_the_text_is_the_scenario():
    """What is printed as an example is what a run of that name uses."""
    assert parse_scenario(builtin_text("march-2025"), place="text") == load_builtin("march-2025")


@pytest.mark.parametrize("name", ["march", "", "march-2025.yaml", "../scenarios/march-2025", "MARCH-2025"])
def test_an_unknown_name_lists_the_known_ones(name):
    """A name that is not built in is refused with those that are, and never becomes a path."""
    with pytest.raises(UsageError, match="march-2025") as caught:
        builtin_text(name)
    assert repr(name) in str(caught.value)


def test_a_file_wins_over_a_name(tmp_path, monkeypatch):
    """A file that is called like a built-in scenario is the one that runs."""
    (tmp_path / "march-2025").write_text(builtin_text("march-2025").replace("name: march-2025", "name: my-own", 1))
    assert load_named("march-2025").name == "march-2025"
    monkeypatch.chdir(tmp_path)
    assert load_named("march-2025").name == "my-own"


@pytest.mark.parametrize("text", ["mine.yaml", "folder/march-2025", "none.json"])
def test_what_looks_like_a_path_is_not_taken_for_a_name(tmp_path, monkeypatch, text):
    """A suffix or a folder makes it a path: the message speaks of a file that is missing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="No such file"):
        load_named(text)
