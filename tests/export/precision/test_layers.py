"""Multiply-adds of layers whose shapes cannot be inferred: they are those of a run."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.precision import layers
from dlcv.export.precision.layers import layers_of
from dlcv.runtime.card.card import ModelCard, SizeRange
from dlcv.runtime.errors import ExportError

CARD = ModelCard(
    model="attention", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), input_size_hw=(16, 24),
    mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="logits",
    size_range=SizeRange((16, 16), (64, 64), 8),
)  # fmt: skip


class Attention(nn.Module):
    """Each of the h x w places looks at all others, by two matrix products whose sides are h x w."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 8, 8, stride=8), nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        found = self.before(image)
        count, channels, height, width = found.shape
        places = found.reshape(count, channels, height * width)
        weights = torch.softmax(places.transpose(1, 2) @ places, -1)
        joined = (places @ weights.transpose(1, 2)).reshape(count, channels, height, width)
        return nn.functional.interpolate(self.after(joined), scale_factor=8.0)


def test_attention_at_sizes_that_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx_from_model(Attention().eval(), CARD)
    places = 2 * 3
    expected = {"Conv": [8 * places * 3 * 64, 2 * places * 8], "MatMul": [places * places * 8, 8 * places * places]}
    for operator, each in expected.items():
        assert [layer.multiply_adds for layer in layers_of(proto) if layer.operator == operator] == each
    unknown = onnx.ModelProto()
    unknown.CopyFrom(proto)
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda single, **_: single)  # which finds nothing
    assert [layer.multiply_adds for layer in layers_of(unknown)] == [layer.multiply_adds for layer in layers_of(proto)]
    asked: list[int] = []
    monkeypatch.setattr(layers, "_seen_shapes", lambda single, names: asked.append(len(names)) or {})
    with pytest.raises(ExportError, match="cannot be counted: its shapes are not known"):
        layers_of(unknown)
    assert asked and asked[0] > 4


def test_what_does_not_run_here_is_not_known() -> None:
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "g",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["N", 3, "H", 8]), helper.make_tensor_value_info("w", TensorProto.BFLOAT16, [4, 3, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["N", 4, "H", 6])],
    )  # fmt: skip
    with pytest.raises(ExportError, match="cannot be counted: its shapes are not known"):
        layers_of(helper.make_model(graph))
