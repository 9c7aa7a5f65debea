"""`dlcv-parity`: a reference and a candidate on the same labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcv.benchmarks.cli.options import labelled_data_options
from dlcv.runtime.cli.common import Command, Finite, note, refuse_to_overwrite, version_option
from dlcv.runtime.cli.trust_options import take_trust
from dlcv.train.cli.own_models import own_models


@click.command("dlcv-parity", cls=Command)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="A checkpoint (several are averaged), an .onnx, a .plan, or the .reference.npz of an export.",
)
@click.option(
    "--candidate",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="A checkpoint (several are averaged), an .onnx or a .plan.",
)
@labelled_data_options
@click.option(
    "--max-drop",
    type=Finite(0),
    default=0.005,
    show_default=True,
    help="How far mean IoU or accuracy may fall.",
)
@click.option(
    "--min-agreement",
    type=Finite(0, 1),
    default=None,
    help="Of argmax.  [default: by the candidate's precision; fp32: 0.9999 of the pixels, 0.999 of classified images]",
)
@click.option(
    "--max-probability-difference",
    type=Finite(0, 1),
    default=None,
    help="Of classification.  [default: by the candidate's precision; fp32: 0.001, else none]",
)
@own_models
@version_option
def main(
    *, reference: tuple[Path, ...], candidate: tuple[Path, ...], data: Path, json_file: Path | None, **options: Any
) -> None:
    """Compare two engines, or an engine with torch, on labelled images.

    Exit code 1 when mean IoU or accuracy falls by more than --max-drop, when the two agree on too few pixels or images, or
    when there is nothing to compare.

    \b
    dlcv-parity --reference runs/fcn8s/best.pt --candidate fcn8s.onnx --data tiles/validation
    dlcv-parity --reference fcn8s.reference.npz --candidate fcn8s.plan --data runs/fcn8s/probe
    dlcv-parity --reference runs/resnet18/kept --candidate resnet18.onnx --data images/
    """
    from dlcv.benchmarks.judging.parity import check_parity
    from dlcv.benchmarks.judging.tables import comparison_table
    from dlcv.runtime.errors import VerdictError
    from dlcv.runtime.files import checkpoint_files, write_bytes
    from dlcv.runtime.scoring.evaluation import NOUNS

    sides = checkpoint_files(reference), checkpoint_files(candidate)
    refuse_to_overwrite(json_file, *sides[0], *sides[1], *filter(None, [options["split"]]))
    trust = take_trust(options)
    report = check_parity(*sides, data, trust=trust, say=note, **options)
    comparison = report.comparison
    noun = NOUNS[comparison.task]
    if 0 < comparison.images < report.given:
        note(f"{comparison.images} of {report.given} {noun}s are known to the reference; the others were left out")
    if comparison.images:
        click.echo(comparison_table(comparison))
    if json_file:
        import json

        facts = report.to_dict()
        for side, files, run_by in zip(("reference", "candidate"), sides, report.run_by, strict=True):
            named = {"file": str(files[0])} if len(files) == 1 else {"files": [str(file) for file in files]}
            facts[side] = named | {"run_by": run_by}
        write_bytes(json_file, (json.dumps(facts, indent=1) + "\n").encode())
    if comparison.images == 0:
        raise VerdictError(
            f"parity failed: nothing to compare: none of the {report.given} {noun}s of {data} is among those that {sides[0][0]} has answers to; "
            "give --data the images of that export"
        )
    if report.problems:
        raise VerdictError("parity failed: " + "; ".join(report.problems))
    if report.not_shown:
        note(report.not_shown)
    a, b = comparison.reference, comparison.candidate
    note(
        f"parity holds on {comparison.images} {noun}s: {a.headline_name} {a.headline:.4f} -> {b.headline:.4f}, agreement {comparison.agreement:.6f}"
    )
