"""Faults planted in a trained run, each exported as a user would: what catches it, whether it is repaired, and what it would have cost.

`unguarded` is the graph that would be left without the gate; it is made here beside the export and scored on the same images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import ExportError, UsageError, VerdictError
from dlcv.runtime.scoring.comparison import MAX_DROP
from dlcv.runtime.sessions.base import Session
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint, save_checkpoint
from dlcv.train.folder.names import SPLIT_NAME

FACTOR = 1e6
"""A layer so many times as large and the next so much smaller: in float32 the same function, in float16 beyond 65,504."""
PAIRS = {"fcn8s": ("features.24", "features.26"), "resnet18": ("layer3.0.bn1", "layer3.0.conv2")}
"""By model: what is scaled (a batch normalisation is folded into the convolution before it), and what reads it through a ReLU."""
SMALL_PAIRS = {"fcn8s": ("score", "up_pool5")}
"""Likewise, with so few multiply-adds (0.03 %) that both may leave fp16; `resnet18` has no such pair: its smallest is 9.6 %."""
UNEVEN = 1024.0
"""Each second channel so many times as large, a power of two: in float32 the same function to the last bit. One range for all channels
then leaves the others less than one of int8's 127 levels: what Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, equalise.
"""
UNEVEN_PAIRS = {"fcn8s": ("fc7", "score"), "resnet18": ("layer2.0.bn1", "layer2.0.conv2")}
"""Likewise, of at most 10 % of the multiply-adds together: 4.9 % and 9.6 %."""
NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], NDArray[Any]]] = {
    "uniform noise": lambda rng, shape: rng.integers(0, 256, shape),
    "grey noise": lambda rng, shape: rng.normal(118, 3, shape).clip(0, 255),
}
BGR = (2, 1, 0)
ALL_CHANNELS = slice(None)
FAULTS = (
    "overflow", "small overflow", "uneven channels", "uniform noise", "grey noise", "swapped fp32", "swapped fp16", "swapped int8",
)  # fmt: skip
"""By name, in the order in which they are planted."""


@dataclass(frozen=True)
class Planted:
    """A fault, and what became of it.

    Attributes:
        fault: in words.
        precision: of the export.
        caught: whether the export refused it or repaired it.
        harmless: whether the graph without the gate is as good as the export's own bound asks for (`max_drop`): then there is nothing to catch.
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
    max_drop: float = MAX_DROP

    @property
    def harmless(self) -> bool:
        """See the class."""
        return self.torch - self.unguarded <= self.max_drop

    @property
    def missed(self) -> bool:
        """Whether it does harm and was let through."""
        return not self.caught and not self.harmless

    @property
    def verdict(self) -> str:
        """In words, for a table."""
        how = "repaired" if self.repaired else "refused"
        return f"yes, {how}" if self.caught else "NO" if self.missed else "harmless"


def plants_of(
    subject: Subject, scratch: Path, say: Say = lambda _: None, names: Collection[str] = FAULTS
) -> list[Planted]:
    """Plants faults in a run, each by itself.

    Args:
        subject: the run; its validation images are what scores are of.
        scratch: for copies of the run and for files.
        say: takes a line a fault.
        names: which of `FAULTS`; those that the model has no layers for are left out.

    Raises:
        UsageError: for a model without a pair of layers in `PAIRS`, or where nothing is left.
    """
    chosen = {name: plant for name, plant in _all(subject).items() if name in names}
    if not chosen:
        raise UsageError(
            f"{subject.card.model} has no layers for {', '.join(names)}; faults of it: {', '.join(_all(subject))}"
        )
    found = []
    for name, plant in chosen.items():
        planted = plant(scratch / name.replace(" ", "-"))
        say(
            f"{planted.fault}: {'NOT CAUGHT' if planted.missed else 'caught' if planted.caught else 'harmless'}; {planted.torch:.4f} in torch, "
            f"{planted.unguarded:.4f} without the gate, {'no file' if planted.after is None else f'{planted.after:.4f} after'}"
        )
        found.append(planted)
    return found


def _all(subject: Subject) -> dict[str, Callable[[Path], Planted]]:
    model = subject.card.model
    if model not in PAIRS:
        raise UsageError(f"no layers of {model} are known to overflow; known: {', '.join(PAIRS)}")
    found: dict[str, Callable[[Path], Planted]] = {
        "overflow": lambda folder: overflow(subject, folder, *PAIRS[model]),
        "small overflow": lambda folder: overflow(subject, folder, *SMALL_PAIRS[model]),
        "uneven channels": lambda folder: uneven(subject, folder, *UNEVEN_PAIRS[model]),
        **{name: partial(noise, subject, name) for name in NOISES},
        **{f"swapped {precision}": partial(swapped, subject, precision) for precision in ("fp32", "fp16", "int8")},
    }
    assert tuple(found) == FAULTS
    if model not in SMALL_PAIRS:
        del found["small overflow"]
    return found


def overflow(subject: Subject, folder: Path, first: str, second: str) -> Planted:
    """A pair of layers scaled so that float16 overflows between them."""
    changed = _changed(subject, folder, lambda weights: scale(weights, first, second, FACTOR))
    network, card = _network(changed), _card(changed, "fp16")
    unguarded = onnx_from_model(network_at(network, "fp16", card.input_size_hw), card)
    return _outcome(f"{first} times {FACTOR:g}, {second} divided by it", changed, "fp16", unguarded, folder)


def uneven(subject: Subject, folder: Path, first: str, second: str) -> Planted:
    """Each second channel between a pair of layers scaled so that one int8 range does not fit all."""
    changed = _changed(subject, folder, lambda weights: scale(weights, first, second, UNEVEN, slice(None, None, 2)))
    fault = f"each second channel of {first} times {UNEVEN:g}, {second} divided by it"
    return _outcome(fault, changed, "int8", _int8(changed), folder)


def _changed(subject: Subject, folder: Path, change: Callable[[dict[str, Tensor]], None]) -> Subject:
    """The subject with a run of its own whose weights were changed."""
    loaded = load_checkpoint(subject.checkpoint)
    weights = {name: weight.clone() for name, weight in loaded.weights.items()}
    change(weights)
    path = folder / "run" / "best.pt"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, replace(loaded, weights=weights))
    split = subject.checkpoint.with_name(SPLIT_NAME)
    if split.is_file():  # so that its export verifies on what that of the run itself does
        shutil.copyfile(split, path.with_name(SPLIT_NAME))
    return replace(subject, checkpoint=path)


def scale(weights: dict[str, Tensor], first: str, second: str, factor: float, channels: slice = ALL_CHANNELS) -> None:
    """Weights and bias of `first` so many times as large, the weights of `second` so much smaller; changes `weights`.

    Args:
        weights: of a network, by name.
        first, second: layers, the second a convolution or a linear layer that reads what the first gives, through a ReLU at most.
        factor: above 0, so that a ReLU between them changes nothing.
        channels: which of those between the two. Of a transposed convolution, which has them first, only all can be taken.
    """
    for name in (f"{first}.weight", f"{first}.bias"):
        weights[name][channels] *= factor
    if channels == ALL_CHANNELS:
        weights[f"{second}.weight"] /= factor
    else:
        weights[f"{second}.weight"][:, channels] /= factor


def noise(subject: Subject, name: str, folder: Path) -> Planted:
    """int8 calibrated on images of noise, of the size of real ones."""
    images, rng = folder / "images", np.random.default_rng(0)
    images.mkdir(parents=True)
    shape = subject.validation.image(subject.validation.examples[0]).shape
    for number in range(CALIBRATION):
        cv2.imwrite(str(images / f"{number:04}.png"), NOISES[name](rng, shape).astype(np.uint8))
    changed = replace(subject, calibration=images)
    return _outcome(f"calibrated on {name}", changed, "int8", _int8(changed), folder)


def swapped(subject: Subject, precision: str, folder: Path) -> Planted:
    """Channels swapped in the graph that the export verifies: of float32, or in the low precision's alone."""
    if precision == "int8":
        unguarded = _int8(subject)
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
    bound = settings_of(subject, precision, output).precision.max_drop
    return Planted(
        fault, precision, caught, by, repaired, left, scores["torch"], scores["unguarded"], scores.get("after"), told,
        max_drop=bound,
    )  # fmt: skip


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


def _int8(subject: Subject) -> onnx.ModelProto:
    """Calibrated on the subject's images, as an export would."""
    card = _card(subject, "int8")
    tiles = calibration_tiles(subject.calibration, CALIBRATION, card, subject.validation.evenly(8))
    return with_card(int8_from_onnx(_fp32(subject), tiles.windows), card)
