"""Each bound of verification by itself: what it lets pass, what it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from dlcv.export.verify import MAX_LOGIT_DIFFERENCE, MIN_AGREEMENT, Verification, verify_graph
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import ExportError, VerdictError
from dlcv.train.checkpoints.session import TorchSession

GraphOf = Callable[[str], onnx.ModelProto]
CardOf = Callable[[str], ModelCard]
GOOD = Verification(
    task="segmentation", images=6, agreement=1.0, logit_difference=1e-6, logit_scale=5.0, not_finite=0, predicted_classes=4, head_is_argmax=1.0
)  # fmt: skip


def test_a_good_verification_has_no_problem() -> None:
    assert GOOD.problems() == []
    GOOD.require()
    assert replace(GOOD, agreement=MIN_AGREEMENT, logit_difference=5 * MAX_LOGIT_DIFFERENCE).problems() == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"images": 0}, "nothing to compare: torch predicts 4 class on 0 tiles"),
        ({"predicted_classes": 1}, "nothing to compare: torch predicts 1 class on 6 tiles"),
        ({"not_finite": 3}, "3 logits are NaN or infinite"),
        ({"agreement": 0.99989}, "argmax agreement 0.999890, expected at least 0.9999"),
        ({"agreement": float("nan")}, "argmax agreement nan"),
        ({"logit_difference": 0.00501}, "largest logit difference 0.00501 at logits up to 5, expected at most 0.001"),
        ({"logit_difference": float("nan")}, "largest logit difference nan"),
        ({"head_is_argmax": 0.9}, "the head agrees with its own logits on 0.900000 of the pixels"),
    ],
)
def test_each_bound_has_its_sentence(changed: dict[str, float], sentence: str) -> None:
    found = replace(GOOD, **changed)  # type: ignore[arg-type]
    assert len(found.problems()) == 1
    assert sentence in found.problems()[0]
    with pytest.raises(VerdictError, match=r"^verification failed on \d tiles, no file was written: ") as caught:
        found.require()
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("head", ["mask", "probs", "logits"])
def test_a_faithful_graph_passes_under_every_head(head: str, graph_of: GraphOf, card_of: CardOf, torch_session: TorchSession, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    found = verify_graph(graph_of(head), card_of(head), torch_session, tiny_scenes)
    assert found.problems() == []
    assert found.images == 6
    assert found.predicted_classes >= 4
    assert found.logit_scale > 1
    assert [output.name for output in graph_of(head).graph.output] == [head], "the twin is a copy"


def test_no_tile_is_nothing_to_compare(graph_of: GraphOf, card_of: CardOf, torch_session: TorchSession) -> None:
    problems = verify_graph(graph_of("mask"), card_of("mask"), torch_session, []).problems()
    assert problems[0].startswith("nothing to compare: torch predicts 0 class on 0 tiles")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_tiles_swapped_in_a_batch_show_however_few_there_are(count: int, graph_of: GraphOf, card_of: CardOf, torch_session: TorchSession, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    control = verify_graph(graph_of("mask"), card_of("mask"), torch_session, tiny_scenes[:count])
    assert control.problems() == []
    assert control.images == count
    swapped = graph_of("mask")
    _reverse_batch(swapped)
    found = verify_graph(swapped, card_of("mask"), torch_session, tiny_scenes[:count])
    assert found.agreement < 0.9
    assert found.logit_difference > 0.1
    assert len(found.problems()) == 2


def test_a_head_that_is_not_the_argmax_of_its_logits_shows(graph_of: GraphOf, card_of: CardOf, torch_session: TorchSession, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    proto = graph_of("mask")
    tail = proto.graph.node[-1]
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2), "two"))
    proto.graph.node.insert(len(proto.graph.node) - 1, onnx.helper.make_node("Min", [tail.input[0], "two"], ["cut"]))
    tail.input[0] = "cut"
    found = verify_graph(proto, card_of("mask"), torch_session, tiny_scenes)
    assert found.head_is_argmax < 0.9
    assert found.logit_difference < MAX_LOGIT_DIFFERENCE
    assert any("the head agrees with its own logits on 0." in problem for problem in found.problems())


def test_a_graph_that_onnx_runtime_refuses_is_told_in_one_line(graph_of: GraphOf, card_of: CardOf, torch_session: TorchSession, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    proto = graph_of("mask")
    proto.graph.node[3].op_type = "Divide"
    with pytest.raises(ExportError, match=r"^ONNX Runtime \S+ refuses the exported graph: [^\n]*Divide[^\n]*$"):
        verify_graph(proto, card_of("mask"), torch_session, tiny_scenes)


def test_torchs_own_nan_shows(graph_of: GraphOf, card_of: CardOf, torch_session: TorchSession, tiny_scenes: list[NDArray[np.uint8]]) -> None:  # fmt: skip
    class Nan(TorchSession):
        def __init__(self) -> None:
            self.card = torch_session.card

        def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
            answer = torch_session.run(images)
            answer["logits"][0, 0, 0, 0] = np.nan
            return answer

    found = verify_graph(graph_of("mask"), card_of("mask"), Nan(), tiny_scenes)
    assert found.not_finite == 2
    assert found.problems() == ["2 logits are NaN or infinite"]


def _reverse_batch(proto: onnx.ModelProto) -> None:
    """The images of a batch in reverse order, right after the cast."""
    cast = proto.graph.node[0]
    axes = {"starts": [-1], "ends": [-(2**31)], "axes": [0], "steps": [-1]}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(v, np.int64), f"r_{k}") for k, v in axes.items()
    )
    after, cast.output[0] = cast.output[0], "in_order"
    proto.graph.node.insert(1, onnx.helper.make_node("Slice", ["in_order", *(f"r_{k}" for k in axes)], [after]))
