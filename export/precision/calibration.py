"""A float32 graph -> the same graph with convolutions and their inputs in int8, by ranges that were seen on real images.

Quantisation is explicit (QuantizeLinear, DequantizeLinear), symmetric with zero point 0, weights by channel, biases in float32: what
TensorRT reads. ONNX Runtime's quantizer places the pairs and its calibrators choose the ranges; what it writes is then arranged
(`pairs.py`) so that ONNX Runtime can compute in int8 too and the logits keep float32.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dlcv.export.precision.calibration_looks import LOOKED_AT, Looks, doubts, looks_of
from dlcv.export.precision.pairs import LAYERS, arrange, free_restored
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import DatasetError, ExportError, TileError, UsageError, one_line
from dlcv.runtime.files import sha256_of
from dlcv.runtime.fitting.fitting import fit_to_card
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.runtime.tiles.decode import decode_file
from dlcv.runtime.tiles.listing import find_tiles

METHODS = {
    "entropy": "the range whose int8 histogram is nearest to the float one (Kullback-Leibler): cuts rare large values",
    "percentile": "the range that holds 99.99 % of the values",
    "min-max": "the range that holds all of them",
}
PERCENTILE = 99.99
Named = tuple[str, Callable[[], NDArray[np.uint8]]]
"""An image's name, and what reads it."""
BINS, LEVELS = 512, 255
"""Of a tensor's histogram, and of symmetric int8; ONNX Runtime searches the range in steps of two bins, a second a tensor."""


@dataclass(frozen=True)
class CalibrationTiles:
    """What int8 is calibrated on.

    Attributes:
        windows: uint8 (H, W, 3), RGB, of the graph's size: the first window of each image.
        source: where they are from, in words.
        verified_on: how many of them are also among those that verification takes.
        doubts: what speaks against them, in words.
    """

    windows: tuple[NDArray[np.uint8], ...]
    source: str
    verified_on: int
    doubts: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """In a line, with a warning where the same images calibrate and verify, and with all doubts."""
        text = f"{len(self.windows)} image{'s' * (len(self.windows) != 1)} of {self.source}"
        if self.verified_on:
            text += f"; {self.verified_on} of them are also verified on: better name training images with --calibration-data DIR"
        return "; ".join([text, *self.doubts])

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        facts = {"source": self.source, "images": len(self.windows), "also_verified_on": self.verified_on}
        return facts | ({"doubts": list(self.doubts)} if self.doubts else {})


def calibration_tiles(
    folder: Path | None,
    count: int,
    card: ModelCard,
    verified: LabelledSet[Any],
    candidates: LabelledSet[Any] | None = None,
) -> CalibrationTiles:
    """Images to calibrate on.

    Args:
        folder: with images; None takes those that are verified on.
        count: how many at most, evenly spaced.
        card: says how an image is fitted to the graph.
        verified: the images that verification takes.
        candidates: the labelled images of `folder`, where it holds any, so that masks are not taken for images.

    Raises:
        DatasetError: when there are no images, one cannot be read, or most are of another size.
    """
    if folder is None:
        few = verified.evenly(count)
        return CalibrationTiles(_windows(_readers(few), card)[0], "those verified on", len(few))
    known = {verified.sha256(example) for example in verified.examples}
    if candidates is not None:
        few = candidates.evenly(count)
        again = sum(few.sha256(example) in known for example in few.examples)
        return _looked_at(_readers(few), folder, again, verified, card)
    try:
        found = find_tiles([str(folder)])
    except UsageError as error:
        raise DatasetError(
            f"--calibration-data: {error}; name a folder with {NOUNS[card.task]}s of training"
        ) from error
    paths = [found[k * len(found) // min(count, len(found))].path for k in range(min(count, len(found)))]
    again = sum(sha256_of(path) in known for path in paths)
    return _looked_at([(str(path), partial(decode_file, path)) for path in paths], folder, again, verified, card)


def _readers(labelled: LabelledSet[Any]) -> list[Named]:
    return [(example.name, partial(labelled.image, example)) for example in labelled.examples]


def _looked_at(
    images: Sequence[Named], folder: Path, again: int, verified: LabelledSet[Any], card: ModelCard
) -> CalibrationTiles:
    """Images of a folder, beside those that are verified on."""
    windows, looks = _windows(images, card)
    beside = _windows(_readers(verified.evenly(LOOKED_AT)), card)[1]
    return CalibrationTiles(
        windows, str(folder), again, tuple(doubts(looks, beside, card.input_size_hw, NOUNS[card.task]))
    )


def _windows(images: Sequence[Named], card: ModelCard) -> tuple[tuple[NDArray[np.uint8], ...], list[Looks]]:
    """The first window of each image, and what the image looks like."""
    windows, looks = [], []
    for name, read in images:
        try:
            image_rgb = read()
            windows.append(fit_to_card(image_rgb, card).windows[0])
            looks.append(looks_of(name, image_rgb))
        except (DatasetError, TileError) as error:
            text = f"{name}: {error}" if isinstance(error, TileError) else str(error)
            raise DatasetError(f"{text}; calibration needs {NOUNS[card.task]}s that can be read") from error
    return tuple(windows), looks


def int8_from_onnx(
    proto: onnx.ModelProto, windows: Iterable[NDArray[np.uint8]], method: str = "percentile"
) -> onnx.ModelProto:
    """`ranges_of` and `int8_by_ranges` in one: a float32 graph and images (H, W, 3) -> a new graph in int8."""
    return int8_by_ranges(proto, ranges_of(proto, windows, method))


def ranges_of(proto: onnx.ModelProto, windows: Iterable[NDArray[np.uint8]], method: str = "percentile") -> Any:
    """What the values of each layer's input and output range over.

    Args:
        proto: in float32, input `image` uint8 (N, H, W, 3); left as it is.
        windows: calibration images uint8 (H, W, 3), RGB, of the graph's size; taken one at a time.
        method: a key of `METHODS`.

    Returns:
        ONNX Runtime's `TensorsData`.

    Raises:
        ExportError: when ONNX Runtime's calibrator fails.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its calibrators print
            return _ranges(proto, windows, method)
    except Exception as error:  # the calibrators' errors have no base of their own
        raise ExportError(f"ONNX Runtime cannot quantise the graph: {one_line(error)[:400]}") from error


def int8_by_ranges(
    proto: onnx.ModelProto, ranges: Any, restored: Collection[str] = (), *, take_from_layers: bool = False
) -> onnx.ModelProto:
    """Quantises a graph.

    Args:
        proto: in float32; left as it is.
        ranges: of `ranges_of`.
        restored: names of nodes that stay in float32.
        take_from_layers: whether what they read keeps float32 from the layer before on; see `pairs.free_restored`.

    Returns:
        A new graph with the same input and output.

    Raises:
        ExportError: when ONNX Runtime's quantizer fails.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    options = {
        "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["ConvTranspose", "Gemm", "MatMul"],
    }  # fmt: skip
    try:
        quantizer = QDQQuantizer(
            copied, True, False, QuantType.QInt8, QuantType.QInt8, deepcopy(ranges), [], list(restored), list(LAYERS), options
        )  # fmt: skip
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except Exception as error:  # the quantizer's errors have no base of their own
        raise ExportError(f"ONNX Runtime cannot quantise the graph: {one_line(error)[:400]}") from error
    result: onnx.ModelProto = quantizer.model.model
    free_restored(result.graph, restored, take_from_layers=take_from_layers)
    arrange(result.graph)
    return result


def _ranges(proto: onnx.ModelProto, windows: Iterable[NDArray[np.uint8]], method: str) -> Any:
    """ONNX Runtime's `TensorsData`: the range of each layer's input and output."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    methods = {
        "entropy": (CalibrationMethod.Entropy, {"num_bins": BINS, "num_quantized_bins": LEVELS, "symmetric": False}),
        "percentile": (CalibrationMethod.Percentile, {"percentile": PERCENTILE, "symmetric": True}),
        "min-max": (CalibrationMethod.MinMax, {"symmetric": True}),
    }
    kind, options = methods[method]
    with tempfile.TemporaryDirectory(prefix="dlcv-calibration.") as folder:
        source = Path(folder) / "graph.onnx"
        onnx.save_model(proto, source)
        calibrator = create_calibrator(
            source, list(LAYERS), str(Path(folder) / "augmented.onnx"), kind, extra_options=options
        )
        for window in windows:  # one call each: a call keeps all the tensors of its images in memory
            calibrator.collect_data(_Reader([{"image": window[None]}]))
        return calibrator.compute_data()


class _Reader:
    """ONNX Runtime's `CalibrationDataReader`: feeds, then None."""

    def __init__(self, feeds: Sequence[dict[str, NDArray[Any]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next feed; None at the end."""
        return next(self._feeds, None)
