"""Writes `NAME.reference.npz`; `runtime/reference.py` reads it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.decode import decode_file
from dlcv.runtime.files import sha256_of
from dlcv.runtime.fitting import fit_tile
from dlcv.runtime.model import Model
from dlcv.runtime.reference import CARD_KEY
from dlcv.train.session import TorchSession

TILES_WITH_LOGITS = 4


def reference_bytes(session: TorchSession, card: ModelCard, pairs: Sequence[Pair]) -> bytes:
    """Torch's masks of all `pairs` and the logits of the first few, as an npz file's content.

    Args:
        session: the checkpoint in torch.
        card: of the exported graph; its fit brings tiles to size.
        pairs: labelled tiles.
    """
    model = Model(session, fit=card.fit)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(CARD_KEY), card.to_json())
        for number, pair in enumerate(pairs):
            image_rgb, digest = decode_file(pair.image), sha256_of(pair.image)
            _add(archive, f"mask_{digest}", model(image_rgb))
            if number < TILES_WITH_LOGITS:
                window = fit_tile(image_rgb, card.input_size_hw, card.fit).windows[0]
                _add(archive, f"logits_{digest}", session.run(np.ascontiguousarray(window)[None])["logits"][0])
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """One array as numpy's own `savez` would store it, with a fixed time, so that the same export gives the same file."""
    member = io.BytesIO()
    np.save(member, array, allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
