"""t-SNE: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import DlcvError, MissingPackageError
from dlcv.train.explain.choice import stratified
from dlcv.train.explain.observation import Features
from dlcv.train.explain.options import MIN_POINTS

PCA_FEATURES = 50
"""Wider features are brought to so many principal components first, as in the paper's section 4.2."""

PERPLEXITY = 30.0
"""About how many neighbours a point has; the paper finds 5 to 50 much alike."""

NEIGHBOURS = 5
"""Of a point, in the features themselves, for `Embedding.same_class`."""


@dataclass(frozen=True)
class Embedding:
    """Features as points in the plane.

    Attributes:
        points: float32 (n, 2), without a unit.
        rows: int64 (n,), which of the features each is, ascending.
        of: how many there were to choose from.
        perplexity: that was taken.
        components: principal components that were embedded; 0 where the features were narrow enough as they are.
        same_class: of the `NEIGHBOURS` nearest points in the features (not in the plane), the mean share that is of the
            point's own class.
    """

    points: NDArray[np.float32]
    rows: NDArray[np.int64]
    of: int
    perplexity: float
    components: int
    same_class: float


def embed(features: Features, *, most: int, seed: int) -> Embedding:
    """At most `most` of the features, as many of each class as of any other, as points in the plane.

    The same for the same seed on one machine.

    Raises:
        DlcvError: for too few features, or when they are all the same.
        MissingPackageError: without scikit-learn.
    """
    values, labels = (
        np.stack(features.values) if features.values else np.empty((0, 0), np.float32),
        np.array(features.labels, np.int64),
    )
    rows = stratified(labels, most, seed)
    if len(rows) < MIN_POINTS:
        raise DlcvError(f"t-SNE has {len(rows)} points, expected {MIN_POINTS} at least; take more images")
    chosen, labels = values[rows], labels[rows]
    if not (chosen != chosen[0]).any():
        raise DlcvError(
            f"the {len(rows)} images all have the same features, so t-SNE has nothing to show: the model is dead or untrained"
        )
    manifold, reduced = _sklearn("manifold"), principal(chosen, seed)
    perplexity = perplexity_of(len(rows))
    tsne = manifold.TSNE(
        2, perplexity=perplexity, init="pca", learning_rate="auto", method="barnes_hut", random_state=seed
    )
    return Embedding(
        points=tsne.fit_transform(reduced).astype(np.float32), rows=rows, of=len(features.labels), perplexity=perplexity,
        components=reduced.shape[1] if reduced is not chosen else 0, same_class=same_class_share(chosen, labels),
    )  # fmt: skip


def perplexity_of(points: int) -> float:
    """`PERPLEXITY`, or for few points a third of the others: three times as many neighbours are searched."""
    return min(PERPLEXITY, (points - 1) / 3)


def principal(values: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """float32 (n, d) -> float32 (n, at most `PCA_FEATURES`), whose sum of squares is least reduced; as it is if narrow enough."""
    if values.shape[1] <= PCA_FEATURES:
        return values
    pca = _sklearn("decomposition").PCA(min(PCA_FEATURES, len(values)), random_state=seed)
    return np.asarray(pca.fit_transform(values), np.float32)


def same_class_share(values: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean share of the `NEIGHBOURS` nearest other points that have a point's own label. float32 (n, d), int64 (n,) -> 0..1."""
    search = _sklearn("neighbors").NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(values) - 1)).fit(values)
    near = search.kneighbors(return_distance=False)  # (n, k), without the point itself
    return float((labels[near] == labels[:, None]).mean())


def _sklearn(part: str) -> Any:
    try:
        from importlib import import_module

        return import_module(f"sklearn.{part}")
    except ImportError as error:
        raise MissingPackageError("scikit-learn", "draw t-SNE", "pip install 'dlcv-edge[report]'") from error
