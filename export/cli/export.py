"""`dlcv-export`: a checkpoint in; a verified graph, and a plan where a builder is there, out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcv.export.cli.build_options import NAMES, build_options
from dlcv.export.cli.precision_options import refuse_without_effect
from dlcv.runtime.cli.common import Command, Finite, note, typed_options, version_option
from dlcv.runtime.errors import UsageError
from dlcv.train.cli.own_models import OPTION as MODEL_FILE
from dlcv.train.cli.own_models import takes_own_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dlcv.export.builders.options import BuildOptions
    from dlcv.export.export_model import ExportReport

HEADINGS = {
    "--model": "What is exported",
    "--builder": "Plan",
    "--precision": "Precision",
    "--triton": "Other",
}
"""Of `--help`: a group's first option, and its heading."""


@click.command("dlcv-export", cls=Command, headings=HEADINGS)
@click.option("--model", default="fcn8s", show_default=True, help="Which model; an unknown name lists the known ones.")
@MODEL_FILE
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A best.pt or last.pt; several, or a folder of them, become one graph that averages their probabilities.  [default: runs/MODEL/best.pt]",
)
@click.option(
    "--onnx",
    type=click.Path(path_type=Path),
    default=None,
    help="Build a plan from this exported graph alone; needs neither torch nor a checkpoint.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the files, which are named after the model.  [default: ., or that of --onnx]",
)
@click.option(
    "--format",
    type=click.Choice(["auto", "onnx", "plan"]),
    default="auto",
    show_default=True,
    help="auto: a plan too where a TensorRT builder is importable.",
)
@click.option(
    "--head",
    type=click.Choice(["mask", "probs", "logits"]),
    default=None,
    help="What the graph returns.  [default: mask for segmentation, probs for classification]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help="Labelled images to verify on.  [default: the run's probe/]",
)
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    default=None,
    help="Of --data its validation images alone.  [default: the run's split.csv, where it fits]",
)
@click.option(
    "--size",
    type=click.IntRange(8),
    nargs=2,
    default=None,
    metavar="HEIGHT WIDTH",
    help="Input size.  [default: the checkpoint's]",
)
@click.option(
    "--dynamic-size",
    type=click.IntRange(8),
    nargs=4,
    default=None,
    metavar="MIN_H MIN_W MAX_H MAX_W",
    help="Segmentation: height and width may vary in this range.  [default: --size alone]",
)
@build_options
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8", "auto"]),
    default="fp32",
    show_default=True,
    help="Of convolutions and matrix products; auto: the fastest that passes.",
)
@click.option(
    "--min-share",
    type=Finite(0, 1),
    default=None,
    help="Least share of the multiply-adds in that precision.  [default: 0.95, int8 0.90]",
)
@click.option(
    "--max-drop",
    type=Finite(0, 1),
    default=0.005,
    show_default=True,
    help="How far mean IoU or accuracy may fall below torch in float32.",
)
@click.option(
    "--calibration-data",
    type=click.Path(path_type=Path),
    default=None,
    help="Training images that set the ranges of int8.  [default: the images verified on]",
)
@click.option(
    "--calibration-tiles",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    help="How many of them at most.",
)
@click.option(
    "--calibration",
    type=click.Choice(["entropy", "percentile", "min-max"]),
    default="percentile",
    show_default=True,
    help="How a range follows from the values seen.",
)
@click.option(
    "--rest",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of what is not int8; fp16 is for TensorRT, and ONNX Runtime then computes in float32.",
)
@click.option(
    "--repair/--no-repair", default=True, help="Put layers that lose too much back to float32.  [default: repair]"
)
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    default=None,
    help="Add the export to this Triton model repository, as MODEL or its next version.",
)
@version_option
@takes_own_models
@click.pass_context
def main(
    ctx: click.Context, /, model: str, onnx: Path | None, output: Path | None, checkpoints: tuple[Path, ...], data: Path | None, size: tuple[int, int] | None, precision: str,
    min_share: float | None, max_drop: float, calibration_data: Path | None, calibration_tiles: int, calibration: str,
    rest: str, repair: bool, triton: Path | None, **options: Any,
) -> None:  # fmt: skip
    """Export a checkpoint, or several as an ensemble, as MODEL.onnx, MODEL.plan, MODEL.reference.npz and MODEL.json.

    Before anything gets its final name, ONNX Runtime on the graph is compared with torch on real images; when they differ,
    the export fails with exit code 1 and leaves nothing behind.

    \b
    dlcv-export --model fcn8s
    dlcv-export --model fcn8s --checkpoint runs/fcn8s/best.pt --data tiles/ --head probs --output engines/
    dlcv-export --model resnet18 --checkpoint runs/resnet18/kept
    dlcv-export --model fcn8s --precision int8 --calibration-data tiles/
    dlcv-export --model resnet18 --format onnx --triton models/
    dlcv-export --onnx fcn8s.onnx --max-batch 4 --triton models/
    """
    from dlcv.export.builders.options import BuildOptions

    build = BuildOptions(**{name: options.pop(name) for name in NAMES})
    if onnx is not None:
        _refuse_others(ctx)
        if triton is not None:
            from dlcv.export.triton.beforehand import check_rebuild

            check_rebuild(triton, onnx, build)
        files = _plan_alone(onnx, output, build, min_share)
        if triton is not None:
            _into_triton(files, triton, onnx.stem, build.max_batch)
        return
    refuse_without_effect(ctx, precision, options["format"])
    from dlcv.train.models.registry import model_entry

    model_entry(model)
    from dlcv.export.export_model import export_model
    from dlcv.export.precision.low_precision import PrecisionSettings
    from dlcv.export.settings import ExportSettings
    from dlcv.runtime.files import checkpoint_files

    paths = tuple(checkpoint_files(checkpoints or [Path("runs") / model / "best.pt"]))
    asked = PrecisionSettings(
        precision, min_share, max_drop, calibration, calibration_data, calibration_tiles, repair, rest
    )
    settings = ExportSettings(
        model=model,
        checkpoints=paths,
        output=output or Path("."),
        data=data,
        size_hw=size,
        precision=asked,
        build=build,
        **options,
    )
    if triton is not None:
        from dlcv.export.triton.beforehand import check_export

        check_export(triton, settings)
    report = export_model(settings, say=note)
    _tell(report)
    if triton is not None:
        _into_triton(report.files, triton, model, build.max_batch)


def _tell(report: ExportReport) -> None:
    """How the export went, for people, and its files on stdout."""
    from dlcv.export.stages import stage_table
    from dlcv.runtime.scoring.evaluation import NOUNS

    verified = report.verification
    note(
        f"verified on {verified.images} {NOUNS[verified.task]}s: argmax agreement {verified.agreement:.6f}, "
        f"largest logit difference {verified.logit_difference:.3g} at logits up to {verified.logit_scale:.3g}"
    )
    for line in stage_table(report.stages):
        note(line)
    note(report.plan.sentence if report.plan else f"no plan: {report.no_plan}")
    for file in report.files:
        click.echo(file)


def _into_triton(files: Sequence[Path], repository: Path, model: str, max_batch: int) -> None:
    from dlcv.export.triton import servable, triton_model

    engine, why_no_plan = servable(files)
    if why_no_plan:
        note(f"Triton serves the graph: {why_no_plan}")
    click.echo(triton_model(engine, repository, name=model, max_batch=max_batch))


def _refuse_others(ctx: click.Context) -> None:
    """With --onnx the graph is made already: what would shape it has no effect, and is refused rather than ignored."""
    known = {"onnx", "output", "min_share", "triton", *NAMES}
    typed = [option for name, option in typed_options(ctx).items() if name not in known]
    if typed and ctx.params.get("format") == "plan":
        typed = [option for option in typed if option != "--format"]  # what --onnx means anyway
    if typed:
        raise UsageError(
            f"{', '.join(typed)}: --onnx builds a plan from a graph as it is; leave it out, or export with --model"
        )


def _plan_alone(onnx: Path, output: Path | None, build: BuildOptions, min_share: float | None) -> tuple[Path, Path]:
    """The graph and its new plan."""
    from dlcv.export.builders.rebuild import rebuild_plan

    report = rebuild_plan(onnx, output, build, note, min_share)
    note(report.sentence)
    click.echo(report.path)
    return onnx, report.path


if __name__ == "__main__":  # how `dlcv-infer --rebuild` runs it
    main()
