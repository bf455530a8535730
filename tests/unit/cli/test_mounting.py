"""What mounting adds to a command: configuration files, environment variables and the log level."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from controller.cli.mounting import MAX_CONFIG_BYTES, load_section, mount
from controller.errors import UsageError


class _Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def paint(
    target: Annotated[str, typer.Argument()] = "wall",
    num_coats: Annotated[int, typer.Option("--coats", min=1)] = 1,
    colour: Annotated[_Colour, typer.Option("--colour")] = _Colour.RED,
    brush: Annotated[str | None, typer.Option("--brush", envvar="BRUSH")] = None,
    dry: Annotated[bool, typer.Option("--dry")] = False,
) -> None:
    """Paint something."""
    typer.echo(f"{target} {num_coats} {colour.value} {brush} {dry}")


def sand(grit: Annotated[int, typer.Option("--grit")] = 80) -> None:
    """Sand something."""
    typer.echo(f"grit {grit}")


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that runs the commands above as mounted, in an environment without our variables."""
    for name in ("MELTGUARD_CONFIG", "MELTGUARD_LOG_LEVEL", "MELTGUARD_PAINT__COLOUR", "BRUSH"):
        monkeypatch.delenv(name, raising=False)
    app = typer.Typer()
    mount(app, paint, name="paint", section="paint")
    mount(app, sand, name="sand", section="sand")

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=variables)

    return run


def _config(folder: Path, text: str) -> str:
    path = folder / "meltguard.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_mounted_command_keeps_its_defaults(invoke):
    """Without file, variable or option, a command gets the defaults of its signature and none of the shared options."""
    result = invoke("paint")
    assert result.output == "wall 1 red None False\n"
    assert result.exit_code == 0


def test_every_option_has_a_variable_named_after_section_and_field(invoke):
    """MELTGUARD_<SECTION>__<FIELD> sets an option, by the field's name even where the option is shorter."""
    variables = {"MELTGUARD_PAINT__NUM_COATS": "3", "MELTGUARD_PAINT__COLOUR": "blue", "MELTGUARD_PAINT__DRY": "true"}
    assert invoke("paint", **variables).output == "wall 3 blue None True\n"


def test_a_variable_of_another_command_changes_nothing(invoke):
    """The section keeps two commands apart."""
    assert invoke("paint", MELTGUARD_SAND__COLOUR="blue", MELTGUARD_COLOUR="blue").output == "wall 1 red None False\n"


def test_a_variable_that_a_command_names_itself_is_kept(invoke):
    """An option that says its own variable gets no second one."""
    assert "flat" in invoke("paint", BRUSH="flat").output
    assert "flat" not in invoke("paint", MELTGUARD_PAINT__BRUSH="flat").output


def test_a_variable_is_checked_like_an_option(invoke):
    """A value out of range is a usage error wherever it comes from."""
    assert invoke("paint", MELTGUARD_PAINT__NUM_COATS="0").exit_code == 2
    assert invoke("paint", MELTGUARD_PAINT__COLOUR="green").exit_code == 2


def test_line_beats_variable_beats_file_beats_default(invoke, tmp_path):
    """Each source of an option gives way to the one before it."""
    config = _config(tmp_path, "paint:\n  num_coats: 2\n")
    variables = {"MELTGUARD_PAINT__NUM_COATS": "3"}
    assert invoke("paint").output.split()[1] == "1"
    assert invoke("paint", "--config", config).output.split()[1] == "2"
    assert invoke("paint", "--config", config, **variables).output.split()[1] == "3"
    assert invoke("paint", "--config", config, "--coats", "4", **variables).output.split()[1] == "4"


def test_the_place_of_the_file_option_does_not_matter(invoke, tmp_path):
    """The file is read before the other options, wherever it stands on the line."""
    config = _config(tmp_path, "paint: {num_coats: 2, colour: blue}\n")
    first = invoke("paint", "--config", config, "--coats", "5")
    last = invoke("paint", "--coats", "5", "--config", config)
    assert first.output == last.output == "wall 5 blue None False\n"


def test_the_file_can_be_named_by_a_variable(invoke, tmp_path):
    """MELTGUARD_CONFIG stands for --config, and --config wins over it."""
    config = _config(tmp_path, "paint: {num_coats: 2}\n")
    (tmp_path / "other.yaml").write_text("paint: {num_coats: 7}\n")
    assert invoke("paint", MELTGUARD_CONFIG=config).output.split()[1] == "2"
    line = invoke("paint", "--config", str(tmp_path / "other.yaml"), MELTGUARD_CONFIG=config)
    assert line.output.split()[1] == "7"


def test_a_value_of_the_file_is_checked_like_an_option(invoke, tmp_path):
    """A file cannot set what the line could not."""
    for value in ("0", "many", "[1, 2]"):
        assert invoke("paint", "--config", _config(tmp_path, f"paint: {{num_coats: {value}}}\n")).exit_code == 2


def test_one_file_serves_every_command(invoke, tmp_path):
    """A command reads its own section and leaves the others alone, right or wrong."""
    config = _config(tmp_path, "paint: {num_coats: 2}\nsand: {grit: 120}\nother: 3\n")
    assert invoke("sand", "--config", config).output == "grit 120\n"
    assert invoke("paint", "--config", config).output.split()[1] == "2"


@pytest.mark.parametrize("text", ["", "# nothing\n", "sand: {grit: 120}\n", "paint: {}\n"])
def test_a_file_without_a_word_on_a_command_leaves_its_defaults(tmp_path, text):
    """An empty file, and one that is about other commands, set nothing."""
    assert load_section(Path(_config(tmp_path, text)), "paint", {"num_coats"}) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("paint: {num_coats: 1, shade: 2}\n", "paint.shade is not an option; known: colour, num_coats"),
        ("paint: {3: 4}\n", "paint.3 is not an option"),
        ("paint: [num_coats]\n", "paint must be a mapping"),
        ("paint: 3\n", "paint must be a mapping"),
        ("- paint\n", "the top level must be a mapping"),
        ("paint\n", "the top level must be a mapping"),
        ("ok: 1\npaint: {\n", ":3: not valid YAML"),
        ("!!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_place(tmp_path, text, says):
    """Unknown keys, wrong shapes and broken YAML name the file and the field or line."""
    path = _config(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_section(Path(path), "paint", {"num_coats", "colour"})
    assert str(caught.value).startswith(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    """A missing file, a folder, bytes that are no text and a file beyond the bound are told apart."""
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    full = tmp_path / "full.yaml"
    full.write_bytes(b"#" * MAX_CONFIG_BYTES)
    cases = {tmp_path / "none.yaml": "No such file", tmp_path: "directory", binary: "not UTF-8", large: "larger than"}
    for path, says in cases.items():
        with pytest.raises(UsageError, match=says):
            load_section(path, "paint", set())
    assert load_section(full, "paint", set()) == {}


def test_the_docstring_stays_the_help(invoke):
    """A mounted command shows its own docstring and the two shared options, and its variables stay out of the way."""
    text = invoke("paint", "--help", NO_COLOR="1", COLUMNS="200").output
    assert "Paint something." in text
    assert "--config" in text
    assert "--log-level" in text
    assert "MELTGUARD_" not in text


def test_an_unknown_log_level_is_a_usage_error(invoke):
    """The log level is one of four words."""
    assert invoke("paint", "--log-level", "loud").exit_code == 2
    assert invoke("paint", "--log-level", "error").exit_code == 0
