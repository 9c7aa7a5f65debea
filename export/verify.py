"""Verification: the exported graph in ONNX Runtime against torch, on real tiles, before the graph gets its final name.

Torch normalises with training's own code, tiles come in batches of several, and a twin of the graph gives its logits too: a
mask alone would hide NaN, which argmax turns into class 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from dlcv.export.onnx_from_checkpoint import logits_name
from dlcv.runtime.card import ModelCard
from dlcv.runtime.errors import ExportError, VerdictError, one_line
from dlcv.train.session import TorchSession

MIN_AGREEMENT = 0.9999
"""Of argmax, in float32: what differs is ties between two classes, decided by the order of additions."""
MAX_LOGIT_DIFFERENCE = 1e-3
"""Relative to the largest logit: float32 sums of some thousand products in another order differ by about 1e-6 to 1e-4."""
BATCH = 3


@dataclass(frozen=True)
class Verification:
    """What the comparison of a graph with torch gave.

    Attributes:
        tiles: windows compared.
        agreement: share of pixels with the same class, 0..1.
        logit_difference: the largest, absolute.
        logit_scale: the largest absolute logit of torch.
        not_finite: NaN and infinite logits, of the graph and of torch.
        predicted_classes: how many classes torch predicts on these tiles.
        mask_is_argmax: share of pixels in which the graph's own head agrees with the argmax of its logits, 0..1.
    """

    tiles: int
    agreement: float
    logit_difference: float
    logit_scale: float
    not_finite: int
    predicted_classes: int
    mask_is_argmax: float

    def problems(self) -> list[str]:
        """What fails, in words; empty when the graph is what torch is."""
        found = []
        if self.tiles == 0 or self.predicted_classes < 2:
            found.append(
                f"nothing to compare: torch predicts {self.predicted_classes} class on {self.tiles} tiles, so agreement would prove nothing; train further"
            )
        if self.not_finite:
            found.append(f"{self.not_finite} logits are NaN or infinite")
        if not self.agreement >= MIN_AGREEMENT:
            found.append(f"argmax agreement {self.agreement:.6f}, expected at least {MIN_AGREEMENT}")
        if not self.logit_difference <= MAX_LOGIT_DIFFERENCE * self.logit_scale:
            found.append(
                f"largest logit difference {self.logit_difference:.3g} at logits up to {self.logit_scale:.3g}, expected at most {MAX_LOGIT_DIFFERENCE} of that"
            )
        if not self.mask_is_argmax >= MIN_AGREEMENT:
            found.append(
                f"the head agrees with its own logits on {self.mask_is_argmax:.6f} of the pixels, expected at least {MIN_AGREEMENT}"
            )
        return found

    def require(self) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems():
            raise VerdictError(f"verification failed on {self.tiles} tiles, no file was written: {'; '.join(found)}")


def verify_graph(
    proto: onnx.ModelProto, card: ModelCard, reference: TorchSession, windows: Sequence[NDArray[np.uint8]]
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
    logits = logits_name(proto, card)
    twin = _session(_twin(proto, logits))
    same = own = pixels = not_finite = 0
    difference = scale = 0.0
    classes: set[int] = set()
    views = [*windows, *(window[::-1, ::-1] for window in windows)] if len(windows) < BATCH else windows
    for start in range(0, len(views), BATCH):
        batch = np.stack(views[start : start + BATCH])
        head_out, logits_out = twin.run([card.head, logits], {"image": batch})
        expected = reference.run(batch)
        finite = np.isfinite(logits_out) & np.isfinite(expected["logits"])
        not_finite += int(np.count_nonzero(~finite))
        apart = np.abs(np.subtract(logits_out, expected["logits"], where=finite, out=np.zeros_like(logits_out)))
        difference = max(difference, float(apart.max()))
        scale = max(scale, float(np.max(np.abs(expected["logits"]), where=finite, initial=0.0)))
        mask = head_out if card.head == "mask" else head_out.argmax(1)
        same += int(np.count_nonzero(mask == expected["mask"]))
        own += int(np.count_nonzero(mask == logits_out.argmax(1)))
        pixels += mask.size
        classes.update(np.unique(expected["mask"]).tolist())
    return Verification(
        tiles=len(windows), agreement=same / pixels if pixels else 0.0, logit_difference=difference, logit_scale=scale,
        not_finite=not_finite, predicted_classes=len(classes), mask_is_argmax=own / pixels if pixels else 0.0,
    )  # fmt: skip


def _twin(proto: onnx.ModelProto, logits: str) -> onnx.ModelProto:
    """The same graph with its logits among the outputs."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    if logits not in [output.name for output in twin.graph.output]:
        twin.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    return twin


def _session(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ExportError(
            f"ONNX Runtime {ort.__version__} refuses the exported graph: {one_line(error)[:400]}"
        ) from error
