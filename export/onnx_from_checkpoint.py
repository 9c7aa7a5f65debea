"""Checkpoint -> ONNX: torch's exporter, the card in the metadata, and the contract checked node by node."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from dlcv.export.graph import ExportGraph
from dlcv.export.opsets import lower_opset
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import ONNX_KEY
from dlcv.runtime.errors import ExportError
from dlcv.runtime.version import __version__

OPSET = 18
"""Read by TensorRT 9 and later, and by ONNX Runtime 1.14 and later; for TensorRT 8.6 graphs are brought to 17."""
OPSETS = {"bf16": 22, "int8 with fp16": 19}
"""Where it is another: the first whose convolutions know bfloat16, whose quantisation knows float16."""


def onnx_from_model(model: nn.Module, card: ModelCard, *, newest_opset: int | None = None) -> onnx.ModelProto:
    """Exports a model as a whole graph with its card.

    Args:
        model: in evaluation mode, on the CPU.
        card: `head`, `input_size_hw`, `size_range`, mean and std decide what the graph holds; it is embedded as it is.
        newest_opset: that whoever reads the graph knows; None for the usual one of the card's precision.

    Returns:
        The graph: input `image` uint8 (N, H, W, 3) with N dynamic, and H and W where the card has a range; one output, named as
        the head.

    Raises:
        ExportError: when torch's exporter fails, when the network works at one size alone and another was asked for, or when
            what is given breaks the contract.
    """
    opset = opset_of(card, newest_opset)
    height, width = _example_size(card)
    graph = ExportGraph(model, card.mean_rgb, card.std_rgb, card.head).eval()
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                graph, (example,), dynamo=True, opset_version=max(opset, OPSET), input_names=["image"], output_names=[card.head],
                dynamic_shapes=(_dynamic(card),), verbose=False,
            )  # fmt: skip
        except Exception as error:  # the exporter's errors have no base of their own
            sizes = "" if card.size_range is None else f" at sizes of {card.size_range}; leave out --dynamic-size, or"
            raise ExportError(
                f"torch {torch.__version__} cannot export {card.model}{sizes}: {_reason(error)}"
            ) from error
    assert program is not None
    proto = program.model_proto
    lower_opset(proto, opset)
    return with_card(proto, card, newest_opset=newest_opset)


def _dynamic(card: ModelCard) -> dict[int, Any]:
    """For torch's exporter: which sides of `image` vary, from where to where."""
    sides: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=4096)}
    sizes = card.size_range
    if sizes is None:
        return sides
    step = sizes.multiple_of
    for axis, (name, low, high) in enumerate(zip(("height", "width"), sizes.min_hw, sizes.max_hw), 1):
        if low != high:
            side = torch.export.Dim(name, min=low // step, max=high // step)
            sides[axis] = step * side if step > 1 else side
    return sides


def _example_size(card: ModelCard) -> tuple[int, int]:
    """What the exporter runs: the card's size, but where it varies at least two steps, since torch takes 1 for a constant."""
    height, width = card.input_size_hw
    sizes = card.size_range
    if sizes is None:
        return height, width
    least = 2 * sizes.multiple_of
    return min(max(height, least), sizes.max_hw[0]), min(max(width, least), sizes.max_hw[1])


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: around it torch wraps advice on reporting bugs, in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def with_card(proto: onnx.ModelProto, card: ModelCard, *, newest_opset: int | None = None) -> onnx.ModelProto:
    """The graph with this card alone in its metadata, held to the contract; changes `proto`.

    Raises:
        ExportError: as `check_contract`.
    """
    _clean(proto)
    helper.set_model_props(proto, {ONNX_KEY: card.to_json()})
    check_contract(proto, card, newest_opset=newest_opset)
    return proto


def opset_of(card: ModelCard, newest: int | None = None) -> int:
    """The opset of a graph in the card's precision, for a reader of opsets up to `newest`.

    Raises:
        ExportError: when the precision needs a newer one.
    """
    precision = card.precision if card.rest == "fp32" else f"{card.precision} with {card.rest}"
    if newest is None or newest >= OPSETS.get(precision, OPSET):
        return OPSETS.get(precision, OPSET)
    if precision in OPSETS:
        raise ExportError(
            f"{precision} needs opset {OPSETS[precision]}, and the builder reads up to {newest}; "
            "export with --precision fp16, or build with a newer TensorRT"
        )
    return newest


def check_contract(proto: onnx.ModelProto, card: ModelCard, *, newest_opset: int | None = None) -> None:
    """Holds a graph to the contract of `export/graph.py`.

    Raises:
        ExportError: names everything that is broken.
    """
    problems = [
        *_opset_problems(proto, opset_of(card, newest_opset)),
        *_input_problems(proto, card),
        *_head_problems(proto, card),
        *_card_problems(proto, card),
    ]
    if problems:
        sizes = (
            "" if card.size_range is None else f"; if {card.model} works at one size alone, leave out --dynamic-size"
        )
        raise ExportError("the exported graph breaks its contract: " + "; ".join(problems) + sizes)


def logits_name(proto: onnx.ModelProto, card: ModelCard) -> str:
    """The name of the tensor that holds the logits, float (N, C, H, W) or (N, C), whatever the head is.

    Raises:
        ExportError: when the head is not the one that the card names.
    """
    if card.head == "logits":
        return card.head
    wanted = {"mask": "ArgMax", "probs": "Softmax"}[card.head]
    for node in reversed(proto.graph.node):
        if node.op_type == wanted:
            return str(node.input[0])
    raise ExportError(f"the graph has no {wanted}, which the head {card.head} ends in")


def _opset_problems(proto: onnx.ModelProto, asked: int) -> Iterator[str]:
    found = {entry.domain: entry.version for entry in proto.opset_import}
    if found.get("") != asked:  # torch's exporter may return another than asked
        yield f"opset {found.get('')}, asked for {asked}"


def _input_problems(proto: onnx.ModelProto, card: ModelCard) -> Iterator[str]:
    inputs = [(value.name, value.type.tensor_type.elem_type) for value in proto.graph.input]
    if inputs != [("image", TensorProto.UINT8)]:
        named = ", ".join(f"{name} {TensorProto.DataType.Name(kind).lower()}" for name, kind in inputs)
        yield f"inputs [{named}], expected one, image uint8"
        return
    yield from _shape_problems("input", proto.graph.input[0], [*_sides(card), 3])
    # How many images there are, and their size where it varies, may be asked of the image itself.
    users = [node for node in proto.graph.node if "image" in node.input and node.op_type != "Shape"]
    if [node.op_type for node in users] != ["Cast"] or _cast_to(users[0]) != TensorProto.FLOAT:
        yield "image must be cast to float32 first"


def _head_problems(proto: onnx.ModelProto, card: ModelCard) -> Iterator[str]:
    if [output.name for output in proto.graph.output] != [card.head]:
        yield f"outputs [{', '.join(output.name for output in proto.graph.output)}], expected [{card.head}]"
        return
    output = proto.graph.output[0]
    kind = TensorProto.UINT8 if card.head == "mask" else TensorProto.FLOAT
    if output.type.tensor_type.elem_type != kind:
        found = TensorProto.DataType.Name(output.type.tensor_type.elem_type)
        yield f"{card.head} is {found.lower()}, expected {TensorProto.DataType.Name(kind).lower()}"
    classes = [] if card.head == "mask" else [len(card.classes)]
    yield from _shape_problems("output", output, [*classes, *(_sides(card) if card.task == "segmentation" else ())])
    if card.head == "mask":
        yield from _tail_problems(proto)


def _tail_problems(proto: onnx.ModelProto) -> Iterator[str]:
    makers = {name: node for node in proto.graph.node for name in node.output}
    tail: list[str] = []
    name = "mask"
    while name in makers and len(tail) < 3:
        node = makers[name]
        tail.append(f"Cast to {TensorProto.DataType.Name(_cast_to(node))}" if node.op_type == "Cast" else node.op_type)
        name = node.input[0] if node.input else ""
    if tail != ["Cast to UINT8", "Cast to FLOAT", "ArgMax"]:
        yield f"the mask's tail is {' <- '.join(tail)}, expected Cast to UINT8 <- Cast to FLOAT <- ArgMax (TensorRT casts to uint8 from float only)"


def _sides(card: ModelCard) -> list[int | str]:
    """Height and width: a number, or `H` and `W` where they vary."""
    sizes = card.size_range
    if sizes is None:
        return [*card.input_size_hw]
    return [low if low == high else name for name, low, high in zip("HW", sizes.min_hw, sizes.max_hw)]


def _shape_problems(what: str, value: onnx.ValueInfoProto, sides: list[int | str]) -> Iterator[str]:
    shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
    wanted = ["N", *sides]
    fits = len(shape) == len(wanted) and all(
        isinstance(found, str) if isinstance(side, str) else found == side for found, side in zip(shape, wanted)
    )
    if not fits:
        found, expected = (f"[{', '.join(map(str, dims))}]" for dims in (shape, wanted))
        dynamic = " and ".join(side for side in wanted if isinstance(side, str))
        yield f"{what} shape {found}, expected {expected} with {dynamic} dynamic"


def _card_problems(proto: onnx.ModelProto, card: ModelCard) -> Iterator[str]:
    if [(entry.key, entry.value) for entry in proto.metadata_props] != [(ONNX_KEY, card.to_json())]:
        yield "its metadata is not the model card alone"


def _cast_to(node: onnx.NodeProto) -> int:
    to: int = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
    return to


def _clean(proto: onnx.ModelProto) -> None:
    """Takes out the exporter's notes on every node and value: they hold source paths of the machine that exported."""
    proto.doc_string, proto.graph.doc_string = "", ""
    proto.producer_name, proto.producer_version = "dlcv", __version__
    proto.graph.name = "dlcv"
    for thing in (
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.value_info,
        *proto.graph.initializer,
    ):
        thing.doc_string = ""
        del thing.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch's exporter logs that torchvision is absent, and warns about its own deprecated calls: nothing a user can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
