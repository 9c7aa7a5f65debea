"""What the tests of export share: graphs of the tiny model, torch's answers, and one real export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

if TYPE_CHECKING:
    import numpy as np
    from click.testing import Result
    from numpy.typing import NDArray
    from torch import nn

    from dlcv.runtime.card.card import ModelCard
    from dlcv.train.checkpoints.session import TorchSession

Export = Callable[..., "Result"]


@pytest.fixture
def graph_of(tiny_graph: Callable[[str], Path]) -> Callable[[str], onnx.ModelProto]:
    """head -> the tiny model's graph, a copy of its own for each call."""
    return lambda head: onnx.load(tiny_graph(head))


@pytest.fixture
def card_of(tiny_graph: Callable[[str], Path]) -> Callable[[str], ModelCard]:
    """head -> the card that was asked for when the graph of that head was exported."""
    from dlcv.runtime.card.reader import read_card

    return lambda head: read_card(tiny_graph(head))


@pytest.fixture(scope="session")
def torch_session(tiny_model: nn.Module, tiny_card: ModelCard) -> TorchSession:
    """The tiny model in torch, normalised by training's own code."""
    from dlcv.train.checkpoints.session import TorchSession

    return TorchSession(tiny_model, tiny_card, torch.device("cpu"))


@pytest.fixture(scope="session")
def ort_run() -> Callable[[Any, NDArray[np.uint8]], NDArray[Any]]:
    """(graph or its path, batch uint8 (n, H, W, 3)) -> the graph's first output."""
    import onnxruntime as ort

    def run(graph: Any, batch: NDArray[np.uint8]) -> NDArray[Any]:
        source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
        result: NDArray[Any] = ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(
            None, {"image": batch}
        )[0]
        return result

    return run


@pytest.fixture
def export() -> Export:
    """Runs `dlcv-export` in this process."""
    from click.testing import CliRunner

    from dlcv.export.cli.export import main

    def run(*arguments: Any) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def classifier_graph(tiny_classifier: Callable[[int], Path]) -> onnx.ModelProto:
    """The tiny cnn3, in float32."""
    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint

    checkpoint = load_checkpoint(tiny_classifier(0))
    return onnx_from_model(model_from_checkpoint(checkpoint), checkpoint.card.changed(head="probs"))


@pytest.fixture
def remembered_graphs(monkeypatch: pytest.MonkeyPatch, _graphs: dict[str, onnx.ModelProto]) -> None:
    """torch's exporter is asked once for each card: these tests are about what comes after it."""
    _remember(monkeypatch, _graphs)


def _remember(monkeypatch: pytest.MonkeyPatch, graphs: dict[str, onnx.ModelProto]) -> None:
    from dlcv.export import export_model

    real = export_model.onnx_from_model

    def remembered(model: nn.Module, card: ModelCard, *, newest_opset: int | None = None) -> onnx.ModelProto:
        key = f"{newest_opset} {card.to_json()}"
        if key not in graphs:
            graphs[key] = real(model, card, newest_opset=newest_opset)
        return graphs[key]

    monkeypatch.setattr(export_model, "onnx_from_model", remembered)


@pytest.fixture(scope="session")
def _graphs() -> dict[str, onnx.ModelProto]:
    return {}


@dataclass(frozen=True)
class Exported:
    """A real export: its folder, and what the command printed."""

    folder: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, _graphs: dict[str, onnx.ModelProto]
) -> Exported:
    """`dlcv-export --format onnx` on the tiny checkpoint; do not change the files."""
    from click.testing import CliRunner

    from dlcv.export.cli.export import main

    folder = tmp_path_factory.mktemp("exported")
    arguments = ["--checkpoint", str(tiny_checkpoint), "--output", str(folder), "--format", "onnx"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        _remember(monkeypatch, _graphs)
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return Exported(folder, result.stdout, result.stderr)
