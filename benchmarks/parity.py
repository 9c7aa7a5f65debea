"""Parity: does an engine give what the reference gives, on the same labelled tiles? Either side may be a checkpoint, a graph,
a plan; the reference may also be the `.reference.npz` of an export, so that no torch is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card import ModelCard
from dlcv.runtime.card_reader import kind_of
from dlcv.runtime.comparison import Comparing, Comparison
from dlcv.runtime.datasets.description import DatasetDescription
from dlcv.runtime.datasets.labels import check_sizes, read_label
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.decode import decode_file
from dlcv.runtime.errors import DatasetError, MissingPackageError, TileError
from dlcv.runtime.evaluation import require_same_classes
from dlcv.runtime.files import sha256_of
from dlcv.runtime.fitting import fit_tile
from dlcv.runtime.model import Model
from dlcv.runtime.reference import Reference, read_reference
from dlcv.runtime.sessions import Session, open_session

Logits = NDArray[np.float32]


class EngineSide:
    """A side that computes: a checkpoint, a graph or a plan."""

    def __init__(self, session: Session, max_batch: int = 4) -> None:
        self.card, self.description = session.card, session.description
        self._session, self._model = session, Model(session, batch=max_batch)

    def has(self, pair: Pair) -> bool:
        """An engine has an answer for every tile."""
        return True

    def masks(self, pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """A mask uint8 (h, w) for each image, all in one go."""
        return self._model(list(images))

    def logits(self, pair: Pair, image_rgb: NDArray[np.uint8]) -> Logits | None:
        """Float32 (C, H, W) of the tile's first window, where the engine gives logits."""
        if self.card.head not in ("logits", "none"):  # none: a checkpoint, whose session gives logits too
            return None
        window = fit_tile(image_rgb, self.card.input_size_hw, self.card.fit).windows[0]
        logits: Logits = self._session.run(np.ascontiguousarray(window)[None])["logits"][0]
        return logits

    def close(self) -> None:
        """Closes the session."""
        self._session.close()


class StoredSide:
    """A side that remembers: the answers in a `.reference.npz`, found by the hash of a tile's file."""

    def __init__(self, reference: Reference, path: Path) -> None:
        self.card, self.description = reference.card, f"stored answers of torch in {path}"
        self._reference = reference

    def has(self, pair: Pair) -> bool:
        """Whether the tile was among those of the export."""
        return sha256_of(pair.image) in self._reference.masks

    def masks(self, pairs: Sequence[Pair], images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """The stored masks."""
        return [self._reference.masks[sha256_of(pair.image)] for pair in pairs]

    def logits(self, pair: Pair, image_rgb: NDArray[np.uint8]) -> Logits | None:
        """The stored logits, of the few tiles that have them."""
        return self._reference.logits.get(sha256_of(pair.image))

    def close(self) -> None:
        """Nothing is open."""


Side = EngineSide | StoredSide


def open_side(path: Path, device: str = "auto", *, like: ModelCard | None = None) -> Side:
    """Opens a checkpoint, a graph, a plan or a `.reference.npz`.

    Args:
        path: the file.
        device: see `open_session`.
        like: the other side's card: a checkpoint, which runs at any size, takes input size and fitting from it, so that
            both sides see the same windows.

    Raises:
        DlcvError: when it cannot be used, in words.
    """
    kind = kind_of(path)
    if kind == "reference":
        return StoredSide(read_reference(path), path)
    if kind != "checkpoint":
        return EngineSide(open_session(path, device=device))
    try:
        from dlcv.train.session import open_checkpoint
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            str(error.name),
            f"run the checkpoint {path}",
            "pip install 'dlcv-edge[train]'; without torch, take the .reference.npz beside the export",
        ) from error
    session = open_checkpoint(path, device=device)
    if like is not None:
        session.card = session.card.changed(input_size_hw=like.input_size_hw, fit=like.fit)
    return EngineSide(session)


def compare(
    reference: Side,
    candidate: Side,
    pairs: Sequence[Pair],
    description: DatasetDescription,
    *,
    batch: int = 4,
    advance: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Runs both sides over the same tiles; those that a stored reference does not know are left out.

    Raises:
        DatasetError: when the classes differ, or a tile cannot be read.
    """
    for side in (reference, candidate):
        require_same_classes(side.card, description)
    comparing = Comparing(description.classes, description.uncounted)
    known = [pair for pair in pairs if reference.has(pair) and candidate.has(pair)]
    for start in range(0, len(known), batch):
        group = known[start : start + batch]
        images = [_image(pair) for pair in group]
        for pair, image_rgb, expected, got in zip(
            group, images, reference.masks(group, images), candidate.masks(group, images), strict=True
        ):
            label = read_label(pair, description)
            check_sizes(image_rgb, label, pair)
            comparing.add(label, expected, got)
            first, second = reference.logits(pair, image_rgb), candidate.logits(pair, image_rgb)
            if first is not None and second is not None and first.shape == second.shape:
                comparing.add_logits(first, second)
        advance(len(group))
    return comparing.result()


def _image(pair: Pair) -> NDArray[np.uint8]:
    try:
        return decode_file(pair.image)
    except TileError as error:
        raise DatasetError(f"{pair.image}: {error}") from error


def same_model(reference: ModelCard, candidate: ModelCard) -> str | None:
    """A line of warning when the two sides are not of one checkpoint, as far as their cards tell; else None."""
    hashes = {card.checkpoint_sha256 for card in (reference, candidate)} - {""}
    if reference.model != candidate.model or len(hashes) > 1:
        return f"the sides are of different checkpoints ({reference.model} and {candidate.model}): this compares two models, not an engine with its reference"
    return None
