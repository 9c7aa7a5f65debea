"""The exported module by itself, on numbers that can be checked by eye, and its independence from training's normalisation."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlcv.export import graph as module
from dlcv.export.graph import HEADS, ExportGraph
from dlcv.train.preprocess import normalise


class Channels(nn.Module):
    """A network whose logits are its input: class 0 red, 1 green, 2 blue."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_pixels_are_normalised_by_channel_in_8_bit_levels() -> None:
    graph = ExportGraph(Channels(), (10, 20, 30), (2, 4, 8), "logits")
    image = torch.tensor([[[[12, 28, 46], [10, 20, 30]]]], dtype=torch.uint8)  # (1, 1, 2, 3)
    assert graph(image).tolist() == [[[[1, 0]], [[2, 0]], [[2, 0]]]]


def test_the_mask_is_the_class_of_the_largest_logit() -> None:
    graph = ExportGraph(Channels(), (0, 0, 0), (1, 1, 1), "mask")
    image = torch.tensor([[[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]], dtype=torch.uint8)
    mask = graph(image)
    assert (mask.dtype, mask.tolist()) == (torch.uint8, [[[0, 1, 2]]])


def test_the_probabilities_are_the_softmax_over_classes() -> None:
    graph = ExportGraph(Channels(), (0, 0, 0), (1, 1, 1), "probs")
    probs = graph(torch.tensor([[[[1, 1, 1], [2, 0, 0]]]], dtype=torch.uint8))[0, :, 0].T
    e2 = np.exp(2)
    # float32 has 24 bits of mantissa
    np.testing.assert_allclose(probs, [[1 / 3] * 3, [e2 / (e2 + 2), 1 / (e2 + 2), 1 / (e2 + 2)]], rtol=1e-6)


def test_every_head_that_a_user_can_ask_for_is_known() -> None:
    from dlcv.export.cli.export import main
    from dlcv.runtime.card.card import HEADS as CARD_HEADS

    option = next(parameter for parameter in main.params if parameter.name == "head")
    assert list(option.type.choices) == list(HEADS)
    assert set(HEADS) == set(CARD_HEADS) - {"none"}


@pytest.mark.parametrize(
    "forbidden", ["dlcv.train.preprocess", "dlcv.train.checkpoints.session", "dlcv.runtime.fitting.fitting"]
)
def test_the_graph_shares_no_normalisation_with_the_reference(forbidden: str) -> None:
    """A mistake in one must show against the other: neither imports the other's code."""
    assert forbidden not in _imports(Path(str(module.__file__)))
    assert not any(value is normalise for value in vars(module).values())


def test_the_reference_normalises_with_trainings_own_code() -> None:
    from dlcv.train.checkpoints import session
    from dlcv.train.steps import stepper

    assert session.normalise is normalise
    assert "dlcv.train.preprocess" in _imports(Path(str(session.__file__))) & _imports(Path(str(stepper.__file__)))
    assert not any(name.startswith("dlcv.export") for name in _imports(Path(str(session.__file__))))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found
