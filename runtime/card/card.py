"""The model card: what a model needs in order to be run, as it travels inside a checkpoint, a graph and a plan.

This module knows the card and its JSON. Where it stands in each kind of file is `reader.py`'s knowledge; the writers
live in train and export. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dlcv.runtime.errors import CardError, UsageError

SCHEMA = 2
"""1: segmentation only. 2: the evaluation transform of classification, model options, ensembles."""
TASKS = ("segmentation", "classification")
HEADS = ("none", "mask", "probs", "logits")
FITS = {"segmentation": ("windows", "pad", "resize"), "classification": ("centre-crop",)}
INTERPOLATIONS = ("area", "linear", "cubic")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
RESTS = ("fp32", "fp16")
MAX_CLASSES = {"segmentation": 256, "classification": 10_000}
"""A mask is uint8, so a segmentation card holds at most 256 classes."""


@dataclass(frozen=True)
class SizeRange:
    """The sizes of a graph whose height and width vary.

    Attributes:
        min_hw: the smallest height and width, in pixels.
        max_hw: the largest.
        multiple_of: both must be a multiple of it.
    """

    min_hw: tuple[int, int]
    max_hw: tuple[int, int]
    multiple_of: int = 1

    def __str__(self) -> str:
        steps = f" in multiples of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{self.min_hw[0]} x {self.min_hw[1]} to {self.max_hw[0]} x {self.max_hw[1]}{steps}"

    def holds(self, size_hw: tuple[int, int]) -> bool:
        """Whether a graph takes images of this size."""
        sides = zip(self.min_hw, size_hw, self.max_hw)
        return all(low <= side <= high and side % self.multiple_of == 0 for low, side, high in sides)


@dataclass(frozen=True)
class ModelCard:
    """What a model needs in order to be run.

    Attributes:
        model: name in the registry, such as `fcn8s`.
        width: factor on the channels of the published network, 1.0 for the network as published.
        task: `segmentation` or `classification`.
        classes: class names; the position is the index that stands in a mask, or of the probability.
        palette: a colour (R, G, B), 0..255, a class; empty for classification.
        uncounted: indices of the classes that the mean over classes leaves out.
        input_size_hw: height and width, in pixels, of the images that the graph takes.
        size_range: the sizes that the graph takes where its height and width vary, `input_size_hw` among them; else None.
        mean_rgb: subtracted from each channel, in 8-bit levels (0..255), as in the graph.
        std_rgb: what the difference is divided by, in 8-bit levels, as in the graph.
        fit: how an image of another size is brought to `input_size_hw` (see `fitting.py`).
        short_side: `centre-crop` alone: what an image's shorter side is scaled to before the crop, in pixels; 0 elsewhere.
        interpolation: how `centre-crop` scales: `area` (averages what shrinks, linear for what grows), `linear`, `cubic`.
        options: of the model beside its width, such as `stride_in_1x1` of a ResNet.
        members: how many checkpoints' probabilities the graph averages; 1 is a single model.
        precision: of the graph's convolutions: `fp32`, `fp16`, `bf16` or `int8`.
        rest: `int8` alone: what the graph is in where it is not int8: `fp32` or `fp16`.
        proof: what proves the precision, in a line, such as the share of the multiply-adds; empty in float32 and before export.
        head: what the graph returns: `mask`, `probs` or `logits`; `none` in a checkpoint.
        checkpoint_sha256: of the checkpoint's weights file that the graph was made from; empty in a checkpoint.
        onnx_sha256: of the graph that a plan was built from; empty elsewhere.
        max_batch: the largest batch that a plan was built for; 0 where it is not bounded.
        versions: of the packages that made the file.
    """

    model: str
    task: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    input_size_hw: tuple[int, int]
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    uncounted: tuple[int, ...] = ()
    width: float = 1.0
    fit: str = "windows"
    short_side: int = 0
    interpolation: str = "area"
    options: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1
    precision: str = "fp32"
    rest: str = "fp32"
    proof: str = ""
    head: str = "none"
    checkpoint_sha256: str = ""
    onnx_sha256: str = ""
    max_batch: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    size_range: SizeRange | None = None

    def __post_init__(self) -> None:
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """The card as plain JSON values, the schema's number first; an empty proof, a float32 rest and sizes that do not vary are left out."""
        values = {"schema": SCHEMA} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        if not self.proof:
            del values["proof"]
        if self.rest == "fp32":
            del values["rest"]
        if self.size_range is None:
            del values["size_range"]
        return values

    def to_json(self) -> str:
        """The card as ASCII JSON without line breaks, the same text for the same card."""
        return json.dumps(self.to_dict(), ensure_ascii=True, separators=(",", ":"))

    def changed(self, **values: Any) -> ModelCard:
        """A copy with some attributes replaced."""
        return replace(self, **values)

    def at_size(self, size_hw: tuple[int, int] | None, source: str) -> ModelCard:
        """The card of the engine when it is run at another size than its own; None leaves it as it is.

        Args:
            size_hw: height and width, in pixels.
            source: the engine's file, for the error's sentence.

        Raises:
            UsageError: when the engine does not take images of this size.
        """
        if size_hw is None or tuple(size_hw) == self.input_size_hw:
            return self
        asked = f"--window {size_hw[0]} {size_hw[1]}"
        if self.size_range is None:
            height, width = self.input_size_hw
            raise UsageError(
                f"{asked}: {source} takes {height} x {width} alone; leave it out, or export with --dynamic-size"
            )
        if not self.size_range.holds((size_hw[0], size_hw[1])):
            raise UsageError(f"{asked}: {source} takes {self.size_range}; choose a size among them")
        return self.changed(input_size_hw=(size_hw[0], size_hw[1]))


def card_from_json(text: str | bytes, source: str) -> ModelCard:
    """Reads a card from JSON.

    Args:
        text: what `ModelCard.to_json` gave, in this or an older version.
        source: where it was found, for the error's sentence.

    Raises:
        CardError: when it is not JSON, was written by a newer version, or lacks something.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{source}: the model card is not valid JSON ({error}); export the model again") from error
    return card_from_dict(values, source)


def card_from_dict(values: Any, source: str) -> ModelCard:
    """Reads a card from JSON values; see `card_from_json`."""
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise CardError(
            f"{source}: expected a dlcv model card, a JSON object with a number 'schema'; export the model again"
        )
    if values["schema"] > SCHEMA:
        raise CardError(
            f"{source}: its model card has schema {values['schema']}, and this dlcv reads up to {SCHEMA}; "
            "upgrade with: pip install --upgrade dlcv-edge"
        )
    try:
        return ModelCard(**{f.name: _typed(f.name, values[f.name]) for f in fields(ModelCard) if f.name in values})
    except CardError as error:
        raise CardError(f"{source}: {error}; export the model again") from error
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise CardError(f"{source}: its model card cannot be used ({error}); export the model again") from error


def _check(card: ModelCard) -> None:
    problems = []
    if card.task not in TASKS:
        problems.append(f"task {card.task!r}, expected one of {', '.join(TASKS)}")
    if card.head not in HEADS:
        problems.append(f"head {card.head!r}, expected one of {', '.join(HEADS)}")
    if card.precision not in PRECISIONS:
        problems.append(f"precision {card.precision!r}, expected one of {', '.join(PRECISIONS)}")
    if card.rest not in RESTS or (card.rest != "fp32" and card.precision != "int8"):
        problems.append(f"rest {card.rest!r} with precision {card.precision}, expected fp32, or fp16 with int8")
    problems += _task_problems(card) if card.task in TASKS else []
    if card.interpolation not in INTERPOLATIONS:
        problems.append(f"interpolation {card.interpolation!r}, expected one of {', '.join(INTERPOLATIONS)}")
    if any(len(colour) != 3 or not all(0 <= v <= 255 for v in colour) for colour in card.palette):
        problems.append("a colour that is not three numbers from 0 to 255")
    if any(not 0 <= index < len(card.classes) for index in card.uncounted):
        problems.append(f"an uncounted class outside 0..{len(card.classes) - 1}")
    if len(card.input_size_hw) != 2 or not all(1 <= side <= 65536 for side in card.input_size_hw):
        problems.append(f"input size {card.input_size_hw}, expected height and width from 1 to 65536")
    problems += _size_problems(card)
    if len(card.mean_rgb) != 3 or len(card.std_rgb) != 3 or not all(v > 0 for v in card.std_rgb):
        problems.append("mean and std that are not three numbers each, std above 0")
    if not all(map(math.isfinite, (*card.mean_rgb, *card.std_rgb))):
        problems.append("a mean or std that is not finite")
    if not 0 < card.width < math.inf:
        problems.append(f"width {card.width}, expected above 0; 1.0 is the published network")
    if card.max_batch < 0:
        problems.append(f"max_batch {card.max_batch}, expected 0 (not bounded) or more")
    if card.members < 1:
        problems.append(f"{card.members} members, expected 1 or more")
    if problems:
        raise CardError("the model card has " + "; ".join(problems))


def _task_problems(card: ModelCard) -> list[str]:
    problems = []
    if card.fit not in FITS[card.task]:
        problems.append(f"fit {card.fit!r}, expected one of {', '.join(FITS[card.task])}")
    if not 1 <= len(card.classes) <= MAX_CLASSES[card.task]:
        problems.append(f"{len(card.classes)} classes, expected 1 to {MAX_CLASSES[card.task]}")
    if card.task == "segmentation" and len(card.palette) != len(card.classes):
        problems.append(f"{len(card.palette)} colours for {len(card.classes)} classes")
    if card.task == "classification":
        if card.head == "mask":
            problems.append("head mask, expected probs or logits for classification")
        if not max(card.input_size_hw, default=0) <= card.short_side <= 65536:
            problems.append(
                f"short side {card.short_side}, expected the input's longer side {max(card.input_size_hw, default=0)} or more"
            )
    return problems


def _size_problems(card: ModelCard) -> list[str]:
    sizes = card.size_range
    if sizes is None or len(card.input_size_hw) != 2:
        return []
    if card.task != "segmentation":
        return ["sizes that vary, which classification does not know"]
    ends = (sizes.min_hw, sizes.max_hw)
    if sizes.multiple_of < 1 or not all(len(end) == 2 and all(1 <= side <= 65536 for side in end) for end in ends):
        return [f"sizes of {sizes}, expected two heights and widths from 1 to 65536"]
    if not all(sizes.holds(size) for size in (*ends, card.input_size_hw)):
        return [f"sizes of {sizes}, expected them in order, with input size {card.input_size_hw} among them"]
    return []


def _plain(value: Any) -> Any:
    if isinstance(value, SizeRange):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return dict(value) if isinstance(value, Mapping) else value


def _typed(name: str, value: Any) -> Any:
    if name in ("input_size_hw", "uncounted"):
        return tuple(int(v) for v in value)
    if name in ("mean_rgb", "std_rgb"):
        return tuple(float(v) for v in value)
    if name == "classes":
        return tuple(str(v) for v in value)
    if name == "palette":
        return tuple(tuple(int(v) for v in colour) for colour in value)
    if name == "versions":
        return {str(k): str(v) for k, v in value.items()}
    if name == "width":
        return float(value)
    if name == "options":
        return _options(value)
    if name == "size_range":
        return None if value is None else _size_range(value)
    return int(value) if name in ("max_batch", "short_side", "members") else str(value)


def _size_range(value: Any) -> SizeRange:
    (min_h, min_w), (max_h, max_w) = value["min_hw"], value["max_hw"]
    return SizeRange((int(min_h), int(min_w)), (int(max_h), int(max_w)), int(value["multiple_of"]))


def _options(value: Any) -> dict[str, bool | int | float | str]:
    if not isinstance(value, dict) or not all(isinstance(v, (bool, int, float, str)) for v in value.values()):
        raise ValueError(f"options are {value!r}, expected names with numbers, texts, true or false")
    return {str(k): v for k, v in value.items()}
