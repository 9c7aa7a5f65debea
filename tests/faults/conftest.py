"""What the tests under fault share: the harness, an engine, tiles, a tiny data set to train on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlcv.benchmarks.programs.startup import COMMANDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TILES = 60
"""Links to six tiles."""


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def harness() -> Any:
    """The module `harness.py`."""
    return _module(Path(__file__).with_name("harness.py"))


@pytest.fixture(scope="session")
def many_tiles(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: list[NDArray[np.uint8]], write_tile: Callable[..., None]
) -> Path:
    """60 tiles, 64 x 64, in three folders: links to six."""
    folder = tmp_path_factory.mktemp("many")
    return link_tiles(folder, tiny_scenes, write_tile, TILES)


def link_tiles(folder: Path, scenes: list[Any], write_tile: Callable[..., None], count: int) -> Path:
    """Tiles by the name `f0/t00000.png`, links to a few."""
    sources = []
    for k, image_rgb in enumerate(scenes):
        sources.append(folder / "sources" / f"s{k}.png")
        write_tile(sources[-1], image_rgb)
    for k in range(count):
        path = folder / "tiles" / f"f{k % 3}" / f"t{k:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(sources[k % len(sources)], path)
    return folder / "tiles"


@pytest.fixture
def start(
    command_line: Callable[..., list[str]], command_env: dict[str, str]
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command in a process of its own; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: Any, before: str = "", **how: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command_line(name, *arguments, before=before), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=command_env, **how,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


WITH_TORCH = (
    "torch", "torch._dynamo", "torch.profiler", "dlcv.train.run", "dlcv.train.cli.train", "dlcv.train.settings.config",
    "dlcv.export.export_model", "dlcv.export.cli.export",
)  # fmt: skip
PRELOADED = {
    "dlcv-infer": ("dlcv.runtime.cli.infer", "dlcv.runtime.run.inference", "dlcv.runtime.sessions.onnxrt", "cv2"),
    "dlcv-train": WITH_TORCH,
    "dlcv-export": WITH_TORCH,
}
"""What a command imports, some of it late: most of the seconds of a short life."""
FIRST = """
from dlcv.runtime.errors import DlcvError
import dlcv.runtime.sessions.openvino as openvino
try: openvino._openvino()  # as a session imports it
except DlcvError: pass  # not installed
"""
"""Run by the server of `dlcv-infer` before it forks: 0.2 s of each command."""


@pytest.fixture(scope="session")
def servers(
    harness: Any, command_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Any]]:
    """Command -> the server that forks it, made once."""
    made: dict[tuple[str, ...], Any] = {}

    def server(name: str) -> Any:
        modules = PRELOADED[name]
        if modules is WITH_TORCH:
            pytest.importorskip("torch", reason="the train extra is not installed")
        if modules not in made:
            first = FIRST if name == "dlcv-infer" else ""
            made[modules] = harness.Server(modules, command_env, tmp_path_factory.mktemp("server"), first)
        return made[modules]

    yield server
    for one in made.values():
        one.close()


@pytest.fixture
def fork(servers: Callable[[str], Any]) -> Iterator[Callable[..., Any]]:
    """As `start`, forked from a process that has imported what the command does."""
    running: list[Any] = []

    def start(name: str, *arguments: Any, before: str = "") -> Any:
        running.append(servers(name).start(COMMANDS[name], name, arguments, before))
        return running[-1]

    yield start
    for process in running:
        process.kill()


@pytest.fixture
def go_on() -> Callable[..., None]:
    """`dlcv-infer --resume` without a process of its own: what is on the disk is all that it goes on from."""
    from dlcv.runtime.run.inference import InferSettings, infer

    def go_on(tiles: Path, engine: Path, folder: Path, **options: Any) -> None:
        settings = InferSettings.of(
            sources=(str(tiles),), engine=engine, output=folder, device="cpu", resume=True, quiet=True, **options
        )
        summary = infer(settings)
        assert (summary.done, summary.failed) == (summary.tiles, 0)

    return go_on


@pytest.fixture
def export(fork: Callable[..., Any], tiny_checkpoint: Path, tiny_onnx: Path) -> Callable[..., Any]:
    """Starts an export whose graph is there already: torch takes seconds for it, in which nothing is written."""

    def export(folder: Path, before: str = "") -> Any:
        at_hand = (
            "import onnx, dlcv.export.export_model as export_model\n"
            f"export_model.onnx_from_model = lambda *a, **k: onnx.load({str(tiny_onnx)!r})\n"
        )
        given = ("--model", "fcn8s", "--checkpoint", tiny_checkpoint, "--format", "onnx", "--output", folder)
        return fork("dlcv-export", *given, before=at_hand + before)

    return export


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Kilobytes -> a file system of that size; called again it is made larger, with what is on it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> bool:
        try:
            return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False

    def sized(kilobytes: int) -> Path:
        if os.path.ismount(folder):
            assert mount("-o", f"remount,size={kilobytes}k", str(folder))
        elif not mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)):
            pytest.skip("a file system cannot be mounted here: no root, or no mount")
        return folder

    yield sized
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a process may still be ending
