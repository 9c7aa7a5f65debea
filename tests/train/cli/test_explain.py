"""`dlcv-explain` as it is typed: a run's folder or a checkpoint in, files and their names out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlcv.train.cli.explain import main
from dlcv.train.cli.explain_options import KINDS, OPTIONS, explain_options, take_explain
from dlcv.train.explain import options as home
from dlcv.train.explain.options import ExplainOptions


def defaults() -> dict[str, Any]:
    import click

    @click.command()
    @explain_options
    def command(**_: Any) -> None: ...

    return {param.name: param.get_default(click.Context(command)) for param in command.params if param.name}


def test_the_command_lines_defaults_are_the_librarys() -> None:
    """They stand twice, so that `--help` loads neither numpy nor torch."""
    assert tuple(KINDS.split(",")) == home.KINDS
    values = defaults()
    assert len(values) == len(OPTIONS) == len(fields(ExplainOptions)) - 1  # all but the device
    assert take_explain(values, device="auto") == ExplainOptions()
    assert values == {}


def test_a_runs_folder(tiny_classifier: Callable[[int], Path], tiny_classified: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the report extra is not installed")
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.pt").write_bytes(tiny_classifier(0).read_bytes())
    arguments = [str(run), "--data", str(tiny_classified), "--feature-pictures", "weights, tsne", "--device", "cpu"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(run / "explain" / name) for name in ("first-layer.png", "tsne.png")]
    assert "all 24" in result.stderr

    names = sorted(str(path.relative_to(tiny_classified)) for path in tiny_classified.rglob("*.png"))
    rows = "".join(f"{name},{'train' if k % 4 else 'validation'}\n" for k, name in enumerate(names))
    (run / "split.csv").write_text(f"name,split\n{rows}")
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "all 6" in result.stderr, "of a run's folder the images that validated alone"
    assert len((run / "explain" / "tsne.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--feature-pictures", "dreams"], "unknown kind 'dreams', expected some of weights, tsne, saliency, filters"),
        (["--layers", "conv9"], "'conv9'; it has conv1, conv2, conv3, fc"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], line: str, tiny_classifier: Callable[[int], Path], tiny_classified: Path
) -> None:
    result = CliRunner().invoke(main, [str(tiny_classifier(0)), "--data", str(tiny_classified), *options])
    assert result.exit_code == 2
    assert line in result.stderr.splitlines()[-1]
    assert result.stdout == ""


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path), "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert f"there is no checkpoint {tmp_path / 'best.pt'}" in result.stderr
