"""The models that torchvision has too, against numbers that its code gave.

Hashes and outputs were computed once with torchvision 0.29.2's own files `models/resnet.py`, `densenet.py`, `vgg.py` and
`segmentation/deeplabv3.py` (torch 2.13, float32, one CPU), with the weights of `fill`. Ours were compared with them directly as
well: the same names, shapes and order, the same fresh weights from the same seed for the ResNets, and a largest difference of 0
of outputs (in evaluation and training) and gradients. torchvision is needed for none of this here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from dlcv.train.models import create_model
from dlcv.train.models.vgg import vgg16_features

TABLE = torch.tensor([pow(5, j, 10007) for j in range(10006)], dtype=torch.float64) / 10007 - 0.5
"""A permutation that looks like noise: 5 is a primitive root of 10007. Mean 0, from -0.5 to 0.5, variance 1 / 12."""

STATE = {
    "resnet18": "02568eab318c210f0d857b7e345cc37b86e30b66a49663acb8af1653c0d25830",
    "resnet34": "bf4f10c2aed3801430de878dec76694c8fbd51965391a9aec02e066f3647d487",
    "resnet50": "45c8e0b2d327f1cd29b3d1181bb5f512060349c9662ceb382b545cf1d108ac62",
    "resnet101": "b10771e22bd494ebcfaed03f8575a8a04191209f3e4e61de75b06576547cdbfa",
    "resnet152": "07011cff596aabda1096e8c7bcdb0ef24119648f1a896ce7845b8b5aad2664fd",
}
"""`state_hash` of torchvision's ResNets at 1000 classes."""

DEEPLAB_STATE = "e047fc937e85310350970b0d469d4dfeb7369fa6f1ea2c41b3037be00229365e"
DENSENET_STATE = "81ceab2784970d58d31fe5e55b182c2e22c6a856bcb59981d579437d2cd3006b"
VGG16_STATE = "65ac6d243fd1be4f8655a555b63d46deb488d465b14e719ca0cad29ecb16d8cd"
"""Of `deeplabv3_resnet101(num_classes=7, aux_loss=True)`, of `densenet201().features`, of `vgg16().features`."""

LOGITS = {
    "resnet18": [-22.5909, 30.8086, 30.1657, 15.9774, -22.4858, -8.4405, -6.98274],
    "resnet34": [-39.4607, 145.565, -121.945, 105.649, -27.142, -314.32, -192.935],
    "resnet50": [7.79359, 21.0541, 1.93005, 10.5815, -18.206, -46.2625, 53.6502],
    "resnet101": [-5052.59, 1353.24, -239.542, -3746.35, -113.751, -898.825, 405.761],
    "resnet152": [-37778.2, -67778.4, -42160.7, 57449.9, -151818, 163574, -52039.9],
}
"""Of torchvision's ResNets at 7 classes, filled, for `image(75, 64)`."""


def noise(shape: torch.Size | tuple[int, ...], number: int) -> Tensor:
    """float64 values of `TABLE` in this shape, from another place in it for each `number`."""
    count = math.prod(shape)
    start = 37 * number % len(TABLE)
    return TABLE.repeat((start + count) // len(TABLE) + 1)[start : start + count].reshape(shape)


def fill(model: nn.Module) -> nn.Module:
    """Gives every tensor of a model values that depend on its place in the state dict alone; evaluation mode."""
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            continue
        values = noise(tensor.shape, number)
        if tensor.ndim > 1:
            values *= math.sqrt(24 / math.prod(tensor.shape[1:]))  # the variance of He et al. 2015
        elif kind == "weight":
            values = (
                0.75 + 0.5 * values
            )  # below 1 on average, so that a hundred residual blocks do not add up to infinity
        elif kind == "running_var":
            values = 1 + values
        else:
            values *= 0.2
        tensor.copy_(values)
    return model.eval()


def filled(name: str, **options: bool) -> nn.Module:
    """At width 1 with 7 classes, without the time that fresh weights take."""
    with torch.device("meta"):
        model = create_model(name, 7, options=options)
    return fill(model.to_empty(device="cpu"))


def image(height: int, width: int) -> Tensor:
    """float32 (1, 3, height, width) from -2 to 2."""
    return 4 * noise((1, 3, height, width), 5000).float()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a line a tensor in the state dict's order: its name and shape."""
    lines = [f"{name} {list(tensor.shape)}\n" for name, tensor in state.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def close(values: Tensor, expected: list[float]) -> bool:
    """To six printed digits and float32 sums that another machine orders otherwise: 1e-4 of the largest value. Two images of
    noise differ by some 2e-2 of it.
    """
    wanted = torch.tensor(expected)
    return torch.allclose(values, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(("name", "expected"), STATE.items())
def test_names_shapes_and_order_of_the_resnets(name: str, expected: str) -> None:
    with torch.device("meta"):
        assert state_hash(create_model(name, 1000).state_dict()) == expected


def test_names_shapes_and_order_of_the_others() -> None:
    with torch.device("meta"):
        deeplab = create_model("deeplabv3-resnet101", options={"auxiliary": True})
        densenet, vgg16 = create_model("densenet201-mlp").features, vgg16_features()
    assert state_hash(deeplab.state_dict()) == DEEPLAB_STATE
    assert state_hash(densenet.state_dict()) == DENSENET_STATE  # type: ignore[operator]
    assert state_hash(vgg16.state_dict()) == VGG16_STATE


@pytest.mark.parametrize(("name", "expected"), LOGITS.items())
def test_logits_of_the_resnets(name: str, expected: list[float]) -> None:
    model = filled(name)
    with torch.inference_mode():
        assert close(model(image(75, 64))[0], expected)
        assert not close(model(image(75, 64).flip(3))[0], expected)


def test_the_stride_of_the_paper_is_another_function() -> None:
    model = filled("resnet50", stride_in_1x1=True)
    with torch.inference_mode():
        assert not close(model(image(75, 64))[0], LOGITS["resnet50"])


def test_logits_of_deeplabv3_and_its_auxiliary_head() -> None:
    model = filled("deeplabv3-resnet101", auxiliary=True)
    model.training = True  # its normalisations and dropouts stay in evaluation mode
    with torch.inference_mode():
        logits, auxiliary = model(image(65, 81))
    assert close(logits[0, :, 40, 17], [302.293, 2442.88, 356.264, 1325.99, 2813.73, 787.93, -430.831])
    assert close(logits[0, :, 2, 70], [-230.589, 954.976, -98.2356, 413.103, 1489.25, -16.9822, -820.26])
    assert close(auxiliary[0, :, 40, 17], [978.59, 1808.01, 1978.47, 1105.57, -864.797, 1396.56, -922.416])


def test_features_of_densenet201() -> None:
    model = create_model("densenet201-mlp")
    fill(model.features)  # type: ignore[arg-type]
    model.eval().classifier = nn.Identity()
    with torch.inference_mode():
        features = model(image(48, 48))[0]
    assert features.shape == (1920,)
    assert close(features[::320], [0, 0, 0, 0.0574577, 0, 0.337125])
    assert close(features[:6], [0, 0.0493679, 0.356058, 0.209016, 0.516083, 0])


def test_features_of_vgg16() -> None:
    with torch.inference_mode():
        features = fill(vgg16_features())(image(64, 64))
    assert close(features[0, :7, 1, 0], [9.89351, 0, 7.74871, 16.6208, 4.9784, 9.156, 0])
