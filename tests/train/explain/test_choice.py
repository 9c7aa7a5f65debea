"""Which examples are looked at: evenly over the classes, the same for a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.datasets.loading import training_split
from dlcv.train.explain.choice import chosen_examples, stratified


def test_each_class_gives_as_many_as_any_other() -> None:
    labels = np.array([0] * 50 + [1] * 5 + [2] * 2 + [3] * 50)
    chosen = stratified(labels, 20, seed=0)
    assert np.bincount(labels[chosen]).tolist() in ([7, 5, 2, 6], [6, 5, 2, 7])
    assert chosen.tolist() == sorted(set(chosen.tolist()))


@pytest.mark.parametrize("count", [107, 1000])
def test_all_are_taken_where_there_are_no_more(count: int) -> None:
    assert stratified(np.arange(107) % 3, count, seed=1).tolist() == list(range(107))


def test_the_seed_decides() -> None:
    labels = np.arange(300) % 3
    assert stratified(labels, 9, seed=1).tolist() == stratified(labels, 9, seed=1).tolist()
    assert stratified(labels, 9, seed=1).tolist() != stratified(labels, 9, seed=2).tolist()


def test_a_set_of_images_is_chosen_by_class(pictures: Path) -> None:
    labelled, _ = training_split("classification", pictures, dataset="", validation_share=0.2, seed=0)
    found = chosen_examples(labelled, 8, seed=0)
    assert sorted(int(labelled.label(example)) for example in found) == [0, 0, 1, 1, 2, 2, 3, 3]
