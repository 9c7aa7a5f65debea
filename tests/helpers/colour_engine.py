"""A classifier small enough to check by eye: it looks at an image's mean colour.

The mean red, green and blue are divided by their sum; the logits are 8 times these, and a constant 4 for grey. So a red image
is `red`, one whose three means are alike is `grey`, and a black one, 0 / 0, gives probabilities that are no numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard

SIDE = 32
COLOURS = {"red": (200, 30, 40), "green": (20, 180, 30), "blue": (10, 30, 160), "grey": (90, 90, 90)}
CARD = ModelCard(
    model="mean-colour", task="classification", classes=tuple(COLOURS), palette=(), input_size_hw=(SIDE, SIDE),
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), fit="centre-crop", short_side=SIDE, head="probs",
)  # fmt: skip
WEIGHT = np.array([[8, 0, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0]], np.float32)
BIAS = np.array([0, 0, 0, 4], np.float32)


def write_colour_engine(path: Path, card: ModelCard = CARD, returned: int = len(COLOURS)) -> Path:
    """Writes the graph: image uint8 (N, 32, 32, 3) -> the card's head, float32 (N, `returned`). Needs onnx."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    last = [helper.make_node("Softmax", ["logits"], ["probs"], axis=1)] if card.head == "probs" else []
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("ReduceSum", ["mean", "axis"], ["sum"], keepdims=1),
        helper.make_node("Div", ["mean", "sum"], ["share"]),
        helper.make_node("Gemm", ["share", "weight", "bias"], ["logits"]),
        *last,
    ]
    values = {"weight": WEIGHT[:, :returned], "bias": BIAS[:returned], "axis": np.array([1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "dlcv",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(card.head, TensorProto.FLOAT, ["N", returned])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(proto, {"dlcv": card.to_json()})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def expected_probs(image_rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the graph must say about uint8 (H, W, 3), in float64 from the definition: float32 (4,)."""
    mean = image_rgb.reshape(-1, 3).mean(0)
    powers = np.exp(mean / mean.sum() @ WEIGHT.astype(np.float64) + BIAS)
    return np.asarray(powers / powers.sum(), np.float32)


def colour_tile(name: str, seed: int = 0, size_hw: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint8]:
    """uint8 (H, W, 3), RGB: a colour of `COLOURS` with noise of up to 9 levels."""
    noise = np.random.default_rng(seed).integers(0, 10, (*size_hw, 3))
    return (np.array(COLOURS[name]) + noise).astype(np.uint8)
