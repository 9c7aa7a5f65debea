"""What is installed is what the folders hold: the list in setup.cfg, and the content of a wheel."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from dlcv.benchmarks.programs.startup import COMMANDS

ROOT = Path(__file__).parent.parent
TOP = ("train", "export", "runtime", "benchmarks")


def _packages_in_folders() -> list[str]:
    found = []
    for top in TOP:
        for init in sorted((ROOT / top).rglob("__init__.py")):
            found.append(".".join(("dlcv", *init.parent.relative_to(ROOT).parts)))
    return found


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def test_setup_lists_every_package() -> None:
    listed = _setup()["options"]["packages"].split()
    assert sorted(listed) == sorted(_packages_in_folders())


def test_every_folder_with_modules_is_a_package() -> None:
    """A folder without `__init__.py` would be left out of the list, and of the wheel, without a word."""
    for top in TOP:
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module.parent


def test_there_is_no_package_of_the_namespace_itself() -> None:
    assert not (ROOT / "dlcv").exists()


def test_every_entry_point_exists() -> None:
    from importlib import import_module

    lines = _setup()["options.entry_points"]["console_scripts"].split("\n")
    points = dict(line.split(" = ") for line in lines if line)
    assert points == {name: f"{module}:main" for name, module in COMMANDS.items()}
    for name, target in points.items():
        module, attribute = target.split(":")
        assert getattr(import_module(module), attribute).name == name


def test_constraints_pin_torch() -> None:
    """A looser range takes several GB of CUDA packages on a machine without a GPU."""
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.skipif(
    not all(map(shutil.which, ("make", "git", "tar"))), reason="make, git and tar make a wheel's sources"
)
@pytest.mark.parametrize("gone", [False, True])
def test_a_wheel_is_of_all_that_git_knows_and_of_nothing_else(tmp_path: Path, gone: bool) -> None:
    """The recipe itself, with a Python that only lists what it is given."""
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    (binaries := tmp_path / ".venv" / "bin").mkdir(parents=True)
    (binaries / "python").write_text(
        '#!/bin/sh\nfor last; do :; done; [ ! -d "$last/sources" ] && ls "$last" >>seen\nexit 0\n'
    )
    (binaries / "python").chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("setup.cfg", "constraints.txt", "a.py", "gone.py"):
        (tmp_path / name).write_text("")
    (tmp_path / ".venv" / ".dev").write_text("")
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(
        [*git, "add", "Makefile", "setup.cfg", "constraints.txt", "a.py", "gone.py"], cwd=tmp_path, check=True
    )
    (tmp_path / "scratch.py").write_text("")
    if gone:
        (tmp_path / "gone.py").unlink()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "GIT_"))}
    made = subprocess.run(
        ["make", "wheel", "VENV=.venv"], cwd=tmp_path, env=own, check=False, capture_output=True, text=True
    )
    if gone:
        assert made.returncode != 0 and "gone.py" in made.stderr, made
        return
    assert made.returncode == 0, made.stderr
    seen = (tmp_path / "seen").read_text().split()
    assert {"a.py", "gone.py", "Makefile"} <= set(seen) and "scratch.py" not in seen


def test_wheel_holds_the_folders(request: pytest.FixtureRequest) -> None:
    folder = request.config.getoption("--wheel")
    if folder is None:
        pytest.skip("no wheel given; `make wheel` builds one and runs this test")
    (wheel,) = (ROOT / str(folder)).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("dlcv/")}
    expected = set()
    for top in TOP:
        for path in (ROOT / top).rglob("*"):
            parts_of_pages = path.stem == "page" and path.suffix in (".html", ".css", ".js")
            if (
                path.suffix in (".py", ".typed")
                or parts_of_pages
                or (path.suffix == ".json" and path.parent.name == "masks")
            ):
                expected.add("dlcv/" + path.relative_to(ROOT).as_posix())
    assert held == expected
