"""DeepLabv3: the auxiliary head, the pyramid, batches of one, published names; and the levels of the U-Net."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcv.train.models import create_model

NAME = "deeplabv3-resnet101"


def narrow(auxiliary: bool) -> nn.Module:
    torch.manual_seed(0)
    return create_model(NAME, width=0.05, options={"auxiliary": auxiliary})


def test_the_auxiliary_head_speaks_in_training_alone() -> None:
    model, images = narrow(auxiliary=True), torch.randn(2, 3, 33, 47)
    logits, second = model.train()(images)
    assert logits.shape == second.shape == (2, 7, 33, 47) and not torch.equal(logits, second)
    (logits.square().mean() + 0.4 * second.square().mean()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    with torch.no_grad():
        assert model.eval()(images).shape == (2, 7, 33, 47)


def test_without_it_training_gives_logits_alone() -> None:
    model = narrow(auxiliary=False)
    assert model.train()(torch.randn(2, 3, 33, 33)).shape == (2, 7, 33, 33)
    assert not [name for name in model.state_dict() if name.startswith("aux_classifier.")]


def test_a_batch_of_one_is_refused_in_training() -> None:
    model, image = narrow(auxiliary=False), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"batch of 1 image to train on, expected 2 at least: .*drop a last one of 1$"):
        model.train()(image)
    with torch.no_grad():
        assert model.eval()(image).shape == (1, 7, 32, 32)


def test_output_stride_and_rates() -> None:
    with torch.device("meta"):
        model = create_model(NAME).eval()
        assert model.backbone(torch.empty(1, 3, 512, 512)).shape == (1, 2048, 64, 64)
    branches = model.classifier[0].convs
    assert [branch[0].dilation[0] for branch in list(branches)[:4]] == [1, 12, 24, 36]


def test_image_pooling_says_the_same_everywhere() -> None:
    pooling = narrow(auxiliary=False).eval().classifier[0].convs[4]
    x = torch.randn(2, pooling[1].in_channels, 5, 7)
    with torch.no_grad():
        y = pooling(x)
    assert y.shape[2:] == (5, 7)
    # bilinear weights of one pixel add up to 1 but for a rounding
    assert torch.allclose(y, y[..., :1, :1].expand_as(y), rtol=1e-6, atol=0)
    with torch.no_grad():
        shuffled = pooling(x.flatten(2)[..., torch.randperm(35)].reshape(x.shape))
    assert torch.allclose(shuffled, y, atol=1e-5)  # a mean of 35 values in another order


def test_a_published_resnet101_is_the_backbone() -> None:
    with torch.device("meta"):
        resnet, model = create_model("resnet101", 1000), create_model(NAME, options={"auxiliary": True})
    taken = model.from_published(resnet.state_dict())
    own = {name: tensor.shape for name, tensor in model.state_dict().items() if name.startswith("backbone.")}
    assert {name: tensor.shape for name, tensor in taken.items()} == own
    whole = model.from_published(model.state_dict())
    assert list(whole) == list(model.state_dict())


def test_the_levels_of_the_u_net() -> None:
    seen = []
    with torch.device("meta"):
        model = create_model("unet")
        for block in [*model.down, *model.join]:
            block.register_forward_hook(lambda _l, x, y: seen.append((x[0].shape[1], *y.shape[1:])))
        model(torch.empty(2, 3, 64, 96))
    assert seen == [
        (3, 64, 64, 96), (64, 128, 32, 48), (128, 256, 16, 24), (256, 512, 8, 12), (512, 1024, 4, 6),
        (1024, 512, 8, 12), (512, 256, 16, 24), (256, 128, 32, 48), (128, 64, 64, 96),
    ]  # fmt: skip
