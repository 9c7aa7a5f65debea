"""`dlcv-evaluate`: an engine on labelled tiles."""

from __future__ import annotations

import math
from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note, refuse_to_overwrite, version_option


@click.command("dlcv-evaluate", cls=Command)
@click.option(
    "--engine", type=click.Path(path_type=Path), required=True, help="An .onnx or a .plan made by dlcv-export."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Labelled tiles: DIR/validation where it is there, else all of DIR.",
)
@click.option(
    "--dataset",
    default=None,
    help="How masks name classes.  [default: dataset.json in DIR, else the one with the engine's classes]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=None, help="Write the result there too.")
@version_option
def main(engine: Path, data: Path, dataset: str | None, device: str, json_file: Path | None) -> None:
    """Mean IoU and per-class IoU of an engine, without torch.

    \b
    dlcv-evaluate --engine fcn8s.onnx --data tiles/
    """
    from dlcv.runtime.datasets.pairs import all_tiles_note, validation_pairs
    from dlcv.runtime.evaluation import evaluate, find_description
    from dlcv.runtime.files import write_bytes
    from dlcv.runtime.machine import cpu_count
    from dlcv.runtime.metrics import scores_of
    from dlcv.runtime.pipeline import PipelineSettings
    from dlcv.runtime.sessions import open_session
    from dlcv.runtime.tables import markdown_table, score

    refuse_to_overwrite(json_file, engine)
    with open_session(engine, device=device, lanes=cpu_count()) as session:
        description = find_description(dataset, data, session.card)
        pairs = validation_pairs(data, description)
        settings = PipelineSettings(decoders=cpu_count(), writers=cpu_count(), fit=session.card.fit)
        confusion = evaluate(session, pairs, description, settings)
        scores = scores_of(confusion, description.uncounted)
    names = [
        name + (" (not counted)" if k in description.uncounted else "") for k, name in enumerate(description.classes)
    ]
    rows = [
        ("mean IoU", scores.mean_iou),
        *zip(names, scores.iou, strict=True),
        ("pixel accuracy", scores.pixel_accuracy),
    ]
    click.echo(markdown_table(["", str(engine)], [[name, score(value)] for name, value in rows]))
    note(
        f"{len(pairs)} tiles; majority predictor ({description.classes[scores.majority_class]}): mean IoU {scores.majority_mean_iou:.4f}"
    )
    if text := all_tiles_note(data, len(pairs)):
        note(text)
    if json_file:
        import json

        facts = {
            "engine": str(engine), "tiles": len(pairs), "mean_iou": scores.mean_iou, "pixel_accuracy": scores.pixel_accuracy,
            "majority_mean_iou": scores.majority_mean_iou, "confusion": confusion.tolist(),
            "iou": {name: None if math.isnan(value) else value for name, value in zip(description.classes, scores.iou, strict=True)},
        }  # fmt: skip
        write_bytes(json_file, (json.dumps(facts, indent=1) + "\n").encode())
