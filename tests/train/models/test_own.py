"""Networks of the user's own: which a file has, what is wrong with them in a line, and that nothing else runs code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dlcv.runtime.errors import UsageError
from dlcv.train.models import create_model
from dlcv.train.models.own import use_models
from dlcv.train.models.registry import MODELS, model_entry
from dlcv.train.models.requirements import require_logits

HEAD = "import torch\nfrom torch import nn\n"
NET = (
    HEAD
    + """
class Net(nn.Module):
    task = "segmentation"
    size_divisor = 4
    mean_rgb, std_rgb = (0, 0, 0), (255, 255, 255)

    def __init__(self, classes, channels: int = 8, loose=None):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, image):
        return self.head(self.conv(image))


class Wide(nn.Sequential):
    task, model_name, summary = "classification", "wide-net", "of the test"

    def __init__(self, classes, width):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
        self.width = width


def small(classes):
    return Net(classes, 2)


small.task = "segmentation"


class Without(nn.Module):
    pass
"""
)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    known, path, modules = dict(MODELS), list(sys.path), set(sys.modules)
    yield
    MODELS.clear()
    MODELS.update(known)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("dlcv_models_"):
            del sys.modules[name]


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NET)
    return path


def test_what_is_marked_is_known_by_its_name(nets: Path) -> None:
    assert use_models(nets) == ["net", "wide-net", "small"]
    net, wide = model_entry("net"), model_entry("wide-net")
    assert (net.task, net.size_divisor, net.mean_rgb, net.std_rgb) == ("segmentation", 4, (0, 0, 0), (255, 255, 255))
    assert (wide.task, wide.size_divisor, wide.summary) == ("classification", 1, "of the test")
    assert wide.mean_rgb == MODELS["unet"].mean_rgb and wide.own and not MODELS["unet"].own
    model = create_model("net", classes=5, options={"channels": 6})
    assert model.head.weight.shape == (5, 6, 1, 1)
    assert create_model("wide-net", classes=3, width=0.5).width == 0.5
    assert create_model("small", classes=2).conv.out_channels == 2
    assert use_models(nets) == ["net", "wide-net", "small"], "again, the same"


def test_options_without_a_type_are_the_networks_own_matter(nets: Path) -> None:
    use_models(nets)
    create_model("net", classes=2, options={"loose": "anything"})
    with pytest.raises(UsageError, match="net has no option 'depth'; known options: channels, loose"):
        create_model("net", classes=2, options={"depth": 3})
    with pytest.raises(UsageError, match="option channels of net is 'x', a str; expected a int"):
        create_model("net", classes=2, options={"channels": "x"})


def test_a_network_without_width_has_none(nets: Path) -> None:
    use_models(nets)
    with pytest.raises(UsageError, match=r"^net has no width; leave --width out, or let it take one$"):
        create_model("net", classes=2, width=0.5)


def test_files_beside_it_are_imported_and_take_no_packages_place(tmp_path: Path) -> None:
    (tmp_path / "blocks_of_mine.py").write_text(NET)
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "nets.py").write_text("import json\nfrom blocks_of_mine import Net\njson.dumps(1)\n")
    (tmp_path / "an_optional_package").mkdir()  # which some library looks for later
    before = list(sys.path)
    assert use_models(tmp_path / "nets.py") == ["net"]
    assert sys.path == before
    with pytest.raises(ModuleNotFoundError):
        __import__("an_optional_package")


MARKED = HEAD + "class Net(nn.Module):\n    task = 'segmentation'\n    "


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, r"^there is no file .*nets.py; --model-file expects a Python file with models$"),
        ("import torch\nx = (\n", r"nets.py: SyntaxError: "),
        ("import torch\n\n1 / 0\n", r"nets.py, line 3: ZeroDivisionError: division by zero$"),
        ("raise SystemExit('enough')", r"nets.py, line 1: SystemExit: enough$"),
        ("import no_such_package", r"nets.py, line 1: ModuleNotFoundError: No module named 'no_such_package'$"),
        (HEAD + "class Net(nn.Module): pass", r"nets.py has no model; expected a class with task = \"segmentation\" or"),
        (HEAD + "class Net(nn.Module):\n    task = 'detection'", r"Net in .* has task = 'detection', expected 'segmentation' or 'classification'$"),
        (MARKED + "model_name = '../x'", r"Net in .* is called '../x'; expected small letters"),
        (MARKED + "model_name = 'unet'", r"Net in .* is called unet, as a model that is known already"),
        (MARKED + "size_divisor = 0", r"size_divisor = 0, expected a whole number from 1$"),
        (MARKED + "mean_rgb = (1, 2)", r"mean_rgb = \(1, 2\), expected three numbers in 8-bit levels"),
        (MARKED + "mean_rgb = 'abc'", r"mean_rgb = 'abc', expected three numbers"),
        (MARKED + "std_rgb = (1, 0, 1)", r"std_rgb = \(1.0, 0.0, 1.0\), expected numbers above 0$"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_a_line(tmp_path: Path, code: str | None, said: str) -> None:
    known = dict(MODELS)
    if code is not None:
        (tmp_path / "nets.py").write_text(code)
    with pytest.raises(UsageError, match=said) as raised:
        use_models(tmp_path / "nets.py")
    assert "\n" not in str(raised.value)
    assert known == MODELS, "nothing of it is known"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def __init__(self): super().__init__()", r"^net does not take classes; expected def __init__\(self, classes\)"),
        ("def __init__(self, classes): raise RuntimeError('two\\nlines')", r"^net cannot be made: RuntimeError: two\\nlines$"),
        ("def __new__(cls, classes): return 7", r"^net makes a int, expected a torch.nn.Module$"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_a_line(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "nets.py").write_text(MARKED + body)
    use_models(tmp_path / "nets.py")
    with pytest.raises(UsageError, match=said):
        create_model("net", classes=2)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("self.head(image)", None),
        ("(self.head(image), self.head(image)) if self.training else self.head(image)", None),
        ("{'out': self.head(image)}", r"gives a dict for 2 images of 8 x 8, expected logits: a float tensor \(2, 5, 8, 8\)$"),
        ("self.head(image)[..., ::2, ::2]", r"gives a tensor of float32 \(2, 5, 4, 4\) for 2 images of 8 x 8"),
        ("self.head(image).argmax(1)", r"gives a tensor of int64 \(2, 8, 8\)"),
        ("(self.head(image), 1) if self.training else self.head(image)", r"gives a int for 2 images"),
        ("self.head(image.flatten())", r"^net cannot be run on images of 8 x 8: RuntimeError: "),
    ],
)  # fmt: skip
def test_what_it_gives_is_held_to_logits(tmp_path: Path, returned: str, said: str | None) -> None:
    init = "def __init__(self, classes):\n        super().__init__()\n        self.head = nn.Conv2d(3, classes, 1)\n"
    (tmp_path / "nets.py").write_text(MARKED + init + f"\n    def forward(self, image):\n        return {returned}\n")
    use_models(tmp_path / "nets.py")
    model = create_model("net", classes=5)
    if said is None:
        require_logits(model, "net", 5, 8)
        assert model.training
        return
    with pytest.raises(UsageError, match=said):
        require_logits(model, "net", 5, 8)


def test_a_classifier_gives_a_row_an_image(nets: Path) -> None:
    use_models(nets)
    require_logits(create_model("wide-net", classes=4), "wide-net", 4, 8)
    with pytest.raises(UsageError, match=r"^wide-net has no parameters: there is nothing to train$"):
        require_logits(torch.nn.Flatten(), "wide-net", 4, 8)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Flatten())
    with pytest.raises(UsageError, match=r"wide-net gives a tensor of float32 \(2, 192\) for 2 images of 8 x 8, .*\(2, 4\)"):  # fmt: skip
        require_logits(model, "wide-net", 4, 8)
