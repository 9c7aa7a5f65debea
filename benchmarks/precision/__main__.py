"""`python -m dlcv.benchmarks.precision`: the tables of a trained run; exit code 1 when a planted fault that does harm is not caught."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note

FAULT_NAMES = (
    "overflow", "small overflow", "uneven channels", "uniform noise", "grey noise", "swapped fp32", "swapped fp16", "swapped int8",
)  # fmt: skip
"""Of `plants.FAULTS`: here again, so that the help needs no import."""


@click.command("precision", cls=Command)
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Folder with best.pt and split.csv.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="What the run was trained on.")
@click.option(
    "--images", type=click.IntRange(2), default=None, help="Validation images at most, evenly spaced.  [default: all]"
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["fp32", "fp16", "bf16", "int8", "int8 with fp16"]),
    help="Several times; fp32 is what speed is held against.  [default: all]",
)
@click.option("--pairs", type=click.IntRange(0), default=15, show_default=True, help="Rounds of timing; 0 for none.")
@click.option("--plant", is_flag=True, help="Plant faults instead, and see each caught.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice(FAULT_NAMES),
    help="With --plant, several times.  [default: all]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for precision-MODEL.md and .json."
)
def main(
    run: Path,
    data: Path,
    images: int | None,
    precisions: tuple[str, ...],
    pairs: int,
    plant: bool,
    faults: tuple[str, ...],
    output: Path | None,
) -> None:
    """Score every precision of a trained run at every stage of its export, and time it; or plant faults in it.

    int8 is calibrated on images that trained. Plans are built where a builder is installed, and run where there is a GPU.
    """
    import json
    import tempfile

    from dlcv.benchmarks.bench.environment import command_line, environment
    from dlcv.benchmarks.precision.plants import plants_of
    from dlcv.benchmarks.precision.report import as_markdown, to_dict
    from dlcv.benchmarks.precision.speed import speeds
    from dlcv.benchmarks.precision.stages import PRECISIONS, SESSIONS, row_of, torch_session
    from dlcv.benchmarks.precision.subject import subject_of
    from dlcv.export.images import first_windows
    from dlcv.runtime.errors import UsageError, VerdictError
    from dlcv.runtime.scoring.evaluation import NOUNS

    if faults and not plant:
        raise UsageError("--fault chooses what --plant plants; give --plant as well, or leave it out")
    facts = environment(command_line())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        subject = subject_of(run, data, scratch, images, note)
        words = f"{len(subject.validation)} of {subject.given} validation {NOUNS[subject.card.task]}s"
        rows, speed, planted = [], {}, []
        if plant:
            planted = plants_of(subject, scratch, note, faults or FAULT_NAMES)
        else:
            reference = torch_session(subject.checkpoint)
            for precision in precisions or PRECISIONS:
                note(f"{subject.card.model}: {precision}")
                rows.append(row_of(subject, reference, precision, scratch / precision.replace(" ", "-"), note))
        graphs = {row.precision: row.graph for row in rows if row.graph is not None}
        if pairs and "fp32" in graphs:
            window = first_windows(subject.validation.evenly(1), subject.card)[0]
            speed = speeds(graphs, SESSIONS, window, pairs)
    text = as_markdown(subject.card.model, words, rows, speed, planted)
    click.echo(text, nl=False)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        stem = output / f"{'planted' if plant else 'precision'}-{subject.card.model}"
        stem.with_suffix(".md").write_text(text)
        values = to_dict(subject.card.model, words, rows, speed, planted, facts)
        stem.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n")
    if missed := [one.fault for one in planted if one.missed]:
        raise VerdictError(f"not caught: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
