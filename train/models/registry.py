"""Every model by name. A new model is one file and one line here.

The table names modules without importing them, so that a command can list the models without loading torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from dlcv.runtime.card.card import MAX_CLASSES
from dlcv.runtime.errors import UsageError, reason_of
from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB

if TYPE_CHECKING:
    from torch import nn

PUBLISHED_BASE = "https://download.pytorch.org/models/"
"""Where torchvision's weights are published; a file's name ends in the start of its SHA-256."""


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is and what it is for.

    Attributes:
        home: `module:callable`; a class or function that takes `classes`, `width` and the model's own options by keyword.
        task: `segmentation` or `classification`.
        size_divisor: height and width of an image must be multiples of it.
        summary: a line for lists.
        published: URL of torchvision's ImageNet weights (IMAGENET1K_V1) that the model can start from; empty when there are none.
        own: whether it is the user's, from a file of theirs (`own.py`).
        mean_rgb, std_rgb: what images are normalised with, by channel, in 8-bit levels (0..255).
    """

    home: str
    task: str
    size_divisor: int
    summary: str
    published: str = ""
    own: bool = False
    mean_rgb: tuple[float, float, float] = IMAGENET_MEAN_RGB
    std_rgb: tuple[float, float, float] = IMAGENET_STD_RGB


def _segmentation(home: str, size_divisor: int, summary: str, published: str = "") -> ModelEntry:
    url = PUBLISHED_BASE + published if published else ""
    return ModelEntry(f"dlcv.train.models.{home}", "segmentation", size_divisor, summary, url)


def _classification(home: str, summary: str, published: str = "") -> ModelEntry:
    url = PUBLISHED_BASE + published if published else ""
    return ModelEntry(f"dlcv.train.models.{home}", "classification", 1, summary, url)


MODELS = {
    "fcn8s": _segmentation("fcn:Fcn8s", 32, "VGG16-FCN8s, 2x2 head", "vgg16-397923af.pth"),
    "fcn32s": _segmentation("fcn:Fcn32s", 32, "VGG16-FCN32s, 2x2 head", "vgg16-397923af.pth"),
    "fcn32s-fc7x7": _segmentation("fcn:Fcn32sFc7x7", 32, "VGG16-FCN32s, 7x7 head", "vgg16-397923af.pth"),
    "fcn32s-fc1x1": _segmentation("fcn:Fcn32sFc1x1", 32, "VGG16-FCN32s, 1x1 head", "vgg16-397923af.pth"),
    "unet": _segmentation("unet:UNet", 16, "U-Net, 5 levels"),
    "deeplabv3-resnet101": _segmentation(
        "deeplab:DeepLabV3ResNet101", 1, "DeepLabv3 on ResNet-101, output stride 8", "resnet101-63fe2227.pth"
    ),
    "resnet18": _classification("resnet:resnet18", "ResNet-18", "resnet18-f37072fd.pth"),
    "resnet34": _classification("resnet:resnet34", "ResNet-34", "resnet34-b627a593.pth"),
    "resnet50": _classification("resnet:resnet50", "ResNet-50", "resnet50-0676ba61.pth"),
    "resnet101": _classification("resnet:resnet101", "ResNet-101", "resnet101-63fe2227.pth"),
    "resnet152": _classification("resnet:resnet152", "ResNet-152", "resnet152-394f9c45.pth"),
    "densenet201-mlp": _classification(
        "densenet:DenseNet201Mlp", "DenseNet-201 with an MLP head", "densenet201-c1103571.pth"
    ),
    "cnn3": _classification("cnn:Cnn3", "plain CNN, 3 convolutions"),
}


def list_models(task: str | None = None) -> list[str]:
    """The names that `create_model` knows, in order; those of one task when it is named.

    Raises:
        UsageError: for an unknown task.
    """
    if task is not None and task not in MAX_CLASSES:
        raise UsageError(f"unknown task {task!r}; known tasks: {', '.join(MAX_CLASSES)}")
    return sorted(name for name, entry in MODELS.items() if task in (None, entry.task))


def model_entry(name: str) -> ModelEntry:
    """The entry of a model.

    Raises:
        UsageError: for an unknown name; lists the known ones.
    """
    if name not in MODELS:
        raise UsageError(
            f"unknown model {name!r}; known models: {', '.join(list_models())}; one of your own is known with --model-file FILE.py"
        )
    return MODELS[name]


def create_model(
    name: str, classes: int = 7, width: float = 1.0, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Builds a model with fresh weights.

    Args:
        name: one of `list_models()`.
        classes: how many classes it tells apart, 1..256 for segmentation, 1..10000 for classification.
        width: factor on the channels of the published network, above 0 and at most 4; 1.0 gives the network as published.
        options: the model's own keywords, `{"stride_in_1x1": True}` for a ResNet, say.

    Returns:
        A module that takes normalised float (N, 3, H, W), RGB, and returns logits: float (N, classes, H, W) for segmentation,
        float (N, classes) for classification.

    Raises:
        UsageError: for an unknown name or option, an option of another type, or numbers out of range.
    """
    entry = model_entry(name)
    most = MAX_CLASSES[entry.task]
    if not 1 <= classes <= most:
        raise UsageError(f"classes is {classes}, expected 1 to {most}")
    if not 0 < width <= 4:
        raise UsageError(f"width is {width}, expected above 0 and at most 4; 1.0 is the published network")
    module, _, attribute = entry.home.partition(":")
    build: Callable[..., nn.Module] = getattr(import_module(module), attribute)
    given = dict(options or {})
    _check_options(name, build, given)
    return _own(name, build, classes, width, given) if entry.own else build(classes=classes, width=width, **given)


def _own(name: str, build: Callable[..., nn.Module], classes: int, width: float, given: dict[str, Any]) -> nn.Module:
    """A model whose code is the user's: it need not have a width, and what goes wrong in it is told in a line."""
    parameters = signature(build).parameters
    if "classes" not in parameters:
        raise UsageError(
            f"{name} does not take classes; expected def __init__(self, classes), and width where it has one"
        )
    if "width" in parameters:
        given["width"] = width
    elif width != 1.0:
        raise UsageError(f"{name} has no width; leave --width out, or let it take one")
    from torch import nn

    try:
        model = build(classes=classes, **given)
    except Exception as error:
        raise UsageError(f"{name} cannot be made: {type(error).__name__}: {reason_of(error)}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{name} makes a {type(model).__name__}, expected a torch.nn.Module")
    return model


def _check_options(name: str, build: Callable[..., nn.Module], given: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that `build` does not take, or of another type than it declares."""
    try:
        parameters = signature(build, eval_str=True).parameters
    except NameError:  # a user's annotation that is there for a type checker alone
        parameters = signature(build).parameters
    known = {key: p.annotation for key, p in parameters.items() if key not in ("classes", "width")}
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"{name} has no option {key!r}; known options: {', '.join(known) or 'none'}")
        if known[key] is Parameter.empty or not isinstance(known[key], type):
            continue  # a user's network need not declare it, or not as one class
        # an int may stand for a float; a bool, which Python counts as an int, may not stand for a number
        allowed = (int, float) if known[key] is float else (known[key],)
        if type(value) not in allowed:
            raise UsageError(
                f"option {key} of {name} is {value!r}, a {type(value).__name__}; expected a {known[key].__name__}"
            )
