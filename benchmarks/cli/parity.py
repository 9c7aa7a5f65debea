"""`dlcv-parity`: a reference and a candidate on the same labelled tiles."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note, refuse_to_overwrite, version_option


@click.command("dlcv-parity", cls=Command)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    required=True,
    help="A checkpoint, an .onnx, a .plan, or the .reference.npz of an export.",
)
@click.option("--candidate", type=click.Path(path_type=Path), required=True, help="A checkpoint, an .onnx or a .plan.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Labelled tiles; a run's probe/ serves.")
@click.option(
    "--dataset",
    default=None,
    help="How masks name classes.  [default: dataset.json in DIR, else the one with the engine's classes]",
)
@click.option(
    "--max-drop", type=click.FloatRange(0), default=0.005, show_default=True, help="How far mean IoU may fall."
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=None,
    help="Of argmax.  [default: by the candidate's precision; fp32: 0.9999]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=None, help="Write the result there too.")
@version_option
def main(
    *,
    reference: Path,
    candidate: Path,
    data: Path,
    dataset: str | None,
    max_drop: float,
    min_agreement: float | None,
    device: str,
    json_file: Path | None,
) -> None:
    """Compare two engines, or an engine with torch, on labelled tiles.

    Exit code 1 when mean IoU falls by more than --max-drop, when the two agree on too few pixels, or when there is nothing
    to compare.

    \b
    dlcv-parity --reference runs/fcn8s/best.pt --candidate fcn8s.onnx --data tiles/validation
    dlcv-parity --reference fcn8s.reference.npz --candidate fcn8s.plan --data runs/fcn8s/probe
    """
    from dlcv.benchmarks.parity import compare, open_side, same_model
    from dlcv.benchmarks.tables import comparison_table
    from dlcv.runtime.card_reader import kind_of
    from dlcv.runtime.comparison import MIN_AGREEMENT
    from dlcv.runtime.datasets.pairs import all_tiles_note, validation_pairs
    from dlcv.runtime.errors import UsageError
    from dlcv.runtime.evaluation import find_description
    from dlcv.runtime.files import write_bytes
    from dlcv.runtime.progress import Progress

    refuse_to_overwrite(json_file, reference, candidate)
    if kind_of(candidate) == "reference":
        raise UsageError(
            f"{candidate} holds stored answers and can be the reference only; name an engine or a checkpoint"
        )
    second = open_side(candidate, device)
    try:
        first = open_side(reference, device, like=second.card)
    except BaseException:
        second.close()
        raise
    try:
        description = find_description(dataset, data, second.card)
        pairs = validation_pairs(data, description)
        if warning := same_model(first.card, second.card):
            note(warning)
        note(f"reference: {first.description}; candidate: {second.description}")
        with Progress(len(pairs), "comparing") as progress:
            comparison = compare(first, second, pairs, description, advance=progress.advance)
    finally:
        first.close()
        second.close()
    if text := all_tiles_note(data, len(pairs)):
        note(text)
    if comparison.tiles < len(pairs):
        note(f"{comparison.tiles} of {len(pairs)} tiles are known to the reference; the others were left out")
    bound = MIN_AGREEMENT[second.card.precision] if min_agreement is None else min_agreement
    click.echo(comparison_table(comparison))
    problems = comparison.problems(max_drop=max_drop, min_agreement=bound)
    if json_file:
        import json

        facts = comparison.to_dict() | {
            "passed": not problems,
            "tiles_given": len(pairs),
            "problems": problems,
            "max_drop": max_drop,
            "min_agreement": bound,
        }
        facts |= {
            "reference": {"file": str(reference), "run_by": first.description},
            "candidate": {"file": str(candidate), "run_by": second.description},
        }
        write_bytes(json_file, (json.dumps(facts, indent=1) + "\n").encode())
    comparison.require(max_drop=max_drop, min_agreement=bound)
    note(
        f"parity holds on {comparison.tiles} tiles: mean IoU {comparison.reference.mean_iou:.4f} -> {comparison.candidate.mean_iou:.4f}, agreement {comparison.agreement:.6f}"
    )
