"""Groups of a run's settings, each named after what takes it; `settings.TrainSettings` is all of them together.

They are flat so that a setting is called the same on the command line, in a TOML file, in a checkpoint and in code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerSettings:
    """How a step is made.

    Attributes:
        optimizer: of `optimizers.OPTIMIZERS`.
        learning_rate: at its highest; 0 takes the optimizer's default, see `optimizers.highest_rate`.
        weight_decay: decoupled for AdamW, part of the gradient for SGD.
        momentum: of SGD.
        accumulate: batches a step, whose gradients are added.
        clip_norm: highest norm of the gradients; 0 does not clip.
    """

    optimizer: str = "adamw"
    learning_rate: float = 0.0
    weight_decay: float = 1e-4
    momentum: float = 0.9
    accumulate: int = 1
    clip_norm: float = 1.0


@dataclass(frozen=True)
class ScheduleSettings:
    """How long it goes on, and at what rate.

    Attributes:
        epochs: passes over the training images, at most.
        schedule: of `schedules.SCHEDULES`.
        warmup: see `schedules.warm_up_steps`.
        patience: epochs without a better score after which a run stops; 0 never does.
        ema: decay of the moving average of the weights, see `ema.py`; 0 keeps none.
    """

    epochs: int = 40
    schedule: str = "poly"
    warmup: str = "auto"
    patience: int = 0
    ema: float = 0.0


@dataclass(frozen=True)
class ImbalanceSettings:
    """What counts how much.

    Attributes:
        loss: a key of `losses.LOSSES`.
        focal_gamma: of the focal loss.
        balanced_sampling: whether images of rare classes are drawn more often, see `data/balance.py`.
    """

    loss: str = "cross-entropy"
    focal_gamma: float = 2.0
    balanced_sampling: bool = False


@dataclass(frozen=True)
class WatchSettings:
    """What is kept while it trains, beside checkpoints and history; none of it changes the run.

    Attributes:
        snapshot_epochs: segmentation: epochs whose masks are kept, such as `1,10,last`; see `snapshots.py`.
        snapshot_tiles: segmentation: names of the validation tiles; empty takes a few.
        score_training: training images that are scored after each epoch; 0 scores none.
        tensorboard: whether event files are written.
    """

    snapshot_epochs: str = ""
    snapshot_tiles: tuple[str, ...] = ()
    score_training: int = 0
    tensorboard: bool = False


@dataclass(frozen=True)
class ComputeSettings:
    """Where and in what it is computed.

    Attributes:
        device: `auto`, `cpu`, `cuda`.
        amp: a key of `precision.AMP`.
        channels_last: whether weights lie in memory with their channels last, which is quicker on most machines.
        workers: processes that decode, of each that trains; 0 decodes in the training process.
        sync_batchnorm: whether several processes, on GPUs, take batch normalisation's statistics over all of a batch together;
            else each takes those of its share.
    """

    device: str = "auto"
    amp: str = "off"
    channels_last: bool = True
    workers: int = 1
    sync_batchnorm: bool = False
