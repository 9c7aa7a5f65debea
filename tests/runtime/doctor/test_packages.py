"""What the doctor asks for is what setup.cfg asks for."""

from __future__ import annotations

import configparser
import re
from importlib import metadata
from pathlib import Path

import pytest

from dlcv.runtime.doctor.packages import BELOW, LOWEST, NEEDED, installed_packages, missing, preferred, unfit

SETUP = configparser.ConfigParser()
SETUP.read(Path(__file__).resolve().parents[3] / "setup.cfg")


def requirements() -> list[str]:
    extras = SETUP["options.extras_require"]
    names = ("train", "export", "tensorrt", "tensorrt-rtx", "openvino", "fast")
    lines = SETUP["options"]["install_requires"] + "".join(extras.get(name, raw=True) for name in names)
    return [
        line for line in lines.splitlines() if line.strip() and not line.startswith(("%", "tomli"))
    ]  # tomli: of Python 3.10 alone


def test_versions_are_those_of_the_setup() -> None:
    for line in requirements():
        name, lowest = re.match(r"([\w-]+)>=([\d.]+)", line).groups()  # type: ignore[union-attr]
        assert LOWEST[name] == lowest, line
        below = re.search(r"<([\d.]+)", line.split(";")[0])
        assert BELOW.get(name) == (below.group(1) if below else None), line


def test_what_is_needed_is_what_is_installed_with_dlcv() -> None:
    names = {re.split("[>;]", line)[0] for line in SETUP["options"]["install_requires"].strip().splitlines()}
    assert names == {"numpy", "opencv-python-headless", "pillow", "click", "onnxruntime-gpu", "onnxruntime"}
    assert {name for family in NEEDED.values() for name in family} >= names


def test_versions_are_those_of_the_metadata() -> None:
    found = installed_packages()
    assert found["numpy"] == metadata.version("numpy")
    assert "opencv-python" not in found or metadata.version("opencv-python")


@pytest.mark.parametrize(
    ("name", "version", "problem"),
    [
        ("numpy", "1.26.0", None),
        ("numpy", "1.25.9", "numpy 1.25.9 is older than 1.26"),
        ("numpy", "2.5.0", "numpy 2.5.0 is too new: dlcv knows it below 2.5"),
        ("torch", "2.13.0+cpu", None),
        ("pillow", "10.3.0", None),
        ("pillow", "9.9", "pillow 9.9 is older than 10.3"),
        ("onnx", "1.18.0rc1", None),
        ("onnx", "unknown", "onnx unknown is older than 1.17"),
        ("click", "9" * 5000, None),
    ],
)
def test_versions_that_fit(name: str, version: str, problem: str | None) -> None:
    advice = unfit(name, {name: version})
    assert (advice.problem if advice else None) == problem
    assert unfit(name, {}) is None


def test_what_is_missing_comes_with_its_command() -> None:
    found = {advice.problem: advice.command for advice in missing({"numpy": "2", "click": "8"}, {"cv2"})}
    assert found == {
        "pillow is not installed": "pip install 'pillow>=10.3'",
        "ONNX Runtime is not installed": f"pip install '{preferred(NEEDED['onnxruntime'])}>=1.19'",
    }
