"""Writes `NAME.reference.npz`; `runtime/scoring/reference.py` reads it."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.scoring.evaluation import answer_images
from dlcv.runtime.scoring.reference import ANSWER_PREFIX, CARD_KEY, LOGITS_PREFIX
from dlcv.train.checkpoints.session import TorchSession

IMAGES_WITH_LOGITS = 4
BATCH = 8


def reference_bytes(session: TorchSession, card: ModelCard, labelled: LabelledSet[Any]) -> bytes:
    """Torch's answers to all images and the logits of the first few, as an npz file's content.

    Args:
        session: the checkpoint in torch, with the exported graph's input size and fitting.
        card: of the exported graph.
        labelled: the images; labels are not read.
    """
    buffer, written = io.BytesIO(), set[str]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(CARD_KEY), card.to_json())
        for example in labelled.examples:
            digest = labelled.sha256(example)
            if digest in written:  # the same image under another name
                continue
            (found,) = answer_images(session, [labelled.image(example)], batch=BATCH)
            _add(archive, ANSWER_PREFIX[card.task] + digest, found.answer)
            if len(written) < IMAGES_WITH_LOGITS and found.logits is not None:
                _add(archive, LOGITS_PREFIX + digest, found.logits)
            written.add(digest)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """One array as numpy's own `savez` would store it, with a fixed time, so that the same export gives the same file."""
    member = io.BytesIO()
    np.save(member, array, allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
