"""Triton's `config.pbtxt` of an engine: what the model dictates, its card, and below a line what an operator may tune."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import ExportError, one_line
from dlcv.runtime.graphs.onnx_graph import read_onnx_graph
from dlcv.runtime.graphs.port import Port
from dlcv.runtime.inspection.facts import ports_of_card

CONFIG, LABELS = "config.pbtxt", "labels.txt"
MODEL_FILES = {"onnx": "model.onnx", "plan": "model.plan"}
PLATFORMS = {"onnx": "onnxruntime_onnx", "plan": "tensorrt_plan"}
TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}
QUEUE_DELAY_US = 500
"""How long a request waits for others to share its batch, in microseconds: little beside a batch of these models."""
_HEAD = "# Written by dlcv-export: what the model dictates. A new version must have the same.\n"
_CARD = "# The model card of the newest version.\n"
_TUNING = "# Yours to tune from here on: further versions keep it.\n"


@dataclass(frozen=True)
class Config:
    """A `config.pbtxt` in its parts.

    Attributes:
        dictated: name, platform, largest batch, inputs and outputs.
        card: the model card as a parameter, and the version that it is of.
        tuning: batching, instances, warm-up.
    """

    dictated: str
    card: str
    tuning: str

    def of_version(self, version: int) -> Config:
        """With the number of the version whose card it holds: after a kill it may be one that is not there yet."""
        told = f'parameters {{ key: "dlcv_version" value {{ string_value: "{version}" }} }}\n'
        return replace(self, card=self.card + told)

    def text(self) -> str:
        """The whole file."""
        return _HEAD + self.dictated + _CARD + self.card + _TUNING + self.tuning


def config_of(engine: Path | None, kind: str, card: ModelCard, *, name: str, max_batch: int) -> Config:
    """The configuration of an engine.

    Args:
        engine: the file; a graph's inputs and outputs are read from it, a plan's from the card, as those of one that is None: not made yet.
        kind: `onnx` or `plan`.
        card: the engine's.
        name: of the model in the repository.
        max_batch: the largest batch.

    Raises:
        ExportError: when a size beside the batch is neither fixed nor one that the card lets vary, or a type is none that
            Triton gets from dlcv.
    """
    inputs, outputs = _ports(engine, kind, card)
    labelled = card.task == "classification"
    dictated = [
        f"name: {_quoted(name)}",
        f"platform: {_quoted(PLATFORMS[kind])}",
        f"max_batch_size: {max_batch}",
        *(f"input {{ {_port(engine, port, card)} }}" for port in inputs),
        *(
            f"output {{ {_port(engine, port, card)}{f' label_filename: {_quoted(LABELS)}' if labelled else ''} }}"
            for port in outputs
        ),
    ]
    parameter = f'parameters {{ key: "dlcv" value {{ string_value: {_quoted(card.to_json())} }} }}'
    return Config(_lines(dictated), parameter + "\n", _lines(_tuning(kind, inputs, card, max_batch)))


def read_config(path: Path) -> Config:
    """The parts of a configuration that dlcv wrote.

    Raises:
        ExportError: when there is none, or it is not dlcv's.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        text = ""
    head, card, after = text.partition(_CARD)
    parameter, tuned, tuning = after.partition(_TUNING)
    if not head.startswith(_HEAD) or not card or not tuned:
        raise ExportError(
            f"{path} was not written by dlcv-export, or its comment lines are gone, so it is left alone; "
            f"choose another folder with --triton, or remove {path.parent}"
        )
    return Config(head.removeprefix(_HEAD), parameter, tuning)


def _ports(engine: Path | None, kind: str, card: ModelCard) -> tuple[list[Port], list[Port]]:
    if kind == "onnx" and engine is not None:
        graph = read_onnx_graph(engine)
        return graph.inputs, graph.outputs
    image, answer = ports_of_card(card)
    return [image], [answer]


def _port(engine: Path | None, port: Port, card: ModelCard) -> str:
    sizes = [-1 if isinstance(size, str) and card.size_range is not None else size for size in port.shape[1:]]
    known = bool(sizes) and all(isinstance(size, int) and (size > 0 or size == -1) for size in sizes)
    if not known or isinstance(port.shape[0], int) or port.dtype not in TYPES:
        raise ExportError(
            f"{engine}: expected {', '.join(TYPES)} with a free batch and fixed other sizes, got {one_line(port)}; "
            "export the model with: dlcv-export"
        )
    return f"name: {_quoted(port.name)} data_type: {TYPES[port.dtype]} dims: {sizes}"


def _tuning(kind: str, inputs: list[Port], card: ModelCard, max_batch: int) -> list[str]:
    preferred = [size for size in (4, 8, 16, 32, 64, 128, 256, 512, 1024) if size < max_batch]
    batching = f"preferred_batch_size: {[*preferred, max_batch]} max_queue_delay_microseconds: {QUEUE_DELAY_US}"
    lines = []
    if max_batch > 1:
        lines.append(f"dynamic_batching {{ {batching} }}")
    # Two instances of a plan overlap copying with computing; ONNX Runtime shares the device by itself.
    lines.append("instance_group { kind: KIND_GPU count: 2 }" if kind == "plan" else "instance_group { kind: KIND_AUTO count: 1 }")  # fmt: skip
    if kind == "onnx":  # float32 is float32, as in dlcv's own session
        lines.append('optimization { execution_accelerators { gpu_execution_accelerator { name: "cuda" parameters { key: "use_tf32" value: "0" } } } }')  # fmt: skip
    image_dims = [*card.input_size_hw, 3]  # where the sizes vary, the one that a plan is tuned for
    for size in sorted({1, max_batch}):
        sample = " ".join(
            f"inputs {{ key: {_quoted(port.name)} value {{ data_type: {TYPES[port.dtype]} dims: {image_dims} random_data: true }} }}"
            for port in inputs
        )
        lines.append(f'model_warmup {{ name: "batch of {size}" batch_size: {size} {sample} }}')
    return lines


def _lines(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def _quoted(text: str) -> str:
    """A string of protobuf's text format; what is not printable ASCII is an octal escape of its UTF-8 bytes."""
    special = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(special.get(c) or (c if " " <= c <= "~" else "".join(f"\\{b:03o}" for b in c.encode())) for c in text) + '"'  # fmt: skip
