"""`dlcv-report`: the pictures and the page of a run, or several runs compared."""

from __future__ import annotations

from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note, version_option
from dlcv.train.cli.own_models import own_models


@click.command("dlcv-report", cls=Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Where the page goes.  [default: RUN/report; of several runs comparison/]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Labelled images, where they have moved.  [default: where they were]",
)
@click.option("--dataset", default=None, help="Segmentation: how masks name classes.  [default: as the run had it]")
@click.option("--tile", "tiles", multiple=True, metavar="NAME", help="Segmentation: show this tile; may be repeated.")
@click.option("--features", is_flag=True, help="Also draw weights, t-SNE, saliency and filters; takes minutes.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@own_models
@version_option
def main(
    runs: tuple[Path, ...],
    output: Path | None,
    data: Path | None,
    dataset: str | None,
    tiles: tuple[str, ...],
    features: bool,
    device: str,
) -> None:
    """Draw a run's curves, classes, confusion and masks into one HTML page; several runs: compare them.

    The page opens from disk in any browser and needs no network. It is made from the run's folder, however old, and from
    its data; without data, what can be drawn is drawn and the rest is named. Runs are compared by their folders alone.

    \b
    dlcv-report runs/fcn8s
    dlcv-report runs/fcn8s --data tiles/ --tile t1_8_y0_x0
    dlcv-report runs/fcn8s runs/fcn8s-weighted --output comparison/
    """
    from dlcv.runtime.errors import UsageError
    from dlcv.train.report.record import named, read_run

    if len(runs) > 1 and (data or dataset or tiles or features):
        raise UsageError(
            "--data, --dataset, --tile and --features are for one run; several are compared by their folders alone"
        )
    records = [read_run(folder, name) for folder, name in zip(runs, named(runs), strict=True)]
    if len(runs) > 1:
        from dlcv.train.report.several import write_comparison

        page = write_comparison(records, output or Path("comparison"), note)
    else:
        from dlcv.train.explain.options import ExplainOptions
        from dlcv.train.report.one_run import ReportOptions, write_report

        options = ReportOptions(data, dataset, tiles, ExplainOptions(device=device) if features else None, device)
        page = write_report(records[0], output or runs[0] / "report", options, note)
    click.echo(page)
