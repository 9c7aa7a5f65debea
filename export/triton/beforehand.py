"""What Triton would refuse, found before an export begins: the model's card and name are known then, its repository too.

What is wrong with the export itself, such as a checkpoint that is missing, the export says; here it is passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.export.builders.find import find_builder
from dlcv.export.builders.options import BuildOptions
from dlcv.export.triton import check_name, check_triton
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import DlcvError

if TYPE_CHECKING:
    from dlcv.export.settings import ExportSettings


def check_rebuild(repository: Path, graph: Path, build: BuildOptions) -> None:
    """Of `dlcv-export --onnx --triton`, which names the model after the graph's file.

    Raises:
        ExportError: as `triton_model`.
    """
    check_name(graph.stem, graph)
    try:
        card = read_card(graph)
    except DlcvError:
        return
    if card.head != "none":
        kind = _kind("plan", build)
        check_triton(repository, card, kind, name=graph.stem, max_batch=build.max_batch, graph=graph)


def check_export(repository: Path, settings: ExportSettings) -> None:
    """Of `dlcv-export --model --triton`, which names the model after the architecture.

    Raises:
        ExportError: as `triton_model`.
        UsageError: for sizes that vary and are out of order.
    """
    from dlcv.export.graph import DEFAULT_HEAD
    from dlcv.export.sizes import range_for

    try:
        card = read_card(settings.checkpoints[0])
    except DlcvError:
        return
    if card.model != settings.model:
        return
    size_hw = settings.size_hw or card.input_size_hw
    card = card.changed(
        head=settings.head or DEFAULT_HEAD[card.task],
        input_size_hw=size_hw,
        size_range=range_for(settings.model, card.task, size_hw, settings.dynamic_size),
    )
    kind = _kind(settings.format, settings.build)
    check_triton(repository, card, kind, name=settings.model, max_batch=settings.build.max_batch)


def _kind(format_asked: str, build: BuildOptions) -> str:
    """Of the engine that Triton will be given; see `triton.servable`."""
    if format_asked == "onnx":
        return "onnx"
    try:
        return "plan" if find_builder(build.builder).kind == "tensorrt" else "onnx"
    except DlcvError:
        return "onnx"
