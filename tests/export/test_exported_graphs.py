"""The tests' own short cut (`exported_graphs.py`): a graph from it is the one that torch would have made, and what differs at all is made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import exported_graphs
import pytest

torch = pytest.importorskip("torch", reason="the export extra is not installed")


def _network(bias: float = 0.5, slope: float = 0.0) -> Any:
    """Computes leaky ReLU of a convolution with fixed weights."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1), torch.nn.LeakyReLU(slope)).eval()
    with torch.no_grad():
        network[0].weight.copy_(torch.arange(54.0).reshape(2, 3, 3, 3) / 54)
        network[0].bias.fill_(bias)
    return network


def _export(network: Any, side: int = 8, **options: Any) -> bytes:
    batch = torch.export.Dim("batch", min=1, max=64)
    example = torch.zeros(2, 3, side, side)
    given: dict[str, Any] = {
        "dynamo": True, "opset_version": 18, "input_names": ["image"], "dynamic_shapes": ({0: batch},), "verbose": False,
    }  # fmt: skip
    found = torch.onnx.export(network, (example,), **given | options)
    graph: bytes = found.model_proto.SerializeToString()
    return graph


@pytest.fixture
def translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many programs have been translated, with a folder of the test's own."""
    while hasattr(torch.onnx.export, "__wrapped__"):
        monkeypatch.setattr(torch.onnx, "export", torch.onnx.export.__wrapped__)
    monkeypatch.setattr(torch.onnx, "export", torch.onnx.export)  # and put back what `translate_once` puts there
    exported_graphs.translate_once(tmp_path)
    return lambda: len(list(tmp_path.glob("*.onnx")))


@pytest.mark.filterwarnings("ignore")  # torch's own, of its exporter
def test_the_same_program_is_translated_once_to_what_torch_makes_of_it(translated: Callable[[], int]) -> None:
    first, second = _export(_network()), _export(_network())
    assert translated() == 1
    assert first == second == _export_without(_network())
    assert torch.export.export.__name__ == "export", "torch's own again"


def _export_without(network: Any) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", torch.onnx.export.__wrapped__)
        return _export(network)


@pytest.mark.filterwarnings("ignore")
def test_whatever_differs_is_translated_anew(translated: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight, a number in the network, a size, an option, and what is planted into the code of a layer."""
    exports: list[Callable[[], bytes]] = [
        lambda: _export(_network()),
        lambda: _export(_network(bias=0.5000001)),
        lambda: _export(_network(slope=0.1)),
        lambda: _export(_network(), side=16),
        lambda: _export(_network(), input_names=["picture"]),
    ]
    graphs = [export() for export in exports]
    monkeypatch.setattr(torch.nn.LeakyReLU, "forward", lambda self, x: torch.nn.functional.silu(x))
    graphs.append(_export(_network()))
    assert translated() == len(set(graphs)) == len(graphs) == 6


@pytest.mark.filterwarnings("ignore")
def test_an_export_that_fails_fails_as_without(translated: Callable[[], int]) -> None:
    class Refuses(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("not this one")

    with pytest.raises(torch.onnx.errors.OnnxExporterError, match="not this one"):
        _export(Refuses().eval())
    assert translated() == 0
