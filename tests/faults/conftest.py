"""What the tests under fault share: the harness, an engine, tiles, a tiny data set to train on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlcv.benchmarks.startup import COMMANDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TILES = 120
"""Links to six tiles: so many that a run is at work on tiles for as long as it takes to start."""


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
    """120 tiles, 64 x 64, in three folders: links to six."""
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


PRELOADED = {
    "dlcv-train": ("torch", "dlcv.train.run", "dlcv.train.cli.train", "dlcv.train.config"),
    "dlcv-export": ("torch", "onnxscript", "dlcv.export.export_model", "dlcv.export.cli.export"),
}


@pytest.fixture(scope="session")
def servers(
    harness: Any, command_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Any]]:
    """Command -> the server that forks it, made once: torch takes seconds to import."""
    made: dict[str, Any] = {}

    def server(name: str) -> Any:
        pytest.importorskip("torch", reason="the train extra is not installed")
        if name not in made:
            made[name] = harness.Server(PRELOADED[name], command_env, tmp_path_factory.mktemp("server"))
        return made[name]

    yield server
    for one in made.values():
        one.close()


@pytest.fixture
def fork(servers: Callable[[str], Any]) -> Iterator[Callable[..., Any]]:
    """As `start`, for the commands that import torch: forked from a process that has done so."""
    running: list[Any] = []

    def start(name: str, *arguments: Any, before: str = "") -> Any:
        running.append(servers(name).start(COMMANDS[name], name, arguments, before))
        return running[-1]

    yield start
    for process in running:
        process.kill()


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
