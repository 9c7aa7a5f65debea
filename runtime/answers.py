"""What a session's outputs say about each image: a mask, or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def answers_of(outputs: dict[str, NDArray[Any]], task: str) -> NDArray[Any]:
    """The answers in a session's outputs, one an image.

    Args:
        outputs: as `Session.run` returns them.
        task: `segmentation` or `classification`.

    Returns:
        Segmentation: class masks uint8 (n, H, W), as they are, or the largest of `probs` or `logits`. Classification:
        probabilities float32 (n, C), as they are, or the softmax of `logits`.
    """
    if task == "classification":
        return outputs["probs"] if "probs" in outputs else softmax(outputs["logits"])
    if "mask" in outputs:
        return outputs["mask"]
    scores = outputs["probs"] if "probs" in outputs else outputs["logits"]
    return scores.argmax(1).astype(np.uint8)  # type: ignore[no-any-return]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n, C, ...) -> float32 of that shape whose sum over C is 1."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)
