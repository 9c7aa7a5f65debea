"""A float32 graph -> the same graph with convolutions and their inputs in int8, by ranges that were seen on real images.

Quantisation is explicit (QuantizeLinear, DequantizeLinear), symmetric with zero point 0, weights by channel, biases in float32: what
TensorRT reads. ONNX Runtime's quantizer places the pairs and its calibrators choose the ranges; what it writes is then arranged
so that ONNX Runtime can compute in int8 too and the logits keep float32.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.decode import decode_file
from dlcv.runtime.errors import DatasetError, ExportError, TileError, UsageError, one_line
from dlcv.runtime.evaluation import NOUNS
from dlcv.runtime.files import sha256_of
from dlcv.runtime.fitting import fit_to_card
from dlcv.runtime.tiles import find_tiles

METHODS = {
    "entropy": "the range whose int8 histogram is nearest to the float one (Kullback-Leibler): cuts rare large values",
    "percentile": "the range that holds 99.99 % of the values",
    "min-max": "the range that holds all of them",
}
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What is quantised: where the multiply-adds are."""
PERCENTILE = 99.99
BINS, LEVELS = 512, 255
"""Of a tensor's histogram, and of symmetric int8; ONNX Runtime searches the range in steps of two bins, a second a tensor."""
_KEEPS_RANGE = ("Relu", "MaxPool")
"""A value that int8 cuts off before them is cut off behind them likewise, so the range behind them serves before them."""


@dataclass(frozen=True)
class CalibrationTiles:
    """What int8 is calibrated on.

    Attributes:
        windows: uint8 (H, W, 3), RGB, of the graph's size: the first window of each image.
        source: where they are from, in words.
        verified_on: how many of them are also among those that verification takes.
    """

    windows: tuple[NDArray[np.uint8], ...]
    source: str
    verified_on: int

    @property
    def sentence(self) -> str:
        """In a line, with a warning where the same images calibrate and verify."""
        text = f"{len(self.windows)} images of {self.source}"
        if self.verified_on:
            text += f"; {self.verified_on} of them are also verified on: better name training images with --calibration-data DIR"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"source": self.source, "images": len(self.windows), "also_verified_on": self.verified_on}


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
        DatasetError: when there are no images, or one cannot be read.
    """
    if folder is None:
        few = verified.evenly(count)
        return CalibrationTiles(
            _windows([(e.name, partial(few.image, e)) for e in few.examples], card), "those verified on", len(few)
        )
    known = {verified.sha256(example) for example in verified.examples}
    if candidates is not None:
        few = candidates.evenly(count)
        again = sum(few.sha256(example) in known for example in few.examples)
        return CalibrationTiles(
            _windows([(e.name, partial(few.image, e)) for e in few.examples], card), str(folder), again
        )
    try:
        found = find_tiles([str(folder)])
    except UsageError as error:
        raise DatasetError(
            f"--calibration-data: {error}; name a folder with {NOUNS[card.task]}s of training"
        ) from error
    paths = [found[k * len(found) // min(count, len(found))].path for k in range(min(count, len(found)))]
    again = sum(sha256_of(path) in known for path in paths)
    return CalibrationTiles(
        _windows([(str(path), partial(decode_file, path)) for path in paths], card), str(folder), again
    )


def _windows(
    images: Sequence[tuple[str, Callable[[], NDArray[np.uint8]]]], card: ModelCard
) -> tuple[NDArray[np.uint8], ...]:
    windows = []
    for name, read in images:
        try:
            windows.append(fit_to_card(read(), card).windows[0])
        except (DatasetError, TileError) as error:
            text = f"{name}: {error}" if isinstance(error, TileError) else str(error)
            raise DatasetError(f"{text}; calibration needs {NOUNS[card.task]}s that can be read") from error
    return tuple(windows)


def int8_from_onnx(
    proto: onnx.ModelProto, windows: Iterable[NDArray[np.uint8]], method: str = "percentile"
) -> onnx.ModelProto:
    """Quantises a graph.

    Args:
        proto: in float32, input `image` uint8 (N, H, W, 3); left as it is.
        windows: calibration images uint8 (H, W, 3), RGB, of the graph's size; taken one at a time.
        method: a key of `METHODS`.

    Returns:
        A new graph with the same input and output.

    Raises:
        ExportError: when ONNX Runtime's quantizer fails.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its calibrators print
            ranges = _ranges(proto, windows, method)
        copied = onnx.ModelProto()
        copied.CopyFrom(proto)
        options = {
            "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["ConvTranspose", "Gemm", "MatMul"],
        }  # fmt: skip
        quantizer = QDQQuantizer(
            copied, True, False, QuantType.QInt8, QuantType.QInt8, ranges, [], [], list(LAYERS), options
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    except Exception as error:  # the quantizer's errors have no base of their own
        raise ExportError(f"ONNX Runtime cannot quantise the graph: {one_line(error)[:400]}") from error
    result: onnx.ModelProto = quantizer.model.model
    _free_the_logits(result.graph)
    _share_ranges(result.graph)
    _give_each_user_a_pair(result.graph)
    _drop_unused(result.graph)
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


def _free_the_logits(graph: onnx.GraphProto) -> None:
    """Takes away the pair behind a layer that no other layer follows: with 255 levels, logits would tie."""
    feeds_a_layer: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in LAYERS or feeds_a_layer & set(node.output):
            feeds_a_layer.update(node.input)
    makers = {name: node for node in graph.node for name in node.output}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear" and n.output[0] not in feeds_a_layer]:
        quantize = makers.get(node.input[0])
        if quantize is not None and quantize.op_type == "QuantizeLinear":
            for user in graph.node:
                user.input[:] = [quantize.input[0] if name == node.output[0] else name for name in user.input]
            graph.node.remove(node)
            graph.node.remove(quantize)


def _share_ranges(graph: onnx.GraphProto) -> None:
    """Where a layer's pair is followed by Relu and pooling alone up to the next pair, it takes that pair's scale.

    ONNX Runtime computes a convolution in int8 only where its very output is quantised, so there is a pair before Relu too.
    What is negative ends as 0 whatever cuts it, and the next pair finds values that are on its grid already: nothing is lost.
    """
    for first in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        users = _users(graph, first.output[0])
        if len(users) != 1 or users[0].op_type != "DequantizeLinear":
            continue
        after = _users(graph, users[0].output[0])
        scale = _next_scale(graph, users[0].output[0]) if [u.op_type for u in after] == ["Relu"] else None
        if scale:
            first.input[1:] = users[0].input[1:] = scale


def _give_each_user_a_pair(graph: onnx.GraphProto) -> None:
    """A pair that several nodes read becomes one for each, with scales that differ in the last bit.

    ONNX Runtime (1.31) leaves a convolution in float32 whose input's pair has other readers, and joins pairs that are alike.
    """
    scales = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in makers]:
        first = makers[node.input[0]]
        scale = numpy_helper.to_array(scales[first.input[1]])
        for number, user in enumerate(_users(graph, node.output[0])[1:], 1):
            scale = np.nextafter(scale, np.float32(np.inf), dtype=np.float32)
            names = {name: f"{name}_{number}" for name in (*first.output, *node.output, first.input[1])}
            graph.initializer.append(numpy_helper.from_array(np.asarray(scale), names[first.input[1]]))
            place = list(graph.node).index(node) + 1
            for offset, old in enumerate((first, node)):
                new = onnx.NodeProto()
                new.CopyFrom(old)
                new.name = f"{old.name}_{number}"
                new.input[:], new.output[:] = (
                    [names.get(name, name) for name in side] for side in (old.input, old.output)
                )
                graph.node.insert(place + offset, new)
            user.input[:] = [names.get(name, name) for name in user.input]


def _next_scale(graph: onnx.GraphProto, name: str) -> list[str] | None:
    """Scale and zero point of the next pair behind what keeps the range; None where there is none."""
    for user in _users(graph, name):
        if user.op_type == "QuantizeLinear":
            return list(user.input[1:])
        if user.op_type in _KEEPS_RANGE and (found := _next_scale(graph, user.output[0])):
            return found
    return None


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Takes away the scales that no node reads any more, about which ONNX Runtime would warn."""
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _users(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]
