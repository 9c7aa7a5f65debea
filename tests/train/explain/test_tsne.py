"""t-SNE: groups that are apart stay apart, the same each time, and few or wide features are no trouble."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import DlcvError

pytest.importorskip("sklearn", reason="the report extra is not installed")

from sklearn.metrics import silhouette_score

from dlcv.train.explain.observation import Features
from dlcv.train.explain.tsne import embed, perplexity_of


def features_of(values: NDArray[np.float32], labels: NDArray[np.int64]) -> Features:
    names = [f"image-{k}" for k in range(len(values))]
    return Features(list(values), names, labels.tolist(), labels.tolist(), [1.0] * len(values))


def two_groups(count: int, width: int) -> Features:
    """Normal noise around two centres that are 12 deviations apart along one feature."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 2
    values = rng.normal(size=(count, width)).astype(np.float32)
    values[:, 0] += 12 * labels
    return features_of(values, labels)


@pytest.mark.parametrize("width", [8, 300])
def test_two_groups_stay_apart(width: int) -> None:
    features = two_groups(80, width)
    found = embed(features, most=1000, seed=0)
    assert found.points.shape == (80, 2)
    assert found.points.dtype == np.float32
    assert found.components == (50 if width > 50 else 0)
    # 1 for points on top of each other, 0 for groups that mix; random labels give about 0
    assert silhouette_score(found.points, features.labels) > 0.5
    assert abs(silhouette_score(found.points, np.random.default_rng(1).permutation(features.labels))) < 0.1
    assert found.same_class > (0.99 if width == 8 else 0.9)


def test_the_seed_decides() -> None:
    features = two_groups(40, 60)
    first, again = embed(features, most=30, seed=1), embed(features, most=30, seed=1)
    assert np.array_equal(first.points, again.points)
    assert np.array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, embed(features, most=30, seed=2).rows)


def test_points_are_bounded_and_drawn_from_every_class() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    features = features_of(np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32), labels)
    found = embed(features, most=24, seed=0)
    assert (len(found.points), found.of) == (24, 100)
    assert np.bincount(labels[found.rows]).tolist() == [14, 10]


def test_the_perplexity_is_bounded_by_the_points() -> None:
    assert (perplexity_of(1000), perplexity_of(91), perplexity_of(10)) == (30.0, 30.0, 3.0)
    found = embed(two_groups(6, 70), most=1000, seed=0)  # fewer points than components, too
    assert found.perplexity == pytest.approx(5 / 3)
    assert np.isfinite(found.points).all()


def test_what_cannot_be_shown_is_refused_in_words() -> None:
    with pytest.raises(DlcvError, match=r"^t-SNE has 4 points, expected 5 at least; take more images$"):
        embed(two_groups(4, 8), most=1000, seed=0)
    with pytest.raises(DlcvError, match=r"^t-SNE has 0 points"):
        embed(Features(), most=1000, seed=0)
    with pytest.raises(DlcvError, match=r"^the 9 images all have the same features, so t-SNE has nothing to show"):
        embed(features_of(np.ones((9, 3), np.float32), np.arange(9) % 2), most=1000, seed=0)
