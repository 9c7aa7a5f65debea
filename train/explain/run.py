"""From a checkpoint and labelled images to the feature pictures and their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import DatasetError, MissingPackageError
from dlcv.runtime.files import make_folder
from dlcv.runtime.progress import Progress
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.checkpoints.session import torch_device
from dlcv.train.explain.choice import chosen_examples
from dlcv.train.explain.draw_features import draw_tsne
from dlcv.train.explain.draw_filters import draw_filters
from dlcv.train.explain.draw_saliency import draw_saliency
from dlcv.train.explain.draw_weights import draw_weights
from dlcv.train.explain.layers import Layer, chosen_layers, classifier_of, layers_of
from dlcv.train.explain.observation import Observation, observe
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.explain.subject import Subject
from dlcv.train.pictures.picture import Picture

IMAGES = {"classification": 1000, "segmentation": 200}
"""How many are read where the options do not say."""

PACKAGES = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def explain(
    checkpoint: Path,
    data: LabelledSet[Any],
    folder: Path,
    options: ExplainOptions | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Picture]:
    """Draws what a model has learnt; the checkpoint is read and not changed.

    Args:
        checkpoint: a `best.pt` or `last.pt` of any model of the registry.
        data: labelled images with the model's classes, best those that it was not trained on.
        folder: takes the pictures and their data; made if it is missing.
        options: which and how much; None for all with their defaults.
        say: takes lines about what could not be drawn.

    Returns:
        The pictures, in the order in which they explain each other: weights, t-SNE, saliency, a picture for each layer.

    Raises:
        CheckpointError: when the checkpoint cannot be used.
        DatasetError: when the data has other classes or no image, or an image cannot be read.
        UsageError: for a layer that the model does not have, or a device that is not there.
        MissingPackageError: without matplotlib or scikit-learn.
        OutputError: when a file cannot be written.
    """
    options = options or ExplainOptions()
    _require_packages(options)
    subject = open_subject(checkpoint, options.device)
    data.require_same_classes(subject.card)
    if not data.examples:
        raise DatasetError(f"the dataset {data.name} has no image; expected some to look at")
    layers = layers_of(subject.model, subject.card.input_size_hw)
    chosen = chosen_layers(subject.card.model, layers, options.layers) if "filters" in options.kinds else []
    make_folder(folder)

    pictures: list[Picture] = []
    if "weights" in options.kinds:
        pictures += draw_weights(subject, layers, folder, say)
    observation = _observe(subject, data, classifier_of(subject.card.model, layers), chosen, options)
    if "tsne" in options.kinds:
        pictures += draw_tsne(subject, data, observation.features, folder, options, say)
    if "saliency" in options.kinds:
        examples = chosen_examples(data, options.saliency_images, options.seed)
        pictures += draw_saliency(subject, data, examples, folder, options)
    if chosen:
        with Progress(_steps(chosen, options), "inputs for filters") as progress:
            for layer in chosen:
                pictures += draw_filters(subject, data, layer, observation, folder, options, progress.advance)
    return pictures


def open_subject(checkpoint: Path, device: str) -> Subject:
    """Reads a checkpoint onto a device.

    Raises:
        CheckpointError: when it cannot be used.
        UsageError: for a device that is not there.
    """
    where = torch_device(device)
    read = load_checkpoint(checkpoint)
    return Subject(model_from_checkpoint(read).to(where), read.card, where)


def _observe(
    subject: Subject, data: LabelledSet[Any], classifier: Layer, layers: Sequence[Layer], options: ExplainOptions
) -> Observation:
    if not layers and "tsne" not in options.kinds:
        return observe(subject, data, [], classifier)
    examples = chosen_examples(data, options.images or IMAGES[data.task], options.seed)
    with Progress(len(examples), "looking at images") as progress:
        return observe(subject, data, examples, classifier, layers, top=options.top, advance=progress.advance)


def _steps(layers: Sequence[Layer], options: ExplainOptions) -> int:
    from dlcv.train.explain.maximisation import AT_ONCE

    return sum(-(-min(options.filters, layer.channels) // AT_ONCE) * options.steps for layer in layers)


def _require_packages(options: ExplainOptions) -> None:
    """Before the work, not after it."""
    for module, package in PACKAGES.items():
        if find_spec(module) is None and (module != "sklearn" or "tsne" in options.kinds):
            raise MissingPackageError(package, "draw feature pictures", "pip install 'dlcv-edge[report]'")
