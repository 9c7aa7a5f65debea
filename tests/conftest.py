"""What several test files share: a tiny model with its checkpoint, probe and graphs, and a folder of tiles.

Heavy imports stand inside the fixtures: tests that need no torch do not load it. Where torch is not installed, the fixtures
give what `tests/lean/test_keep.py` kept in the folder that DLCV_TINY names, so that the runtime is tested without torch.
"""

from __future__ import annotations

import faulthandler
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlcv.benchmarks.programs.startup import COMMANDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from dlcv.runtime.card.card import ModelCard

with suppress(ModuleNotFoundError):  # GPU machines may lack it: what runs there does without
    import hypothesis

    hypothesis.settings.register_profile("dlcv", deadline=None)  # a busy machine is no finding
    hypothesis.settings.load_profile("dlcv")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads cost more than they give

TINY_HW = (64, 64)
TINY_WIDTH = 0.05
PROBE_SCENES = 6

TRANSLATED = "DLCV_TRANSLATED"
"""Names the folder that `exported_graphs.py` shares between the processes of a run."""

LEAN = importlib.util.find_spec("torch") is None

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]
WriteTile = Callable[[Path, "NDArray[np.uint8]"], None]


def kept(name: str) -> Path:
    """What a Python with torch kept under that name for one without."""
    folder = os.environ.get("DLCV_TINY")
    if not folder:
        pytest.skip("torch is not installed, and DLCV_TINY names no folder that tests/lean/test_keep.py filled")
    return Path(folder) / name


@pytest.fixture(scope="session")
def tiny_scenes() -> list[NDArray[np.uint8]]:
    """Generated scenes, uint8 (64, 64, 3), RGB."""
    from dlcv.train.data.scenes import make_scene

    return [make_scene(0, index, TINY_HW[0], split="validation")[0] for index in range(PROBE_SCENES)]


@pytest.fixture(scope="session")
def tiny_card() -> ModelCard:
    """The card of the tiny model's checkpoint: DeepGlobe's 7 classes, 64 x 64, head `none`."""
    if LEAN:
        from dlcv.runtime.card.reader import read_card

        return read_card(kept("run") / "best.pt")
    from dlcv.runtime.card.card import ModelCard
    from dlcv.runtime.datasets.masks.description import load_description
    from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB

    description = load_description("deepglobe")
    return ModelCard(
        model="fcn8s",
        width=TINY_WIDTH,
        task="segmentation",
        classes=description.classes,
        palette=description.palette,
        uncounted=description.uncounted,
        input_size_hw=TINY_HW,
        mean_rgb=IMAGENET_MEAN_RGB,
        std_rgb=IMAGENET_STD_RGB,
        versions={"dlcv": "test"},
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_card: ModelCard, tiny_scenes: list[NDArray[np.uint8]]) -> nn.Module:
    """A narrow fcn8s in evaluation mode with seeded random weights, whose logits are scaled so that it predicts many classes."""
    if LEAN:
        pytest.skip("torch is not installed")
    import torch

    from dlcv.train.models import create_model

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        model = create_model("fcn8s", classes=len(tiny_card.classes), width=TINY_WIDTH).eval()
        for skip in (model.score_pool3, model.score_pool4):
            torch.nn.init.kaiming_normal_(skip.weight, nonlinearity="relu")
        logits = _logits(model, tiny_card, tiny_scenes)
        deviation = logits.std((0, 2, 3))
        for layer in (model.score, model.score_pool3, model.score_pool4):
            layer.weight.div_(deviation.view(-1, 1, 1, 1))
        model.score.bias.sub_(_logits(model, tiny_card, tiny_scenes).mean((0, 2, 3)))
    predicted = _logits(model, tiny_card, tiny_scenes).argmax(1).unique()
    assert len(predicted) >= 4, f"the tiny model predicts {len(predicted)} classes: too few to test with"
    return model


@pytest.fixture(scope="session")
def tiny_masks(
    request: pytest.FixtureRequest, tiny_card: ModelCard, tiny_scenes: list[NDArray[np.uint8]]
) -> list[NDArray[np.uint8]]:
    """What torch predicts on `tiny_scenes`, uint8 (64, 64)."""
    if LEAN:
        import numpy as np

        return list(np.load(kept("masks.npy")))
    tiny_model = request.getfixturevalue("tiny_model")
    return list(_logits(tiny_model, tiny_card, tiny_scenes).argmax(1).byte().numpy())


@pytest.fixture(scope="session")
def tiny_data(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: list[NDArray[np.uint8]], tiny_masks: list[NDArray[np.uint8]]
) -> Path:
    """Labelled tiles as DeepGlobe's, on which the tiny model is good: a label is its prediction with one pixel in five drawn anew."""
    import cv2
    import numpy as np

    from dlcv.runtime.datasets.masks.description import load_description

    folder = tmp_path_factory.mktemp("tiny-data")
    description = load_description("deepglobe")
    palette, rng = np.array(description.palette, np.uint8), np.random.default_rng(5)
    for index, (image_rgb, mask) in enumerate(zip(tiny_scenes, tiny_masks)):
        noise = rng.integers(0, len(palette), mask.shape, np.uint8)
        label = np.where(rng.random(mask.shape) < 0.2, noise, mask)
        # PNG under the name of a JPEG: files are known by their content, and pixels stay those of `tiny_scenes`
        _, data = cv2.imencode(".png", np.ascontiguousarray(image_rgb[..., ::-1]))
        (folder / f"t{index}{description.image_suffix}").write_bytes(data.tobytes())
        cv2.imwrite(str(folder / f"t{index}{description.mask_suffix}"), np.ascontiguousarray(palette[label][..., ::-1]))
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_card: ModelCard
) -> Path:
    """`best.pt` in a folder as a run leaves it, with `probe/` beside it."""
    if LEAN:
        return kept("run") / "best.pt"
    tiny_model, tiny_data = request.getfixturevalue("tiny_model"), request.getfixturevalue("tiny_data")
    from dlcv.runtime.datasets.masks.description import load_description
    from dlcv.runtime.datasets.masks.pairs import find_pairs
    from dlcv.runtime.datasets.masks.tiles import SegmentationSet
    from dlcv.train.checkpoints.checkpoint import Checkpoint, save_checkpoint
    from dlcv.train.folder.probe import write_probe

    folder = tmp_path_factory.mktemp("tiny-run")
    description = load_description("deepglobe")
    digest = write_probe(folder / "probe", SegmentationSet(find_pairs(tiny_data, description), description))
    checkpoint = Checkpoint(tiny_card, tiny_model.state_dict(), description.to_dict(), digest, scores={"mean_iou": 0.5})
    save_checkpoint(folder / "best.pt", checkpoint)
    return folder / "best.pt"


@pytest.fixture(scope="session")
def tiny_graph(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_card: ModelCard,
    tiny_checkpoint: Path,
) -> Callable[[str], Path]:
    """head -> path of the tiny model's graph with that head, exported once; nothing lies beside it."""
    if LEAN:
        return lambda head: kept("graphs") / f"{head}.onnx"
    tiny_model = request.getfixturevalue("tiny_model")
    folder = tmp_path_factory.mktemp("tiny-onnx")
    digest = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()

    def graph(head: str) -> Path:
        path = folder / f"{head}.onnx"
        if not path.exists():
            from dlcv.export.onnx_from_checkpoint import onnx_from_model

            card = tiny_card.changed(head=head, checkpoint_sha256=digest)
            path.write_bytes(onnx_from_model(tiny_model, card).SerializeToString())
        return path

    return graph


@pytest.fixture(scope="session")
def tiny_onnx(tiny_graph: Callable[[str], Path]) -> Path:
    """The tiny model's graph with the head `mask`."""
    return tiny_graph("mask")


@pytest.fixture(scope="session")
def tiny_classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in a folder per class, 6 each of `tiny_colours.TINY_CLASSES`, 40 x 52 and 52 x 40: noise around a colour of the class."""
    import cv2
    from tiny_colours import TINY_CLASSES, coloured

    folder = tmp_path_factory.mktemp("tiny-classified")
    for number, (image_rgb, label) in enumerate(coloured(6, seed=1)):
        path = folder / TINY_CLASSES[label] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image_rgb[..., ::-1])
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory, tiny_classified: Path) -> Callable[[int], Path]:
    """Seed -> `best.pt` of a narrow cnn3, 32 x 32, that tells `TINY_CLASSES` apart, as a run leaves it with `probe/` beside it."""
    if LEAN:
        pytest.skip("torch is not installed")
    import torch
    from tiny_colours import TINY_CLASSES, trained_on_colours

    from dlcv.runtime.card.card import ModelCard
    from dlcv.runtime.datasets.loading import labelled_for
    from dlcv.train.checkpoints.checkpoint import Checkpoint, save_checkpoint
    from dlcv.train.folder.probe import write_probe
    from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB

    card = ModelCard(
        model="cnn3", width=0.1, task="classification", classes=TINY_CLASSES, palette=(), input_size_hw=(32, 32),
        mean_rgb=IMAGENET_MEAN_RGB, std_rgb=IMAGENET_STD_RGB, fit="centre-crop", short_side=36, versions={"dlcv": "test"},
    )  # fmt: skip
    made: dict[int, Path] = {}

    def classifier(seed: int) -> Path:
        if seed not in made:
            folder = tmp_path_factory.mktemp(f"tiny-classifier-{seed}")
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                weights = trained_on_colours(card).state_dict()
            labelled = labelled_for(card, tiny_classified)
            digest = write_probe(folder / "probe", labelled)
            made[seed] = folder / "best.pt"
            save_checkpoint(made[seed], Checkpoint(card, weights, labelled.description(), digest))
        return made[seed]

    return classifier


@pytest.fixture(scope="session")
def tiny_crops() -> NDArray[np.uint8]:
    """Images such as those of `tiny_classified`, 2 of each class, of the tiny classifier's size: uint8 (8, 32, 32, 3), RGB."""
    import numpy as np
    from tiny_colours import coloured

    return np.stack([image_rgb[4:36, 4:36] for image_rgb, _ in coloured(2, seed=2)])


@pytest.fixture
def tile_folder(tmp_path: Path, tiny_scenes: list[NDArray[np.uint8]], write_tile: WriteTile) -> Path:
    """Six 64 x 64 PNG tiles: a.png, b.png, sub/c.png, sub/d.png, sub/deep/e.png, sub/deep/f.png."""
    folder = tmp_path / "tiles"
    for key, image_rgb in zip(("a", "b", "sub/c", "sub/d", "sub/deep/e", "sub/deep/f"), tiny_scenes, strict=True):
        write_tile(folder / f"{key}.png", image_rgb)
    return folder


@pytest.fixture(scope="session")
def write_tile() -> WriteTile:
    """Writes uint8 (H, W, 3), RGB, as a PNG whatever the path's suffix says; makes its folders."""
    import cv2
    import numpy as np

    def write(path: Path, image_rgb: NDArray[np.uint8]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _, data = cv2.imencode(".png", np.ascontiguousarray(image_rgb[..., ::-1]))
        path.write_bytes(data.tobytes())

    return write


@pytest.fixture(scope="session")
def command_line() -> Callable[..., list[str]]:
    """Command and arguments -> argv of a process that runs it as its console script does; `before` is Python run first."""

    def argv(name: str, *arguments: Any, before: str = "") -> list[str]:
        # A shell starts what it puts into the background with SIGINT ignored; a person at a terminal does not.
        before = f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{before}"
        code = f"{before}\nimport sys\nfrom {COMMANDS[name]} import main\nsys.exit(main(prog_name={name!r}))"
        return [sys.executable, "-c", code, *map(str, arguments)]

    return argv


@pytest.fixture(scope="session")
def command_env() -> dict[str, str]:
    """The environment for `command_line`: the package is found from any working folder."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(scope="session")
def run_command(command_line: Callable[..., list[str]], command_env: dict[str, str]) -> RunCommand:
    """Runs a command such as `dlcv-infer` in a process of its own and returns how it ended."""

    def run(name: str, *arguments: Any, before: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(name, *arguments, before=before), check=False, capture_output=True, text=True,
            errors="surrogateescape", timeout=600, cwd=cwd, env=command_env,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def forks() -> Iterator[Any]:
    """Runs commands in forks of a process that has imported torch (see `fork_server.py`), one for all tests that ask for it."""
    from fork_server import fork_server

    with fork_server() as server:
        yield server


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser (see `chromium.py`), one process for all tests; skipped where there is none."""
    from chromium import Browser, find_chromium

    if (path := find_chromium()) is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    found = Browser(path, tmp_path_factory.mktemp("profile"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def browser(chromium: Any) -> Any:
    """A fresh page of it."""
    chromium.new_page()
    return chromium


def _logits(model: nn.Module, card: ModelCard, images: Sequence[NDArray[np.uint8]]) -> Any:
    import numpy as np
    import torch

    from dlcv.train.preprocess import normalise

    with torch.inference_mode():
        return model(normalise(torch.from_numpy(np.stack(images)), card.mean_rgb, card.std_rgb))


LONGEST_FIRST = (
    "test_docs", "contracts/test_exports", "train/processes/test_torchrun", "runtime/large/test_memory", "benchmarks/suite/test_plants",
    "faults/test_kill", "faults/test_refused", "faults/test_load", "faults/test_sigterm", "faults/test_disk_full",
    "export/precision/test_low_precision", "export/test_sizes", "test_planted_precision", "test_planted_faults_export",
    "test_planted_faults_parity", "export/cli/test_export", "runtime/run/test_interruption", "export/precision/test_auto",
    "export/precision/test_calibration", "export/test_classification", "benchmarks/gpu_suite/test_programs",
    "runtime/cli/test_infer", "runtime/run/test_inference_extras", "runtime/large/test_run",
)  # fmt: skip
"""Files of tests, by what they take of a core: begun first, none keeps one process at work when the others have nothing left."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    place = {Path(__file__).parent / f"{name}.py": number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes; run with pytest --long"))


def pytest_configure(config: pytest.Config) -> None:
    if TRANSLATED not in os.environ:  # xdist's processes have it of the one that starts them
        os.environ[TRANSLATED] = tempfile.mkdtemp(prefix="dlcv-translated-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(TRANSLATED), ignore_errors=True))
    if needed := os.environ.get("DLCV_NEEDS", "").split():
        from needs import insist

        insist(needed)


def pytest_runtest_setup(item: pytest.Item) -> None:
    from exported_graphs import translate_once
    from exporter_table import read_once

    read_once()
    if "torch" in sys.modules:
        translate_once(Path(os.environ[TRANSLATED]))
    if item.get_closest_marker("long"):
        faulthandler.cancel_dump_traceback_later()  # the limit of setup.cfg is for what takes seconds


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, too")
    parser.addoption("--wheel", default=None, help="folder with a built wheel, for tests/test_packaging.py")
    parser.addoption("--keep-tiny", default=None, help="folder to fill, for tests/lean/test_keep.py")
