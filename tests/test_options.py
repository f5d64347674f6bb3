"""Options are read by every command alike."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from front import tumorgen

from data_modules.errors import InputError
from tumorgen import __main__
from tumorgen.options import OptionParser, command_parser

COMMANDS = ["init", "phantom", "reconstruct", "report", "weights", "dashboard", "demo", "import-checkpoint", "evaluate"]
COMMANDS += ["benchmark", "prepare"]


def parser(positional: bool = False) -> OptionParser:
    found = command_parser("try", "An attempt.")
    found.add_argument("--overwrite", type=bool, default=False)
    found.add_argument("--output", type=Path, default=Path("out"))
    found.add_argument("--number", type=int, default=1)
    if positional:
        found.add_argument("results", type=Path, nargs="+")
    return found


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], False),
        (["--overwrite"], True),
        (["--overwrite", "--output", "x"], True),
        (["--overwrite", "true"], True),
        (["--overwrite", "false"], False),
        (["--overwrite=false"], False),
        (["--overwrite", "--overwrite", "False"], False),
    ],
)
@pytest.mark.parametrize("positional", [False, True])
def test_a_flag_stands_alone_or_takes_a_value(words: list[str], value: bool, positional: bool) -> None:
    assert parser(positional).parse_args([*words, *(["--output", "a", "b"] if positional else [])]).overwrite is value


def test_a_flag_before_a_path_does_not_swallow_it() -> None:
    options = parser(positional=True).parse_args(["--overwrite", "folder"])
    assert (options.overwrite, options.results) == (True, [Path("folder")])


def test_options_come_from_a_file_and_references_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "somewhere")
    (tmp_path / "mine.yaml").write_text("output: ${oc.env:PLACE}/run-${number}\noverwrite: true\nnumber: 2\n")
    options = parser().parse_args(["--config", str(tmp_path / "mine.yaml"), "--number", "3"])
    assert (options.output, options.overwrite, options.number) == (Path("somewhere/run-3"), True, 3)
    (tmp_path / "mine.yaml").write_text("output: ${oc.env:NOWHERE_TO_BE_FOUND}\n")
    with pytest.raises(InputError, match="NOWHERE_TO_BE_FOUND"):
        parser().parse_args(["--config", str(tmp_path / "mine.yaml")])


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        tumorgen(command, "--help")
    assert left.value.code in (0, None)
    return capsys.readouterr().out


def test_every_command_is_here() -> None:
    assert set(COMMANDS) == set(__main__.COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_one_spelling_over_all_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys)
    options = set(re.findall(r"--[a-z_][\w.]*", text))
    assert "--config" in options
    assert not options & {"--force", "--workers", "--out", "--checkpoint", "--intensities"}
    assert not [option for option in options if "-" in option.removeprefix("--")], "words are joined by underscores"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [["--overwritten"], ["--output"], ["--conf", "x.yaml"]])
def test_bad_options_get_one_line(command: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen(command, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tumorgen: error: ")
    assert line.endswith(f"`tumorgen {command} --help` lists the options.")


def test_reading_options_takes_no_heavy_library() -> None:
    script = (
        "import sys, tumorgen.options, tumorgen.commands.init, tumorgen.commands.report, tumorgen.commands.reconstruct;"
        "sys.exit(bool({'torch', 'lightning', 'wandb'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
