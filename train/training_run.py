"""What is trained and on what: everything that stays the same while a run trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.train.data.left_out import LeftOut
from dlcv.train.settings.settings import TrainSettings


@dataclass(frozen=True)
class Run:
    """A run's folder and everything that stays the same while it trains; `left_out` is no part of the images."""

    folder: Path
    settings: TrainSettings
    training: LabelledSet[Any]
    validation: LabelledSet[Any]
    card: ModelCard
    probe_sha256: str
    left_out: tuple[LeftOut, ...] = ()
