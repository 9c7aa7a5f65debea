"""`dlcv-infer`'s pipeline beside a plain serial loop and the bare session: `python -m dlcv.benchmarks.file_to_file`.

All three in one process, in turn, over the same tiles: the pipeline (files to masks on disk), a serial loop as one would write
it (cv2.imread, one session on all cores, cv2.imwrite), the session alone on tiles that are in memory, and decoding and writing
alone. Tiles of another size than the engine's are resized, which keeps the session small beside the codec.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dlcv.benchmarks.timing import MIN_PAIRS
from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.tables import markdown_table

OURS, SERIAL = "dlcv-infer", "plain serial loop"
SESSION, CODEC = "session alone, tiles in memory", "codec alone, one thread"


@click.command("file_to_file", cls=Command)
@click.option(
    "--engine", type=click.Path(path_type=Path), default=None, help="An .onnx.  [default: an untrained narrow fcn8s]"
)
@click.option("--width", type=float, default=0.05, show_default=True, help="Of the untrained model.")
@click.option(
    "--tiles", type=click.Path(path_type=Path), default=None, help="Folder of tiles.  [default: generated scenes]"
)
@click.option("--count", type=click.IntRange(1), default=100, show_default=True)
@click.option("--size", type=click.IntRange(32), default=512, show_default=True, help="Side of generated scenes.")
@click.option("--input-size", type=click.IntRange(32), default=224, show_default=True, help="Of the untrained model.")
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(
    engine: Path | None, width: float, tiles: Path | None, count: int, size: int, input_size: int, rounds: int
) -> None:
    """Print the comparison as a Markdown table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = _tiles(tiles, folder / "tiles", count, size)
        graph = engine or _untrained(folder / "fcn8s.onnx", width, input_size)
        note(f"{len(paths)} tiles, {rounds} rounds")
        ways = _ways(paths, graph, folder)
        times: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        for round_number in range(rounds + 1):
            for name, way in ways.items():
                start, cpu_start = time.perf_counter(), time.process_time()
                way()
                if round_number:  # the first round warms up
                    times[name].append(time.perf_counter() - start)
                    cpu[name].append(time.process_time() - cpu_start)
        click.echo(_table(times, len(paths)))
        codec, session = (statistics.median(cpu[name]) for name in (CODEC, SESSION))
        bound = len(paths) * cpu_count() / (codec + session)
        reached = len(paths) / statistics.median(times[OURS]) / bound
        click.echo(
            f"\nThe codec is {codec / (codec + session):.0%} of the CPU work a tile. With all {cpu_count()} cores at work and nothing "
            f"added, {bound:.1f} tiles/s were possible; dlcv-infer reached {reached:.2f} of that."
        )
        click.echo(
            f"\n{len(paths)} tiles, {rounds} rounds in turn in one process, {cpu_count()} cores of {cpu_name()}."
        )


def _table(times: dict[str, list[float]], tiles: int) -> str:
    base = times[OURS]
    rows = []
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, base, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        rows.append([name, f"{tiles / statistics.median(values):.1f}", f"{median:.2f} ({low:.2f} to {high:.2f})"])
    return markdown_table(["", "tiles/s", "time beside dlcv-infer, median (quartiles)"], rows)


def _ways(paths: list[Path], graph: Path, folder: Path) -> dict[str, Callable[[], object]]:
    import cv2
    import numpy as np
    import onnxruntime as ort

    from dlcv.runtime.answers import answers_of
    from dlcv.runtime.card_reader import read_card
    from dlcv.runtime.decode import decode_file
    from dlcv.runtime.fitting import fit_tile
    from dlcv.runtime.inference import InferSettings, infer
    from dlcv.runtime.outputs.masks import write_mask
    from dlcv.runtime.pipeline import Pipeline, PipelineSettings
    from dlcv.runtime.sessions import open_session

    card = read_card(graph)
    height, width = card.input_size_hw
    settings = InferSettings.of(
        sources=tuple(map(str, paths)), engine=graph, output=folder / "masks", overwrite=True, quiet=True, device="cpu",
        fit="resize",
    )  # fmt: skip
    serial = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    fitted = [fit_tile(decode_file(path), card.input_size_hw, "resize") for path in paths]
    windows = [np.ascontiguousarray(tile.windows[0]) for tile in fitted]
    ours = open_session(graph, device="cpu", lanes=cpu_count())
    (folder / "serial").mkdir()

    def serial_loop() -> None:
        for path in paths:
            image_bgr = cv2.imread(str(path))
            assert image_bgr is not None, path
            image = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
            size = image.shape[1::-1]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            (mask,) = serial.run(None, {"image": image[None]})
            mask = cv2.resize(mask[0], size, interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(folder / "serial" / (path.name + ".png")), mask)

    def session_alone() -> None:
        threads = PipelineSettings(decoders=1, writers=1)
        pipeline: Pipeline[Any, None] = Pipeline(ours, lambda image: image, lambda image, mask: None, threads)
        pipeline.run(windows, lambda outcome: None)

    masks = [answers_of(ours.run(window[None]), card.task)[0] for window in windows]

    def codec_alone() -> None:
        for path, mask in zip(paths, masks, strict=True):
            tile = fit_tile(decode_file(path), card.input_size_hw, "resize")
            write_mask(folder / "codec.png", np.ascontiguousarray(tile.join([mask])), card.palette)

    return {OURS: lambda: infer(settings), SERIAL: serial_loop, SESSION: session_alone, CODEC: codec_alone}


def _tiles(given: Path | None, folder: Path, count: int, size: int) -> list[Path]:
    if given is not None:
        from dlcv.runtime.tiles import find_tiles

        return [tile.path for tile in find_tiles([str(given)])][:count]
    from dlcv.train.data.sample import write_sample

    write_sample(folder, tiles=count, validation=1, size=size)
    return sorted((folder / "train").glob("*_sat.jpg"))


def _untrained(path: Path, width: float, size: int) -> Path:
    """A narrow fcn8s with fresh weights: its arithmetic costs what a trained one's does."""
    import torch

    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.runtime.card import ModelCard
    from dlcv.runtime.datasets.masks.description import load_description
    from dlcv.train.models import create_model
    from dlcv.train.preprocess import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB

    torch.manual_seed(0)
    description = load_description("deepglobe")
    card = ModelCard(
        model="fcn8s", task="segmentation", classes=description.classes, palette=description.palette, head="mask",
        uncounted=description.uncounted, input_size_hw=(size, size), mean_rgb=IMAGENET_MEAN_RGB, std_rgb=IMAGENET_STD_RGB, width=width,
    )  # fmt: skip
    model = create_model("fcn8s", classes=len(description.classes), width=width).eval()
    path.write_bytes(onnx_from_model(model, card).SerializeToString())
    return path


if __name__ == "__main__":
    main()
