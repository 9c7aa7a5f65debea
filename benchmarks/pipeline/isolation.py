"""What `dlcv-infer --isolate` costs, from files to masks: `python -m dlcv.benchmarks.pipeline.isolation`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from dlcv.benchmarks.pipeline.scenes import tile_paths
from dlcv.benchmarks.timing import MIN_PAIRS, PairedRatio, paired_ratio
from dlcv.benchmarks.untrained import untrained
from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.tables import markdown_table


@click.command("isolation", cls=Command)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Tiles.")
@click.option("--size", type=click.IntRange(32), default=512, show_default=True, help="Side of the tiles.")
@click.option("--width", type=float, default=0.05, show_default=True, help="Of the untrained fcn8s.")
@click.option("--input-size", type=click.IntRange(32), default=224, show_default=True, help="Of the model.")
@click.option("--pairs", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(count: int, size: int, width: float, input_size: int, pairs: int) -> None:
    """Print the comparison as a Markdown table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = tile_paths(None, folder / "tiles", count, size)
        graph = untrained(folder / "fcn8s.onnx", width, input_size)
        note(f"{len(paths)} tiles, {pairs} pairs")
        ratios = {
            "decoding alone, one thread": _decoding(paths, pairs),
            "files to masks": _whole(paths, graph, folder, pairs),
            "start and end of a run of one tile": _whole(paths[:1], graph, folder, pairs),
        }
    rows = [[what, f"{r.b_s * 1000:.0f}", f"{r.a_s * 1000:.0f}", str(r)] for what, r in ratios.items()]
    click.echo(markdown_table(["", "without, ms", "with, ms", "with / without, median (quartiles)"], rows))
    click.echo(f"\n{len(paths)} tiles of {size} x {size}, {cpu_count()} cores of {cpu_name()}.")


def _decoding(paths: list[Path], pairs: int) -> PairedRatio:
    from dlcv.runtime.isolate.pool import IsolatedDecoder
    from dlcv.runtime.tiles.decode import DecodeOptions, Decoder

    def every(decoder: Decoder) -> None:
        for path in paths:
            decoder.decode_file(path)

    with IsolatedDecoder(DecodeOptions(), 1) as isolated:
        return paired_ratio(lambda: every(isolated), lambda: every(Decoder()), pairs)


def _whole(paths: list[Path], graph: Path, folder: Path, pairs: int) -> PairedRatio:
    from dlcv.runtime.run.inference import InferSettings, Summary, infer

    given = {
        "sources": tuple(map(str, paths)), "engine": graph, "output": folder / "masks", "overwrite": True, "quiet": True,
        "device": "cpu", "fit": "resize",
    }  # fmt: skip

    def run(isolate: bool) -> Summary:
        return infer(InferSettings.of(**given, isolate=isolate))  # type: ignore[arg-type]

    return paired_ratio(lambda: run(True), lambda: run(False), pairs)


if __name__ == "__main__":
    main()
