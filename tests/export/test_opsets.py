"""Graphs brought to opset 17, which TensorRT 8.6 reads, give what they gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.export.onnx_from_checkpoint import onnx_from_model, opset_of  # noqa: E402
from dlcv.export.opsets import lower_opset  # noqa: E402
from dlcv.runtime.errors import ExportError  # noqa: E402


def _opset(proto: Any) -> int:
    return next(entry.version for entry in proto.opset_import if entry.domain == "")


@pytest.mark.parametrize(
    ("name", "task"), [("fcn8s", "segmentation"), ("deeplabv3-resnet101", "segmentation"), ("resnet18", "classification")]
)  # fmt: skip
def test_a_graph_for_tensorrt_8_has_opset_17_and_gives_the_same(
    name: str, task: str, tiny_card: Any, ort_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.train.models import resnet
    from dlcv.train.models.registry import create_model

    # Every kernel, stride and dilation of the deep one's; that one is exported in tests/contracts/test_exports.py.
    monkeypatch.setitem(resnet.BLOCKS, 101, (1, 1, 2, 2))
    torch.manual_seed(0)
    model = create_model(name, 3, 0.0625).eval()
    changed = (
        {"palette": (), "short_side": 64, "fit": "centre-crop"}
        if task == "classification"
        else {"palette": ((0, 0, 0),) * 3}
    )
    card = tiny_card.changed(model=name, task=task, classes=("a", "b", "c"), uncounted=(), head="logits", **changed)
    usual, older = onnx_from_model(model, card), onnx_from_model(model, card, newest_opset=17)
    assert (_opset(usual), _opset(older)) == (18, 17)
    onnx.checker.check_model(older, full_check=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert np.array_equal(ort_run(usual, images), ort_run(older, images))  # the same operators in the same order


def test_an_operator_that_means_something_else_is_named() -> None:
    h, types = onnx.helper, onnx.TensorProto
    nodes = [
        h.make_node("ReduceMean", ["x", "axes"], ["y"], name="of computed axes"),
        h.make_node("Mish", ["y"], ["z"], name="new in 18"),
    ]
    ports = [h.make_tensor_value_info(name, kind, [2]) for name, kind in (("x", types.FLOAT), ("axes", types.INT64), ("z", types.FLOAT))]  # fmt: skip
    proto = h.make_model(h.make_graph(nodes, "g", ports[:2], ports[2:]), opset_imports=[h.make_opsetid("", 18)])
    with pytest.raises(ExportError) as caught:
        lower_opset(proto, 17)
    assert str(caught.value) == (
        "the graph cannot be brought from opset 18 to 17: ReduceMean of computed axes, Mish new in 18; build the plan with a newer TensorRT"
    )
    lower_opset(proto, 18)
    assert _opset(proto) == 18


def test_the_opset_follows_precision_and_reader(tiny_card: Any) -> None:
    assert [opset_of(tiny_card, newest) for newest in (None, 25, 18, 17)] == [18, 18, 18, 17]
    low = tiny_card.changed(precision="bf16")
    assert opset_of(low, 25) == 22
    with pytest.raises(
        ExportError, match=r"^bf16 needs opset 22, and the builder reads up to 20; export with --precision fp16"
    ):
        opset_of(low, 20)
