"""The sessions of a CPU beside each other on one image: `python -m dlcv.benchmarks.programs.sessions --help`.

All in one process, in turn, each on all cores; a figure is the median, over the rounds, of ONNX Runtime's fp32 time over that of the
same round. Weights are fresh ones: what is measured does not depend on training.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlcv.benchmarks.timing import MIN_PAIRS, ratio_of_pairs
from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.errors import EngineError, MissingPackageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dlcv.runtime.card.card import ModelCard

    Images = NDArray[np.uint8]

BASE = "ONNX Runtime, fp32"
WAYS = (
    (BASE, "fp32", "onnxruntime", "card"),
    ("OpenVINO, fp32", "fp32", "openvino", "card"),
    ("OpenVINO, fp32 with --compute fp16", "fp32", "openvino", "fp16"),
    ("OpenVINO, fp32 with --compute bf16", "fp32", "openvino", "bf16"),
    ("OpenVINO, int8", "int8", "openvino", "card"),
    ("ONNX Runtime, int8", "int8", "onnxruntime", "card"),
)
"""Name, the graph's precision, session, what is computed in."""
PLUGIN = "ONNX Runtime's OpenVINO plugin"


@dataclass(frozen=True)
class Way:
    """A session to measure: a call that answers one image, and what it ran in, in words."""

    name: str
    run: Callable[[], Any]
    ran: str = "-"


@click.command("sessions", cls=Command)
@click.option("--model", default="fcn8s", show_default=True)
@click.option("--width", type=float, default=1.0, show_default=True)
@click.option("--size", type=click.IntRange(32), default=512, show_default=True, help="Side of the image, in pixels.")
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(model: str, width: float, size: int, rounds: int) -> None:
    """Print the speed of each session beside ONNX Runtime's in float32, and how far their answers agree."""
    from dlcv.benchmarks.bench.measure import Effort, interleaved, timed
    from dlcv.runtime.machine import cpu_count, cpu_name

    with tempfile.TemporaryDirectory() as scratch:
        graphs, card, image = _graphs(Path(scratch), model, width, size)
        ways = [*_ways(graphs, image), *_plugin_ways(graphs, image)]
        answers = {way.name: way.run()["logits"].argmax(1) for way in ways}
        effort = Effort(rounds=rounds, pairs=rounds, warm_up_s=0)
        measured = interleaved({way.name: timed(way.run) for way in ways}, effort, must=BASE)
        times = {name: [value / 1000 for value in lane.samples_ms] for name, lane in measured.lanes.items()}
    click.echo(_table(ways, times, {name: float((a == answers[BASE]).mean()) for name, a in answers.items()}))
    note(
        f"{model}, width {width}, {size} x {size}, {rounds} rounds on {cpu_count()} cores of {cpu_name()}; {card.task}"
    )


def _graphs(folder: Path, model: str, width: float, size: int) -> tuple[dict[str, Path], ModelCard, Images]:
    """The model's graphs in fp32 and int8, by precision, and an image."""
    import torch

    from dlcv.benchmarks.untrained import scene_images, untrained_card
    from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
    from dlcv.export.precision.calibration import int8_from_onnx
    from dlcv.train.models import create_model
    from dlcv.train.models.registry import model_entry

    torch.manual_seed(0)
    network = create_model(model, width=width).eval()
    for name, layer in network.named_modules():
        if "score_pool" in name and isinstance(
            layer, torch.nn.Conv2d
        ):  # they begin at zero, as Long et al. (2015) have them
            torch.nn.init.kaiming_normal_(layer.weight)
    card, images = untrained_card(model, model_entry(model).task, size, width=width), scene_images(3, size)
    float_graph = onnx_from_model(network, card)
    int8_graph = with_card(int8_from_onnx(float_graph, list(images[1:3]), "min-max"), card.changed(precision="int8"))
    graphs = {"fp32": folder / "fp32.onnx", "int8": folder / "int8.onnx"}
    for path, proto in zip(graphs.values(), (float_graph, int8_graph), strict=True):
        path.write_bytes(proto.SerializeToString())
    return graphs, card, images[:1]


def _ways(graphs: dict[str, Path], image: Images) -> list[Way]:
    from dlcv.runtime.sessions import Session, open_session

    def runs(session: Session) -> Callable[[], Any]:
        return lambda: session.run(image)

    found = []
    for name, precision, library, compute in WAYS:
        try:
            session = open_session(graphs[precision], device="cpu", session=library, compute=compute)
        except (EngineError, MissingPackageError) as error:
            note(f"{name} is left out: {error}")
            continue
        executed = session.executed()
        shares = executed.sentence().partition(" runs ")[2] if executed else "-"
        found.append(Way(name, runs(session), shares))
    return found


def _plugin_ways(graphs: dict[str, Path], image: Images) -> list[Way]:
    """OpenVINO by way of ONNX Runtime's plugin, where `onnxruntime-ep-openvino` is installed; dlcv itself does not use it."""
    import onnxruntime as ort

    try:
        import onnxruntime_ep_openvino as plugin  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        note(f"{PLUGIN} is left out: pip install onnxruntime-ep-openvino")
        return []
    from dlcv.runtime.machine import cpu_count

    ort.register_execution_provider_library("openvino", plugin.get_library_path())
    devices = [one for one in ort.get_ep_devices() if one.ep_name == "OpenVINOExecutionProvider"]
    devices = [one for one in devices if one.device.type == ort.OrtHardwareDeviceType.CPU][:1]
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(cpu_count()), "NUM_STREAMS": "1"}

    def runs(session: ort.InferenceSession) -> Callable[[], Any]:
        return lambda: {"logits": session.run(["logits"], {"image": image})[0]}

    found = []
    for precision, path in graphs.items():
        options = ort.SessionOptions()
        options.add_provider_for_devices(devices, {"load_config": json.dumps({"CPU": settings})})
        found.append(Way(f"{PLUGIN}, {precision}", runs(ort.InferenceSession(str(path), options))))
    return found


def _table(ways: list[Way], times: dict[str, list[float]], agreement: dict[str, float]) -> str:
    from dlcv.runtime.tables import markdown_table

    rows = []
    for way in ways:
        if way.name not in times:
            continue
        ratio = ratio_of_pairs(times[BASE], times[way.name])
        speed = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        rows.append([way.name, speed, f"{ratio.b_s:.3f}", f"{agreement[way.name]:.4f}", way.ran])
    return markdown_table(
        ["", "times as fast (quartiles)", "median s", "same class", "multiply-adds, as the session says"], rows
    )


if __name__ == "__main__":
    main()
