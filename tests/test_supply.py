"""What dlcv is made of: licences that fit, a page that tells them, and a wheel that comes out the same again."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def licences() -> Any:
    """The script `.ci/licences.py`."""
    pytest.importorskip("packaging", reason="comes with pytest")
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci/licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_licence_fits(licences: Any) -> None:
    found = licences.dependencies()
    assert {"numpy", "pillow", "click", "opencv-python-headless"} <= {one.name for one in found if not one.extras}
    assert [one for one in found if not one.fits] == []


@pytest.mark.parametrize(
    ("licence", "fits"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND BSD-3-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("proprietary", False),
        ("", False),
        ("(MIT)", False),
    ],
)
def test_a_licence_that_does_not_fit_is_found(licences: Any, licence: str, fits: bool) -> None:
    assert licences.Dependency("some", (), "1.0", licence).fits is fits


def test_the_page_tells_the_licences(licences: Any) -> None:
    told = {line.split(" | ")[0].strip("| "): line for line in (ROOT / "docs/dependencies.md").read_text().splitlines()}
    found = {one.name: one for one in licences.dependencies() if one.version}
    # another Python or another release may bring packages that the page does not have; their licences are looked at all the same
    wrong = [name for name, one in found.items() if name in told and one.licence not in told[name]]
    assert wrong == [], "write them with: python .ci/licences.py"
    assert {name for name, one in found.items() if not one.extras} <= told.keys()


def test_the_wheel_comes_out_the_same_again(request: pytest.FixtureRequest) -> None:
    folder = request.config.getoption("--wheel")
    if folder is None:
        pytest.skip("no wheel given; `make wheel` builds two and runs this test")
    (wheel,), (again,) = (list((ROOT / str(place)).glob("*.whl")) for place in (folder, Path(folder) / "again"))
    assert wheel.name == again.name
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        listed = [
            [(item.filename, item.CRC, item.date_time, item.external_attr) for item in z.infolist()]
            for z in (one, other)
        ]
    assert listed[0] == listed[1]
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == hashlib.sha256(again.read_bytes()).hexdigest()
