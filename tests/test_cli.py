"""What every command does alike."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dlcv.runtime.cli.common import Command, note, os_error
from dlcv.runtime.errors import EngineError, VerdictError
from dlcv.runtime.version import __version__

SETUP = configparser.ConfigParser()
SETUP.read(Path(__file__).resolve().parent.parent / "setup.cfg")
COMMANDS = dict(
    line.replace(" ", "").split("=") for line in SETUP["options.entry_points"]["console_scripts"].strip().splitlines()
)
"""Command -> `module:function`, as installed."""
HEAVY = ("numpy", "cv2", "onnxruntime", "torch", "onnx", "PIL", "matplotlib")


def test_these_are_the_commands() -> None:
    assert set(COMMANDS) >= {
        "dlcv-train", "dlcv-sample", "dlcv-export", "dlcv-infer", "dlcv-inspect", "dlcv-doctor", "dlcv-evaluate", "dlcv-parity",
        "dlcv-bench",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_version_load_nothing_heavy(name: str) -> None:
    module, function = COMMANDS[name].split(":")
    code = f"""
import sys
from {module} import {function} as main
for option in ("--help", "--version"):
    try:
        main([option], prog_name={name!r})
    except SystemExit as end:
        assert end.code == 0, end.code
heavy = sorted(set({HEAVY!r}) & set(sys.modules))
assert not heavy, f"loaded {{heavy}}"
"""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Usage: {name} ")
    assert result.stdout.endswith(f"{name} {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_help_and_a_mistake_is_one_line(name: str) -> None:
    module, function = COMMANDS[name].split(":")
    command = getattr(import_module(module), function)
    assert isinstance(command, Command)
    assert command.name == name
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.opts[0] for option in options if not (option.help or "").split("[default")[0].strip()] == []
    result = CliRunner().invoke(command, ["--no-such-option"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"{name}: No such option")
    assert result.stderr.endswith(f" See {name} --help\n")
    assert result.stderr.count("\n") == 1


def command_that(error: BaseException) -> click.Command:
    @click.command("dlcv-test", cls=Command)
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EngineError("two\nlines"), 2, "dlcv-test: two\\nlines\n"),
        (VerdictError("no"), 1, "dlcv-test: no\n"),
        (KeyboardInterrupt(), 130, "dlcv-test: interrupted; what was finished is whole\n"),
        (OSError(28, "No space left on device", "/x"), 2, "dlcv-test: /x: No space left on device\n"),
        (click.UsageError("odd"), 2, None),
    ],
)
def test_how_errors_end(error: BaseException, code: int, line: str | None) -> None:
    result = CliRunner().invoke(command_that(error))
    assert result.exit_code == code
    assert line is None or result.stderr == line


def test_a_bug_keeps_its_traceback() -> None:
    result = CliRunner().invoke(command_that(ZeroDivisionError("bug")))
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    code = (
        "import click\nfrom dlcv.runtime.cli.common import Command\n"
        "@click.command('dlcv-test', cls=Command)\ndef main():\n    for _ in range(100000): click.echo('x' * 100)\nmain()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode in (2, -signal.SIGPIPE)


def test_an_operating_systems_refusal_in_words() -> None:
    assert str(os_error(OSError(13, "Permission denied", "/x"), "writing")) == "writing: /x: Permission denied"
    assert str(os_error(OSError("odd"))) == "odd"


def test_notes_are_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    note("a\nb")
    assert capsys.readouterr() == ("", "a\\nb\n")
