"""Faults planted in a trained run, each exported as a user would: what catches it, whether it is repaired, and what it would have cost.

`unguarded` is the graph that would be left without the gate; it is made here beside the export and scored on the same images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlcv.benchmarks.precision.stages import Say, settings_of, torch_session
from dlcv.benchmarks.precision.subject import CALIBRATION, Subject
from dlcv.export import export_model as exporting
from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
from dlcv.export.precision import low_precision as lowering
from dlcv.export.precision.calibration import calibration_tiles, int8_from_onnx
from dlcv.export.precision.cast import network_at
from dlcv.export.stages import TwinSession, compare_stages
from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import ExportError, UsageError, VerdictError
from dlcv.runtime.sessions.base import Session
from dlcv.train.checkpoint import load_checkpoint, model_from_checkpoint, save_checkpoint

FACTOR = 1e6
"""A layer so many times as large and the next so much smaller: in float32 the same function, in float16 beyond 65,504."""
PAIRS = {"fcn8s": ("features.24", "features.26"), "resnet18": ("layer3.0.bn1", "layer3.0.conv2")}
"""By model: what is scaled (a batch normalisation is folded into the convolution before it), and what reads it through a ReLU."""
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], NDArray[Any]]] = {
    "uniform noise": lambda rng, shape: rng.integers(0, 256, shape),
    "grey noise": lambda rng, shape: rng.normal(118, 3, shape).clip(0, 255),
}
BGR = (2, 1, 0)


@dataclass(frozen=True)
class Planted:
    """A fault, and what became of it.

    Attributes:
        fault: in words.
        precision: of the export.
        caught: whether the export refused it or repaired it.
        by: the sentence that says so; what it says of the images in any case.
        repaired: the layers that were put back, where the export then passed.
        files: how many were left behind by an export that failed.
        torch: score of the run in float32, on the images compared.
        unguarded: of the graph as it would be without the gate.
        after: of the graph that the export left; None where it left none.
        told: lines of the export that speak of it.
    """

    fault: str
    precision: str
    caught: bool
    by: str
    repaired: tuple[str, ...]
    files: int
    torch: float
    unguarded: float
    after: float | None
    told: tuple[str, ...] = ()


def plants_of(subject: Subject, scratch: Path, say: Say = lambda _: None) -> list[Planted]:
    """Plants each fault in a run.

    Args:
        subject: the run; its validation images are what scores are of.
        scratch: for copies of the run and for files.
        say: takes a line a fault.

    Raises:
        UsageError: for a model without a pair of layers in `PAIRS`.
    """
    found = []
    for name, plant in _all(subject):
        planted = plant(scratch / name.replace(" ", "-"))
        say(
            f"{planted.fault}: {'caught' if planted.caught else 'NOT CAUGHT'}; {planted.torch:.4f} in torch, "
            f"{planted.unguarded:.4f} without the gate, {'no file' if planted.after is None else f'{planted.after:.4f} after'}"
        )
        found.append(planted)
    return found


def _all(subject: Subject) -> list[tuple[str, Callable[[Path], Planted]]]:
    if subject.card.model not in PAIRS:
        raise UsageError(f"no layers of {subject.card.model} are known to overflow; known: {', '.join(PAIRS)}")
    noises: list[tuple[str, Callable[[Path], Planted]]] = [
        (name, lambda folder, name=name: noise(subject, name, folder))  # type: ignore[misc]
        for name in NOISES
    ]
    swaps: list[tuple[str, Callable[[Path], Planted]]] = [
        (f"swapped {precision}", lambda folder, precision=precision: swapped(subject, precision, folder))  # type: ignore[misc]
        for precision in ("fp32", "fp16", "int8")
    ]
    return [("overflow", lambda folder: overflow(subject, folder)), *noises, *swaps]


def overflow(subject: Subject, folder: Path) -> Planted:
    """A pair of layers scaled so that float16 overflows between them."""
    first, second = PAIRS[subject.card.model]
    loaded = load_checkpoint(subject.checkpoint)
    weights = {name: weight.clone() for name, weight in loaded.weights.items()}
    scale(weights, first, second, FACTOR)
    path = folder / "run" / "best.pt"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, replace(loaded, weights=weights))
    changed = replace(subject, checkpoint=path)
    network, card = _network(changed), _card(changed, "fp16")
    unguarded = onnx_from_model(network_at(network, "fp16", card.input_size_hw), card)
    return _outcome(f"{first} times {FACTOR:g}, {second} divided by it", changed, "fp16", unguarded, folder)


def scale(weights: dict[str, Tensor], first: str, second: str, factor: float) -> None:
    """Weights and bias of `first` so many times as large, the weights of `second` so much smaller; changes `weights`."""
    for name in (f"{first}.weight", f"{first}.bias"):
        weights[name] *= factor
    weights[f"{second}.weight"] /= factor


def noise(subject: Subject, name: str, folder: Path) -> Planted:
    """int8 calibrated on images of noise, of the size of real ones."""
    images, rng = folder / "images", np.random.default_rng(0)
    images.mkdir(parents=True)
    shape = subject.validation.image(subject.validation.examples[0]).shape
    for number in range(CALIBRATION):
        cv2.imwrite(str(images / f"{number:04}.png"), NOISES[name](rng, shape).astype(np.uint8))
    changed, card = replace(subject, calibration=images), _card(subject, "int8")
    tiles = calibration_tiles(images, CALIBRATION, card, subject.validation.evenly(8))
    unguarded = with_card(int8_from_onnx(_fp32(subject), tiles.windows), card)
    return _outcome(f"calibrated on {name}", changed, "int8", unguarded, folder)


def swapped(subject: Subject, precision: str, folder: Path) -> Planted:
    """Channels swapped in the graph that the export verifies: of float32, or in the low precision's alone."""
    if precision == "int8":
        tiles = calibration_tiles(
            subject.calibration, CALIBRATION, _card(subject, "int8"), subject.validation.evenly(8)
        )
        unguarded = with_card(int8_from_onnx(_fp32(subject), tiles.windows), _card(subject, "int8"))
    elif precision == "fp16":
        card = _card(subject, "fp16")
        unguarded = onnx_from_model(network_at(_network(subject), "fp16", card.input_size_hw), card)
    else:
        unguarded = _fp32(subject)
    where = exporting if precision == "fp32" else lowering
    maker = "int8_by_ranges" if precision == "int8" else "onnx_from_model"
    with _swapping(where, maker):
        return _outcome(f"channels of the {precision} graph swapped", subject, precision, bgr(unguarded), folder)


@contextmanager
def _swapping(module: Any, maker: str) -> Iterator[None]:
    """What `module` makes by that function has its channels swapped."""
    real = getattr(module, maker)
    with mock.patch.object(module, maker, lambda *args, **given: bgr(real(*args, **given))):
        yield


def bgr(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its channels swapped behind the first cast; changes `proto`."""
    cast = next(node for node in proto.graph.node if "image" in node.input and node.op_type == "Cast")
    name = cast.output[0]
    cast.output[0] = f"{name}:rgb"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(BGR, np.int64), f"{name}:order"))
    gather = onnx.helper.make_node("Gather", [f"{name}:rgb", f"{name}:order"], [name], f"{name}:bgr", axis=3)
    proto.graph.node.insert(list(proto.graph.node).index(cast) + 1, gather)
    return proto


def _outcome(fault: str, subject: Subject, precision: str, unguarded: onnx.ModelProto, folder: Path) -> Planted:
    """Exports with the fault, and scores what it would have given and what it gave."""
    output, said = folder / "export", list[str]()
    caught, by, repaired = True, "", tuple[str, ...]()
    after: onnx.ModelProto | None = None
    try:
        exporting.export_model(settings_of(subject, precision, output, format="onnx"), said.append)
    except (ExportError, VerdictError) as error:
        by = str(error)
    else:
        facts = json.loads((output / f"{subject.card.model}.json").read_text())
        repair = facts.get("repair")
        caught, by = repair is not None, "" if repair is None else repair["failed_without"]
        repaired = () if repair is None else tuple(one["name"] for one in repair["restored"])
        after = onnx.load(output / f"{subject.card.model}.onnx")
    left = len(list(output.iterdir())) if by and after is None and output.exists() else 0
    graphs = {"unguarded": unguarded} | ({} if after is None else {"after": after})
    scores = _scores(subject, precision, graphs)
    told = tuple(line for line in said if "noise" in line)
    return Planted(
        fault, precision, caught, by, repaired, left, scores["torch"], scores["unguarded"], scores.get("after"), told
    )


def _scores(subject: Subject, precision: str, graphs: dict[str, onnx.ModelProto]) -> dict[str, float]:
    """Of torch and of graphs, on all images of the subject."""
    card = _card(subject, precision)
    sessions: dict[str, Session] = {name: TwinSession(proto, card) for name, proto in graphs.items()}
    stages = compare_stages(torch_session(subject.checkpoint), sessions, subject.validation)
    first = next(iter(stages.values())).comparison.reference.headline
    return {"torch": first} | {name: stage.comparison.candidate.headline for name, stage in stages.items()}


def _network(subject: Subject) -> nn.Module:
    return model_from_checkpoint(load_checkpoint(subject.checkpoint)).to(torch.device("cpu"))


def _card(subject: Subject, precision: str) -> ModelCard:
    """Of a graph of the subject with the task's own head."""
    head = "mask" if subject.card.task == "segmentation" else "probs"
    return subject.card.changed(precision=precision, head=head)


def _fp32(subject: Subject) -> onnx.ModelProto:
    return onnx_from_model(_network(subject), _card(subject, "fp32"))
