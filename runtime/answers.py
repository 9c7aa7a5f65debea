"""What a session's outputs say about each image: a mask, a mask with its confidence, or probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard

CONFIDENT = np.dtype([("index", np.uint8), ("confidence", np.float32)])
"""A pixel's class and its probability in one array, so that windows are cut and joined as masks are: 5 bytes a pixel, where
the probabilities of all classes take 4 a class."""


@dataclass(frozen=True)
class Segmented:
    """What a model says about each pixel of a tile.

    Attributes:
        mask: uint8 (h, w), class indices.
        confidence: float32 (h, w), the probability of that class, 0..1; NaN where the model gave none; None where only the
            classes are known.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None


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
        return probs_of(outputs)
    if "mask" in outputs:
        return outputs["mask"]
    return _largest(outputs["probs"] if "probs" in outputs else outputs["logits"])[0]


def probs_of(outputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The probabilities in the outputs of a graph with the head `probs` or `logits`: float32 (n, C, ...)."""
    return outputs["probs"] if "probs" in outputs else softmax(outputs["logits"])


def confident_answers_of(outputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Class and probability of each pixel, from the outputs of a segmentation graph with the head `probs` or `logits`.

    Returns:
        `CONFIDENT` (n, H, W); `segmented_of` takes it apart. The classes are those of `answers_of`.
    """
    scores = outputs["probs"] if "probs" in outputs else outputs["logits"]
    answers = np.empty((scores.shape[0], *scores.shape[2:]), CONFIDENT)
    answers["index"], largest = _largest(scores)
    if "probs" not in outputs:  # of the softmax, the largest alone: 1 / (sum over k of exp(logit_k - largest logit))
        largest = 1 / np.exp(scores - largest[:, None]).sum(1)
    answers["confidence"] = largest
    return answers


def segmented_of(answer: NDArray[Any]) -> Segmented:
    """Mask and confidence of a tile, from its answer in any of the three forms that a run may keep.

    Args:
        answer: a mask, uint8 (h, w); `CONFIDENT` (h, w); or probabilities, float32 (C, h, w).

    Raises:
        ValueError: when it is none of these.
    """
    if answer.dtype == np.uint8 and answer.ndim == 2:
        return Segmented(answer)
    if answer.dtype == CONFIDENT and answer.ndim == 2:
        return Segmented(np.ascontiguousarray(answer["index"]), np.ascontiguousarray(answer["confidence"]))
    if answer.dtype == np.float32 and answer.ndim == 3:
        indices, confidence = _largest(answer[None])
        return Segmented(indices[0], confidence[0])
    raise ValueError(
        f"expected uint8 (h, w), {CONFIDENT} (h, w) or float32 (C, h, w), got {answer.dtype} {answer.shape}"
    )


def _largest(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """float32 (n, C, H, W) -> the largest score's index, of equal ones the first, and that score; each (n, H, W).

    numpy's argmax over an axis that is not the last takes several times as long.
    """
    indices, best = np.zeros((scores.shape[0], *scores.shape[2:]), np.uint8), scores[:, 0].copy()
    for index in range(1, scores.shape[1]):
        better = scores[:, index] > best
        np.maximum(indices, better.view(np.uint8) * np.uint8(index), out=indices)  # the index only grows
        np.maximum(best, scores[:, index], out=best)  # a NaN stays: a pixel without a number is seen in `best`
    return indices, best


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n, C, ...) -> float32 of that shape whose sum over C is 1."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def answers_for(card: ModelCard, *, blend: bool, tta: str) -> Callable[[dict[str, NDArray[Any]]], NDArray[Any]] | None:
    """What a pipeline is to keep of a session's outputs: probabilities where masks are blended or turned from; None: its default."""
    if card.task == "classification" or card.head == "mask" or not (blend or tta != "none"):
        return None
    return probs_of
