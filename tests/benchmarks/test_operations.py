"""Operations counted on the network against published figures and against the exported graph's own count."""

from __future__ import annotations

import pytest

from dlcv.benchmarks.operations import count_operations
from dlcv.benchmarks.programs.models import measure, table
from dlcv.benchmarks.untrained import untrained_card
from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.precision.layers import layers_of
from dlcv.train.models import create_model
from dlcv.train.models.registry import model_entry

GFLOP_AT_512 = {"fcn8s": 173.4, "fcn32s": 173.4, "deeplabv3-resnet101": 482.0}
"""As measured on these systems elsewhere; two operations a multiply-add, to the digits that are given."""


@pytest.mark.parametrize(("name", "expected"), GFLOP_AT_512.items())
def test_operations_at_512(name: str, expected: float) -> None:
    found = 2 * count_operations(name, (512, 512)).multiply_adds / 1e9
    assert round(found, 1 if expected < 200 else 0) == expected


def test_parameters_are_the_published_ones() -> None:
    assert count_operations("fcn8s", (64, 64)).parameters == 39_936_885
    assert count_operations("resnet101", (64, 64), classes=50).parameters == 42_602_610


def test_a_model_is_measured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dlcv.benchmarks.programs.models._plan", lambda path, card: (None, None)
    )  # test_exports.py builds plans
    figures = measure("cnn3", pairs=2, width=0.1)
    assert figures.multiply_adds == count_operations("cnn3", (48, 48), width=0.1).multiply_adds
    assert figures.difference < 1e-4 and figures.agreement == 1.0
    assert figures.ratio.pairs == 2 and figures.ratio.median > 0
    (row,) = table([figures]).splitlines()[2:]
    assert row.startswith("| cnn3 ") and f"{figures.parameters:,}" in row and row.count("|") == 11


@pytest.mark.parametrize("name", ["cnn3", "fcn8s"])
def test_the_exported_graph_holds_the_same_multiply_adds(name: str) -> None:
    """Two counts that share no code: hooks on the network, and the shapes of the graph's nodes."""
    card = untrained_card(name, model_entry(name).task, 64, width=0.1)
    graph = onnx_from_model(create_model(name, width=0.1).eval(), card)
    expected = count_operations(name, (64, 64), width=0.1).multiply_adds
    assert sum(layer.multiply_adds for layer in layers_of(graph)) == expected > 0
