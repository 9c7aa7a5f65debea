"""`python -m dlcv.benchmarks.parity_suite`: the matrix; exit code 1 when something fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcv.runtime.cli.common import Command, note

if TYPE_CHECKING:
    from dlcv.benchmarks.parity_suite.matrix import Cell

QUICK = ("fcn8s", "cnn3")
PRECISION_NAMES = ("fp32", "fp16", "bf16", "int8")


@click.command("parity_suite", cls=Command)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Several times.  [default: fcn8s and cnn3]")
@click.option("--all", "every", is_flag=True, help="Every model of the registry.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISION_NAMES),
    help="Several times.  [default: all]",
)
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A run of dlcv-train; several times."
)
@click.option(
    "--data",
    "data",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Of each run, in the same order; one is of all.",
)
@click.option("--images", type=click.IntRange(1), default=48, show_default=True, help="Of a run's validation, at most.")
@click.option("--device", type=click.Choice(("cpu", "cuda", "both")), default="cpu", show_default=True)
@click.option("--width", type=float, default=0.1, show_default=True, help="Of the models.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for parity.md, parity.html and parity.json."
)
def main(
    models: tuple[str, ...], every: bool, precisions: tuple[str, ...], runs: tuple[Path, ...], data: tuple[Path, ...],
    images: int, device: str, width: float, output: Path | None,
) -> None:  # fmt: skip
    """Train narrow models on generated tiles, or take --run's, export them in each precision, and hold each session against torch.

    Exit code 0 when all that ran hold, 1 when one fails or nothing ran.
    """
    from dlcv.benchmarks.bench.environment import command_line, environment
    from dlcv.benchmarks.parity_suite.graphs import CPU, GPU
    from dlcv.benchmarks.parity_suite.matrix import run_on_runs, run_suite
    from dlcv.benchmarks.parity_suite.report import as_markdown, lines_of
    from dlcv.runtime.errors import UsageError, VerdictError
    from dlcv.train.models.registry import list_models

    ways = {"cpu": CPU, "cuda": GPU, "both": (*CPU, *GPU)}[device]
    wanted, facts = precisions or PRECISION_NAMES, environment(command_line())

    def keep(found: Sequence[Cell]) -> None:
        if output is not None:
            _write(output, found, facts)

    if runs:
        if models or every or len(data) not in (1, len(runs)):
            raise UsageError(
                f"--run takes no --model and no --all, and --data once or for each run; got {len(runs)} run{'s' * (len(runs) > 1)} "
                f"and --data {len(data)} times"
            )
        pairs = [*zip(runs, data * (len(runs) // len(data)))]
        cells = run_on_runs(pairs, ways, wanted, images=images, say=note, keep=keep)
    else:
        cells = run_suite(list_models() if every else models or QUICK, ways, wanted, width=width, say=note, keep=keep)
    click.echo(as_markdown(cells, facts), nl=False)
    if not any(one.stage for one in cells):
        raise VerdictError("nothing ran, so nothing was compared: " + "; ".join(lines_of(cells)))
    if any(one.problems for one in cells):
        raise VerdictError("; ".join(lines_of([one for one in cells if one.problems])))


def _write(folder: Path, cells: Sequence[Cell], facts: dict[str, Any]) -> None:
    import json

    from dlcv.benchmarks.parity_suite.report import as_markdown, as_page, to_dict

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parity.md").write_text(as_markdown(cells, facts))
    (folder / "parity.html").write_text(as_page(cells, facts))
    (folder / "parity.json").write_text(json.dumps(to_dict(cells, facts), indent=1) + "\n")


if __name__ == "__main__":
    main()
