"""What a run was asked to do: plain values, stored with the run, the same names as the command's options."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from dlcv.runtime.errors import UsageError
from dlcv.train.settings.groups import (
    ComputeSettings,
    ImbalanceSettings,
    OptimizerSettings,
    ScheduleSettings,
    WatchSettings,
)

WATCHING = ("snapshot_epochs", "snapshot_tiles", "score_training", "tensorboard")
MAY_CHANGE_ON_RESUME = ("data", "unreadable", "epochs", "workers", "device", "keep_best", "patience", *WATCHING)
"""Settings that a resumed run may be given anew; the others would make it another run."""

OPTIONS = {"options": "--model-option"}
"""Options of the command whose names are not those of the settings."""

TASK_OPTIONS = {
    "segmentation": ("dataset", "snapshot_epochs", "snapshot_tiles"),
    "classification": ("classes", "short_side", "least_area"),
}
"""Settings that one task alone has."""
DEFAULT_BATCH = {"segmentation": 8, "classification": 64}
DEFAULT_CROP = 256
"""Of segmentation, in pixels."""
MAX_CROP = 224
"""Of classification, unless one is asked for, in pixels: what the published networks take."""


@dataclass(frozen=True)
class TrainSettings(OptimizerSettings, ScheduleSettings, ImbalanceSettings, ComputeSettings, WatchSettings):
    """Settings of a run: those of `groups.py`, and what is trained on what.

    Attributes:
        model: name in the registry.
        data: folder of labelled images, a CSV, or `sample`.
        dataset: segmentation: name or file of the description of what masks mean.
        classes: classification: the classes to learn, in this order; empty takes all that the data has.
        width: factor on the model's channels.
        options: of the model beside its width, such as `{"stride_in_1x1": true}`.
        batch: images that go through the model at once; 0 takes `DEFAULT_BATCH`.
        crop: side of the square that the model sees in training, in pixels, a multiple of the model's divisor; for
            classification also its input size. 0: 256 for segmentation; for classification the commonest image's shorter
            side, at most 224.
        short_side: classification: what evaluation scales an image's shorter side to before the centre crop, in pixels;
            0 takes the commonest image's shorter side, at most 8/7 of the crop.
        flips: see `data/augment.py`.
        least_area: see `data/augment.py`.
        keep_best: how many checkpoints with the lowest validation loss are kept, for an ensemble; 0 keeps none.
        validation_share: share of the images kept for validation where the data has no split of its own.
        unreadable: of `data/left_out.py`.
        seed: of weights, order, crops and split.
        init: `imagenet` or a file of starting weights; empty for fresh ones.
    """

    model: str = "fcn8s"
    data: str = "sample"
    dataset: str = "deepglobe"
    classes: tuple[str, ...] = ()
    width: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 0
    crop: int = 0
    short_side: int = 0
    flips: str = "both"
    least_area: float = 0.35
    keep_best: int = 0
    validation_share: float = 0.2
    unreadable: str = "stop"
    seed: int = 0
    init: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, to be stored."""
        return asdict(self)


def option_of(name: str) -> str:
    """The option of `dlcv-train` that gives a setting: `learning_rate` -> `--learning-rate`."""
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


def settings_on_resume(stored: Mapping[str, Any], given: Mapping[str, Any]) -> TrainSettings:
    """The stored settings of a run, with what the user gave anew.

    Args:
        stored: what `TrainSettings.to_dict` gave when the run began.
        given: the options that were typed now.

    Raises:
        UsageError: when an option was typed that would make it another run.
    """
    known = {f.name for f in fields(TrainSettings)}
    values = {k: v for k, v in stored.items() if k in known}
    lists = {name: tuple(values.get(name, ())) for name in ("classes", "snapshot_tiles")}
    settings = TrainSettings(**values | lists)
    for name, value in given.items():
        if value != getattr(settings, name) and name not in MAY_CHANGE_ON_RESUME:
            option = option_of(name)
            begun, now = (_as_typed(v) for v in (getattr(settings, name), value))
            raise UsageError(
                f"the run was begun with {option} {begun}, not {now}; leave {option} out, or start another run with --output DIR"
            )
    return replace(settings, **{k: v for k, v in given.items() if k in MAY_CHANGE_ON_RESUME})


def _as_typed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={json.dumps(each)}" for name, each in value.items()) or "none"
    return (",".join(value) or "all") if isinstance(value, tuple) else str(value)


def model_options(typed: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as typed -> values: true, false, numbers, else text; `NAME` alone is true. The model checks their types.

    Raises:
        UsageError: for a name that is empty or given twice.
    """
    options: dict[str, Any] = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not name or name in options:
            raise UsageError(
                f"--model-option {text!r}: expected NAME=VALUE, each name once, such as stride_in_1x1=true"
            )
        try:
            options[name] = json.loads(value) if equals else True
        except ValueError:
            options[name] = value
    return options


def require_own_options(model: str, task: str, typed: Collection[str]) -> None:
    """Refuses options that would be passed over in silence.

    Args:
        model: for the message.
        task: the model's.
        typed: names of the settings that the user gave.

    Raises:
        UsageError: when one is of another task.
    """
    for other, names in TASK_OPTIONS.items():
        wrong = [option_of(name) for name in names if name in typed]
        if other != task and wrong:
            raise UsageError(f"{', '.join(wrong)}: for {other} only, and {model} is a {task} model; leave it out")
