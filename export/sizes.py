"""Graphs whose height and width vary: the range that is asked for, and whether the graph is what torch is at both ends of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.export.verify import Verification, verify_graph
from dlcv.runtime.card.card import ModelCard, SizeRange
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import UsageError, VerdictError
from dlcv.runtime.fitting.fitting import fit_tile
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.models.registry import model_entry

IMAGES = 4
"""Tiles at each further size: a shape that was baked in shows on the first."""


def range_for(
    model: str, task: str, size_hw: tuple[int, int], asked: tuple[int, int, int, int] | None
) -> SizeRange | None:
    """The range of sizes that was asked for.

    Args:
        model: name in the registry; it knows what sizes must be multiples of.
        task: `segmentation` or `classification`.
        size_hw: the graph's own size, in pixels, which lies in the range.
        asked: smallest height and width, largest height and width, in pixels; None for none.

    Raises:
        UsageError: for classification, or sizes that are out of order, no multiples, or do not hold `size_hw`.
    """
    if asked is None:
        return None
    if task != "segmentation":
        raise UsageError(
            f"--dynamic-size is for segmentation; {model} classifies what its centre crop holds: leave it out"
        )
    step = model_entry(model).size_divisor
    typed = "--dynamic-size " + " ".join(map(str, asked))
    if any(side % step or side < 1 for side in asked):
        whole = " ".join(str(max(1, -(-side // step)) * step) for side in asked)
        raise UsageError(f"{typed} is not in multiples of {step}, which {model} needs; use --dynamic-size {whole}")
    sizes = SizeRange((asked[0], asked[1]), (asked[2], asked[3]), step)
    if not all(sizes.holds(size) for size in (sizes.min_hw, sizes.max_hw, size_hw)) or sizes.min_hw == sizes.max_hw:
        raise UsageError(
            f"{typed}: expected MIN_H MIN_W MAX_H MAX_W in order, with the input size {size_hw[0]} {size_hw[1]} among them; "
            "choose others, or another --size"
        )
    return sizes


def verify_sizes(
    proto: onnx.ModelProto, card: ModelCard, network: nn.Module, labelled: LabelledSet[Any], say: Callable[[str], None]
) -> dict[str, Verification]:
    """Compares a graph with torch at the smallest and the largest size of its card's range.

    Args:
        proto: the graph.
        card: the graph's.
        network: the checkpoint in torch, in evaluation mode, on the CPU.
        labelled: images to take; smaller ones are padded by reflection.
        say: takes a line a size.

    Returns:
        By size, such as `256 x 256`; empty where the size does not vary.

    Raises:
        VerdictError: when the graph does not give what torch gives.
        ExportError: when ONNX Runtime refuses the graph.
    """
    if card.size_range is None:
        return {}
    found = {}
    for size_hw in (card.size_range.min_hw, card.size_range.max_hw):
        name = f"{size_hw[0]} x {size_hw[1]}"
        say(f"verifying at {name}")
        at_size = card.changed(input_size_hw=size_hw)
        session = TorchSession(network, at_size, torch.device("cpu"))
        try:
            verification = verify_graph(proto, at_size, session, _windows(labelled, size_hw))
        except Exception as error:
            if not _of_runtime(error):
                raise
            raise VerdictError(
                f"the graph fails at {name}, and torch does not; no file was written: {error}"
            ) from error
        # A small window may hold a single class; the logits are compared all the same.
        enough = replace(verification, predicted_classes=max(2, verification.predicted_classes))
        if problems := enough.problems():
            raise VerdictError(
                f"verification at {name} failed on {verification.images} tiles, no file was written: {'; '.join(problems)}"
            )
        found[name] = verification
    return found


def _windows(labelled: LabelledSet[Any], size_hw: tuple[int, int]) -> list[NDArray[np.uint8]]:
    chosen = labelled.evenly(IMAGES)
    return [fit_tile(chosen.image(example), size_hw, "windows").windows[0] for example in chosen.examples]


def _of_runtime(error: Exception) -> bool:
    """Whether ONNX Runtime raised it: its errors share no base of their own."""
    return type(error).__module__.startswith("onnxruntime")
