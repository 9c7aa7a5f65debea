"""The table of what each TensorRT can do: held to the real bindings where they import, and to itself elsewhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dlcv.export.builders.capabilities import OPSETS, TABLE, capabilities_of, opsets_of, release_of
from dlcv.export.builders.find import find_builder
from dlcv.runtime.sessions.trt_library import TrtLibrary


def _library(name: str, version: str) -> TrtLibrary:
    return TrtLibrary(name, SimpleNamespace(), version)


@pytest.mark.parametrize(
    ("version", "typed", "progress", "compatible", "outer"),
    [
        ("8.5.3.1", False, False, False, True),
        ("8.6.0", False, False, True, True),
        ("10.0.1.6", True, True, True, False),
        ("10.9.0.34", True, True, True, False),
        ("11.4.0.106", True, True, True, False),
    ],
)
def test_what_full_tensorrt_can_do(version: str, typed: bool, progress: bool, compatible: bool, outer: bool) -> None:
    can = capabilities_of(_library("tensorrt", version))
    assert (can.typed_by_graph, can.progress, can.outer_tactics) == (typed, progress, outer)
    assert (can.version_compatible, can.hardware_compatible) == (compatible, compatible)
    assert can.typed_flag == ("STRONGLY_TYPED" if typed else "EXPLICIT_BATCH")
    assert can.timing_cache
    assert not can.chosen_gpus


def test_rtx_is_what_its_bindings_say() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    can = find_builder("tensorrt-rtx").can
    assert can.typed_flag is not None
    assert hasattr(trt.NetworkDefinitionCreationFlag, can.typed_flag)
    assert can.progress == hasattr(trt, "IProgressMonitor")
    assert can.chosen_gpus == hasattr(trt.IBuilderConfig, "num_compute_capabilities")
    assert not can.hardware_compatible
    assert "unsupported in TensorRT-RTX" in _said_of_hardware_level(trt)


def _said_of_hardware_level(trt: Any) -> str:
    library = find_builder("tensorrt-rtx").library
    library.log.clear()
    config = trt.Builder(library.log).create_builder_config()
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    return " ".join(library.log.warnings)


@pytest.mark.parametrize(
    ("name", "version", "surely", "newest"),
    [
        ("tensorrt", "8.6.0", 17, 17),
        ("tensorrt", "9.3.0.1", 19, 19),
        ("tensorrt", "10.0.1.6", 20, 20),
        ("tensorrt", "10.9.0.34", 20, 24),
        ("tensorrt", "10.15.1.29", 24, 24),
        ("tensorrt", "11.5.0.1", 25, 25),
        ("tensorrt", "12.0.0.1", 25, None),
        ("tensorrt_rtx", "1.7.1.116", 22, 25),
    ],
)
def test_the_opsets_that_a_release_reads(name: str, version: str, surely: int, newest: int | None) -> None:
    found = opsets_of(_library(name, version))
    assert (found.surely, found.newest) == (surely, newest)
    assert found.source


def test_the_rows_are_in_order_so_that_the_last_that_fits_is_the_right_one() -> None:
    for table in (TABLE, OPSETS):
        rows = [(name, since) for name, since, _ in table]
        assert rows == sorted(rows)
    assert release_of("8.6") == (8, 6)
    assert release_of("10.9.0.34") == (10, 9)
    assert release_of("11.0rc1") == (11, 1), "a suffix does not make it fail"
    assert opsets_of(_library("tensorrt", "7.2.3")).newest == 17, "older than the table: its oldest row"
