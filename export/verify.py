"""Verification: the exported graph in ONNX Runtime against torch, on real images, before the graph gets its final name.

Torch normalises with training's own code, images come in batches of several, and a twin of the graph gives its logits too: a
mask alone would hide NaN, which argmax turns into class 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from dlcv.export.onnx_from_checkpoint import logits_name
from dlcv.export.rounding import rounded_twin
from dlcv.runtime.answers import softmax
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import ExportError, VerdictError, one_line
from dlcv.runtime.scoring.comparison import MAX_PROBABILITY_DIFFERENCE
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT as MIN_AGREEMENT_BY_PRECISION
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.runtime.sessions.base import Session

MIN_AGREEMENT = 0.9999
"""Of argmax, in float32: what differs is ties between two classes, decided by the order of additions."""
MAX_LOGIT_DIFFERENCE = 1e-3
"""Relative to the largest logit: float32 sums of some thousand products in another order differ by about 1e-6 to 1e-4."""
MAX_LOW_LOGIT_DIFFERENCE = {"fp16": 0.05, "bf16": 0.25, "int8": 0.5}
"""Likewise by precision: tens of layers whose results are rounded to 11, 8 or 7 bits; a layer that is lost moves them by more."""
BATCH = 3


@dataclass(frozen=True)
class Verification:
    """What the comparison of a graph with torch gave.

    Attributes:
        task: `segmentation` or `classification`.
        images: windows compared.
        agreement: share of pixels (segmentation) or images with the same class, 0..1.
        logit_difference: the largest, absolute.
        logit_scale: the largest absolute logit of torch.
        not_finite: NaN and infinite logits, of the graph and of torch.
        predicted_classes: how many classes torch predicts on these images.
        head_is_argmax: share of pixels or images in which the graph's own head agrees with the argmax of its logits, 0..1.
        precision: of the graph; it sets the bounds.
        probability_difference: the head `probs` alone: the largest absolute difference to the softmax of torch's logits.
    """

    task: str
    images: int
    agreement: float
    logit_difference: float
    logit_scale: float
    not_finite: int
    predicted_classes: int
    head_is_argmax: float
    probability_difference: float | None = None
    precision: str = "fp32"

    def problems(self) -> list[str]:
        """What fails, in words; empty when the graph is what torch is."""
        found, noun = [], NOUNS[self.task]
        if self.images == 0 or self.predicted_classes < 2:
            found.append(
                f"nothing to compare: torch predicts {self.predicted_classes} class on {self.images} {noun}s, so agreement would prove nothing; train further"
            )
        if self.not_finite:
            found.append(f"{self.not_finite} logits are NaN or infinite")
        least, furthest = self._bounds()
        if not self.agreement >= least:
            found.append(f"argmax agreement {self.agreement:.6f}, expected at least {least}")
        if not self.logit_difference <= furthest * self.logit_scale:
            found.append(
                f"largest logit difference {self.logit_difference:.3g} at logits up to {self.logit_scale:.3g}, expected at most {furthest} of that"
            )
        if not self.head_is_argmax >= MIN_AGREEMENT:
            of = "pixels" if self.task == "segmentation" else "images"
            found.append(
                f"the head agrees with its own logits on {self.head_is_argmax:.6f} of the {of}, expected at least {MIN_AGREEMENT}"
            )
        apart, most = self.probability_difference, MAX_PROBABILITY_DIFFERENCE.get(self.precision)
        if apart is not None and most is not None and not apart <= most:
            found.append(f"largest probability difference {apart:.3g}, expected at most {most}")
        return found

    def _bounds(self) -> tuple[float, float]:
        """The least agreement, and the largest logit difference relative to the largest logit."""
        if self.precision == "fp32":
            return MIN_AGREEMENT, MAX_LOGIT_DIFFERENCE
        return MIN_AGREEMENT_BY_PRECISION[self.task][self.precision], MAX_LOW_LOGIT_DIFFERENCE[self.precision]

    def require(self) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems():
            raise VerdictError(
                f"verification failed on {self.images} {NOUNS[self.task]}s, no file was written: {'; '.join(found)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, by the names of the task: `tiles` and `mask_is_argmax`, or `images` and `head_is_argmax`."""
        names = {"images": "tiles", "head_is_argmax": "mask_is_argmax"} if self.task == "segmentation" else {}
        return {names.get(k, k): v for k, v in asdict(self).items() if k not in ("task", "precision") and v is not None}


def verify_graph(
    proto: onnx.ModelProto, card: ModelCard, reference: Session, windows: Sequence[NDArray[np.uint8]]
) -> Verification:
    """Compares a graph with torch.

    Args:
        proto: the graph.
        card: the graph's.
        reference: the checkpoint in torch.
        windows: images uint8 (H, W, 3), RGB, of the graph's size. Fewer than a batch are joined by their mirror images: tiles
            that are swapped in a batch show only where a batch holds several.

    Raises:
        ExportError: when ONNX Runtime refuses the graph.
    """
    twin, logits = twin_session(proto, card)
    found = _Found()
    views = [*windows, *(window[::-1, ::-1] for window in windows)] if len(windows) < BATCH else windows
    for start in range(0, len(views), BATCH):
        batch = np.stack(views[start : start + BATCH])
        head_out, logits_out = twin.run([card.head, logits], {"image": batch})
        found.add(card.head, head_out, logits_out, reference.run(batch)["logits"])
    return Verification(
        task=card.task, images=len(windows), agreement=found.same / found.count if found.count else 0.0,
        logit_difference=found.difference, logit_scale=found.scale, not_finite=found.not_finite,
        predicted_classes=len(found.classes), head_is_argmax=found.own / found.count if found.count else 0.0,
        probability_difference=found.probability_difference if card.head == "probs" else None, precision=card.precision,
    )  # fmt: skip


def twin_session(proto: onnx.ModelProto, card: ModelCard) -> tuple[ort.InferenceSession, str]:
    """ONNX Runtime on a graph whose logits are an output too, and their name; of a low type, see `rounded_twin`.

    Raises:
        ExportError: when ONNX Runtime refuses the graph.
    """
    logits = logits_name(proto, card)
    return graph_session(rounded_twin(_twin(proto, logits))), logits


@dataclass
class _Found:
    """What has been counted so far; see `Verification`."""

    same: int = 0
    own: int = 0
    count: int = 0
    not_finite: int = 0
    difference: float = 0.0
    scale: float = 0.0
    probability_difference: float = 0.0
    classes: set[int] = field(default_factory=set)

    def add(
        self, head: str, head_out: NDArray[Any], logits: NDArray[np.float32], expected: NDArray[np.float32]
    ) -> None:
        """Adds a batch: the graph's head and logits, and torch's logits."""
        finite = np.isfinite(logits) & np.isfinite(expected)
        self.not_finite += int(np.count_nonzero(~finite))
        apart = np.abs(np.subtract(logits, expected, where=finite, out=np.zeros_like(logits)))
        self.difference = max(self.difference, float(apart.max()))
        self.scale = max(self.scale, float(np.max(np.abs(expected), where=finite, initial=0.0)))
        if head == "probs" and finite.all():
            self.probability_difference = max(
                self.probability_difference, float(np.abs(head_out - softmax(expected)).max())
            )
        answer, torchs = head_out if head == "mask" else head_out.argmax(1), expected.argmax(1)
        self.same += int(np.count_nonzero(answer == torchs))
        self.own += int(np.count_nonzero(answer == logits.argmax(1)))
        self.count += answer.size
        self.classes.update(np.unique(torchs).tolist())


def _twin(proto: onnx.ModelProto, logits: str) -> onnx.ModelProto:
    """The same graph with its logits among the outputs."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    if logits not in [output.name for output in twin.graph.output]:
        twin.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    return twin


def graph_session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """ONNX Runtime on a CPU with a graph.

    Raises:
        ExportError: when it refuses the graph.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ExportError(
            f"ONNX Runtime {ort.__version__} refuses the exported graph: {one_line(error)[:400]}"
        ) from error
