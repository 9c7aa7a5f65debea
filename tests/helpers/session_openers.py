"""Every session, opened on one world: what the contract of sessions is held by. A new session joins with one line in `OPENERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.sessions import Session, open_session

Images = NDArray[np.uint8]


class World:
    """What the openers need for a task: a model, its card, its graphs, images that it tells apart, and a folder."""

    def __init__(
        self,
        card: ModelCard,
        graph: Callable[[str], Path],
        model: Callable[[], Any],
        scenes: list[Images],
        folder: Path,
    ) -> None:
        self.card, self.graph, self.model, self.scenes, self.folder = card, graph, model, scenes, folder


def _segmentation(request: pytest.FixtureRequest, folder: Path) -> World:
    card, graph, scenes = (request.getfixturevalue(name) for name in ("tiny_card", "tiny_graph", "tiny_scenes"))
    return World(card, graph, lambda: request.getfixturevalue("tiny_model"), scenes, folder)


def _classification(request: pytest.FixtureRequest, folder: Path) -> World:
    import colour_engine

    card = colour_engine.CARD

    def graph(head: str) -> Path:
        pytest.importorskip("onnx")
        return colour_engine.write_colour_engine(folder / f"{head}.onnx", card.changed(head=head))

    def model() -> Any:
        torch = pytest.importorskip("torch")

        class MeanColour(torch.nn.Module):  # type: ignore[name-defined, misc]
            def forward(self, images: Any) -> Any:
                mean = images.mean((2, 3))
                share = mean / mean.sum(1, keepdim=True)
                return share @ torch.from_numpy(colour_engine.WEIGHT) + torch.from_numpy(colour_engine.BIAS)

        return MeanColour()

    return World(card, graph, model, [colour_engine.colour_tile(name) for name in card.classes], folder)


def open_torch(world: World, head: str) -> Session:
    model = world.model()
    import torch

    from dlcv.train.checkpoints.session import TorchSession

    return TorchSession(model, world.card, torch.device("cpu"))


def _onnx_cpu(world: World, head: str) -> Session:
    return open_session(world.graph(head), device="cpu", session="onnxruntime", lanes=2)


def _openvino(world: World, head: str) -> Session:
    pytest.importorskip("openvino")
    return open_session(world.graph(head), session="openvino", lanes=2)


def _onnx_cuda(world: World, head: str) -> Session:
    from dlcv.runtime.sessions.onnxrt import cuda_missing

    if missing := cuda_missing():
        pytest.skip(f"ONNX Runtime cannot use CUDA: {missing}")
    return open_session(world.graph(head), device="cuda", session="onnxruntime")


def _plan(world: World, head: str) -> Session:
    from dlcv.export.builders.build import build_plan
    from dlcv.export.builders.options import BuildOptions
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.errors import MissingPackageError, PlanError
    from dlcv.runtime.sessions.cuda import driver_problem

    if problem := driver_problem():
        pytest.skip(f"no plan can run here: {problem}")
    path = world.folder / f"{head}.plan"
    try:
        if not path.exists():
            graph = world.graph(head)
            build_plan(graph, path, card=read_card(graph), options=BuildOptions(max_batch=4, opt_batch=2))
        return open_session(path)
    except (MissingPackageError, PlanError) as error:  # TensorRT-RTX's plans leave some GPUs out
        pytest.skip(f"no plan for this machine: {error}")


OPENERS: dict[str, Callable[[World, str], Session]] = {
    "torch": open_torch,
    "onnx-cpu": _onnx_cpu,
    "openvino": _openvino,
    "onnx-cuda": _onnx_cuda,
    "plan": _plan,
}
WORLDS = {"segmentation": _segmentation, "classification": _classification}
