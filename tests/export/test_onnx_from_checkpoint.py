"""The contract of an exported graph, and that each broken point of it is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.export.onnx_from_checkpoint import OPSET, check_contract, logits_name, onnx_from_model
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import ExportError
from dlcv.runtime.sessions import open_session
from dlcv.train.checkpoints.session import TorchSession

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")

GraphOf = Callable[[str], onnx.ModelProto]
CardOf = Callable[[str], ModelCard]
TYPES = onnx.TensorProto
OUTPUTS = {
    "mask": (TYPES.UINT8, ["batch", 64, 64]),
    "probs": (TYPES.FLOAT, ["batch", 7, 64, 64]),
    "logits": (TYPES.FLOAT, ["batch", 7, 64, 64]),
}
LOGITS_RTOL = 1e-4
"""Of the largest logit: float32 sums in another order; 1e-6 is what was seen on this model."""


@pytest.mark.parametrize("head", OUTPUTS)
def test_inputs_and_outputs_are_those_of_the_contract(head: str, graph_of: GraphOf) -> None:
    proto = graph_of(head)
    kind, shape = OUTPUTS[head]
    assert [_facts(value) for value in proto.graph.input] == [("image", TYPES.UINT8, ["batch", 64, 64, 3])]
    assert [_facts(value) for value in proto.graph.output] == [(head, kind, shape)]
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", OPSET)]
    first = proto.graph.node[0]
    assert (first.op_type, list(first.input), onnx.helper.get_node_attr_value(first, "to")) == (
        "Cast",
        ["image"],
        TYPES.FLOAT,
    )
    onnx.checker.check_model(proto, full_check=True)


def test_the_masks_tail_is_argmax_and_two_casts(graph_of: GraphOf) -> None:
    argmax, to_float, to_uint8 = graph_of("mask").graph.node[-3:]
    assert [node.op_type for node in (argmax, to_float, to_uint8)] == ["ArgMax", "Cast", "Cast"]
    assert [onnx.helper.get_node_attr_value(node, "to") for node in (to_float, to_uint8)] == [TYPES.FLOAT, TYPES.UINT8]
    assert (to_float.input[0], to_uint8.input[0]) == (argmax.output[0], to_float.output[0])
    assert list(to_uint8.output) == ["mask"]


@pytest.mark.parametrize("head", OUTPUTS)
def test_the_card_in_the_file_is_the_one_asked_for(head: str, tiny_graph: Callable[[str], Path], tiny_card: ModelCard, tiny_checkpoint: Path) -> None:  # fmt: skip
    from dlcv.runtime.files import sha256_of

    card = read_card(tiny_graph(head))
    assert card == tiny_card.changed(head=head, checkpoint_sha256=sha256_of(tiny_checkpoint))
    assert {entry.key for entry in onnx.load(tiny_graph(head)).metadata_props} == {"dlcv"}


@pytest.mark.parametrize("head", OUTPUTS)
def test_every_head_gives_what_torch_gives(head: str, tiny_graph: Callable[[str], Path], torch_session: TorchSession, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    batch = np.stack(tiny_scenes)
    expected = torch_session.run(batch)
    with open_session(tiny_graph(head), device="cpu") as session:
        found = session.run(batch)[head]
    scale = float(np.abs(expected["logits"]).max())
    assert scale > 1
    assert len(np.unique(expected["mask"])) >= 4
    if head == "mask":
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[_clear(expected["logits"])], expected["mask"][_clear(expected["logits"])])
        assert np.mean(found == expected["mask"]) >= 0.9999
    elif head == "logits":
        np.testing.assert_allclose(found, expected["logits"], rtol=0, atol=LOGITS_RTOL * scale)
    else:
        np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-6)  # seven float32 terms, each to 6e-8
        # the softmax changes by at most half of what its arguments change by
        np.testing.assert_allclose(found, _softmax(expected["logits"]), rtol=0, atol=LOGITS_RTOL * scale)
        assert found.min() >= 0
        assert found.max() > 0.5


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_gives_what_single_runs_give(batch: int, tiny_graph: Callable[[str], Path], tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    with open_session(tiny_graph("logits"), device="cpu") as session:
        together = session.run(np.stack(tiny_scenes[:batch]))["logits"]
        single = np.concatenate([session.run(image[None])["logits"] for image in tiny_scenes[:batch]])
    assert together.shape == (batch, 7, 64, 64)
    assert all(np.abs(single[i] - single[j]).max() > 0.1 for i in range(batch) for j in range(i))
    # a library may split a batch's sums otherwise than a single image's
    np.testing.assert_allclose(together, single, rtol=0, atol=LOGITS_RTOL * float(np.abs(single).max()))


@pytest.mark.parametrize("head", OUTPUTS)
def test_the_file_holds_no_path_of_this_machine(head: str, tiny_graph: Callable[[str], Path]) -> None:
    data = tiny_graph(head).read_bytes()
    repository, packages = Path(__file__).parents[2], Path(onnx.__file__).parents[1]
    for text in (str(repository), str(packages), "site-packages", str(Path.home()), sys.prefix, ".py", "torch/nn"):
        assert text.encode() not in data, f"{text} stands in the graph"


@pytest.mark.parametrize(("head", "op"), [("mask", "ArgMax"), ("probs", "Softmax"), ("logits", "")])
def test_the_logits_are_found_under_every_head(head: str, op: str, graph_of: GraphOf, card_of: CardOf) -> None:
    proto, card = graph_of(head), card_of(head)
    name = logits_name(proto, card)
    maker = next(node for node in proto.graph.node if name in node.output)
    assert maker.op_type == "ConvTranspose"
    if op:
        with pytest.raises(ExportError, match=f"the graph has no {op}, which the head {head} ends in"):
            logits_name(graph_of("logits"), card)


class Viewing(nn.Module):
    """Fails in the middle of torch's exporter, which wraps the reason in advice and colours."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, 7, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.sum() > 0:  # which no graph can know
            return self.score(image)  # type: ignore[no-any-return]
        return -self.score(image)  # type: ignore[no-any-return]


def test_the_first_reason_is_told_and_not_what_is_around_it(tiny_card: ModelCard) -> None:
    with pytest.raises(ExportError, match=r"cannot export fcn8s: Could not guard on data-dependent expression") as raised:  # fmt: skip
        onnx_from_model(Viewing().eval(), tiny_card)
    assert "\x1b" not in str(raised.value) and "step" not in str(raised.value)


class Asking(nn.Module):
    """Takes a row of its own for each image, as a vision transformer does with its class token: it asks how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.score = nn.Parameter(torch.ones(1, 7, 1, 1)), nn.Conv2d(3, 7, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([self.token.expand(image.shape[0], -1, 1, image.shape[3]), self.score(image)], 2)
        return rows[:, :, 1:]


def test_a_network_may_ask_how_many_images_there_are(tiny_card: ModelCard, tmp_path: Path) -> None:
    proto = onnx_from_model(Asking().eval(), tiny_card.changed(head="mask"))
    assert "Shape" in {node.op_type for node in proto.graph.node if "image" in node.input}
    (tmp_path / "asking.onnx").write_bytes(proto.SerializeToString())
    with open_session(tmp_path / "asking.onnx", device="cpu") as session:
        for count in (1, 3):
            assert len(session.run(np.zeros((count, 64, 64, 3), np.uint8))["mask"]) == count


def test_a_model_that_torch_cannot_export_is_told_in_one_line(tiny_card: ModelCard) -> None:
    class Refuses(nn.Module):
        def forward(self, x: object) -> object:
            raise NotImplementedError("no such layer\nand more")

    with pytest.raises(ExportError, match=r"^torch \S+ cannot export fcn8s: no such layer$"):
        onnx_from_model(Refuses(), tiny_card.changed(head="mask"))


def _opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 17


def _input_name(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].name = "x"


def _input_type(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TYPES.FLOAT


def _no_input(proto: onnx.ModelProto) -> None:
    del proto.graph.input[:]


def _second_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(onnx.helper.make_tensor_value_info("size", TYPES.INT64, [2]))


def _fixed_batch(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def _other_size(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 96


def _transpose_first(proto: onnx.ModelProto) -> None:
    cast, transpose = proto.graph.node[:2]
    assert (cast.op_type, transpose.op_type) == ("Cast", "Transpose")
    cast.input[0], transpose.input[0] = transpose.output[0], "image"


def _half_first(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute[0].i = TYPES.FLOAT16


def _output_name(proto: onnx.ModelProto) -> None:
    proto.graph.node[-1].output[0] = proto.graph.output[0].name = "classes"


def _output_type(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.elem_type = TYPES.INT64


def _output_batch(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2


def _direct_cast(proto: onnx.ModelProto) -> None:
    proto.graph.node[-1].input[0] = proto.graph.node[-3].output[0]
    del proto.graph.node[-2]


def _int_between(proto: onnx.ModelProto) -> None:
    proto.graph.node[-2].attribute[0].i = TYPES.INT32


def _constant_mask(proto: onnx.ModelProto) -> None:
    value = onnx.numpy_helper.from_array(np.zeros((1, 64, 64), np.uint8))
    proto.graph.node[-1].CopyFrom(onnx.helper.make_node("Constant", [], ["mask"], value=value))


def _no_card(proto: onnx.ModelProto) -> None:
    del proto.metadata_props[:]


def _other_card(proto: onnx.ModelProto) -> None:
    proto.metadata_props[0].value = proto.metadata_props[0].value.replace("fcn8s", "fcn32s")


BROKEN = [
    (_opset, "opset 17, asked for 18"),
    (_input_name, "inputs [x uint8], expected one, image uint8"),
    (_input_type, "inputs [image float], expected one, image uint8"),
    (_no_input, "inputs [], expected one, image uint8"),
    (_second_input, "inputs [image uint8, size int64], expected one, image uint8"),
    (_fixed_batch, "input shape [2, 64, 64, 3], expected [N, 64, 64, 3] with N dynamic"),
    (_other_size, "input shape [batch, 64, 96, 3], expected [N, 64, 64, 3] with N dynamic"),
    (_transpose_first, "image must be cast to float32 first"),
    (_half_first, "image must be cast to float32 first"),
    (_output_name, "outputs [classes], expected [mask]"),
    (_output_type, "mask is int64, expected uint8"),
    (_output_batch, "output shape [2, 64, 64], expected [N, 64, 64] with N dynamic"),
    (_direct_cast, "the mask's tail is Cast to UINT8 <- ArgMax <- "),
    (
        _int_between,
        "the mask's tail is Cast to UINT8 <- Cast to INT32 <- ArgMax, expected Cast to UINT8 <- Cast to FLOAT",
    ),
    (_constant_mask, "the mask's tail is Constant, expected"),
    (_no_card, "its metadata is not the model card alone"),
    (_other_card, "its metadata is not the model card alone"),
]


@pytest.mark.parametrize(("change", "sentence"), BROKEN, ids=[change.__name__[1:] for change, _ in BROKEN])
def test_each_broken_point_is_named(
    change: Callable[[onnx.ModelProto], None], sentence: str, graph_of: GraphOf, card_of: CardOf
) -> None:
    proto, card = graph_of("mask"), card_of("mask")
    check_contract(proto, card)
    change(proto)
    with pytest.raises(ExportError) as caught:
        check_contract(proto, card)
    text = str(caught.value)
    assert text.startswith("the exported graph breaks its contract: ")
    assert "\n" not in text
    assert sentence in text
    assert ";" not in text, "this point and no other"


def test_all_broken_points_are_named_together(graph_of: GraphOf, card_of: CardOf) -> None:
    proto, card = graph_of("mask"), card_of("mask")
    changes = (_opset, _fixed_batch, _half_first, _output_type, _direct_cast, _no_card)
    for change in changes:
        change(proto)
    with pytest.raises(ExportError) as caught:
        check_contract(proto, card)
    assert all(sentence in str(caught.value) for change, sentence in BROKEN if change in changes)
    assert len(str(caught.value).split("; ")) == len(changes)


def _facts(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]


def _clear(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the best class leads by more than rounding."""
    ordered = np.sort(logits, 1)
    clear: NDArray[np.bool_] = ordered[:, -1] - ordered[:, -2] > 1e-3
    return clear


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    result: NDArray[np.float64] = raised / raised.sum(1, keepdims=True)
    return result
