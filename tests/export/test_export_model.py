"""All files under their final names, or none: full disks, refused folders, names in the way."""

from __future__ import annotations

import builtins
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.export import export_model as module
from dlcv.export import export_plan
from dlcv.export.builders import network
from dlcv.export.builders.options import BuildOptions
from dlcv.export.export_model import ExportSettings, export_model
from dlcv.runtime.errors import ExportError, OutputError, UsageError

pytestmark = pytest.mark.usefixtures("remembered_graphs")

Export = Callable[..., Any]
FULL = Path("/dev/full")


@pytest.fixture
def settings(tiny_checkpoint: Path, tmp_path: Path) -> ExportSettings:
    return ExportSettings("fcn8s", (tiny_checkpoint,), tmp_path / "out", format="onnx")


def test_the_report_names_the_final_files(settings: ExportSettings) -> None:
    said: list[str] = []
    report = export_model(settings, said.append)
    assert report.files == tuple(settings.output / f"fcn8s.{end}" for end in ("onnx", "reference.npz", "json"))
    assert all(file.is_file() for file in report.files)
    assert (report.plan, report.no_plan) == (None, "not asked for")
    assert not any(".partial" in line for line in said)


def test_an_export_replaces_an_older_one(settings: ExportSettings) -> None:
    settings.output.mkdir()
    for name in ("fcn8s.onnx", "fcn8s.json"):
        (settings.output / name).write_text("old")
    (settings.output / "fcn8s.plan").write_text("old")
    said: list[str] = []
    export_model(settings, said.append)
    sizes = {path.name: path.stat().st_size for path in settings.output.iterdir()}
    assert sizes.pop("fcn8s.plan") == 3
    assert min(sizes.values()) > 100
    assert said[-1].startswith(f"{settings.output}/fcn8s.plan is of an earlier export and will be refused; ")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["fcn8s.onnx", "fcn8s.reference.npz", "fcn8s.json"])
def test_a_full_disk_leaves_nothing(name: str, export: Export, settings: ExportSettings, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    settings.output.mkdir()
    (settings.output / "fcn8s.onnx").write_text("of an earlier export")

    def full(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        wanted = "w" in mode and Path(path).name.startswith(f".{name}.")
        return builtins.open(FULL if wanted else path, mode, *rest, **options)

    monkeypatch.setattr("dlcv.runtime.files.open", full, raising=False)
    result = export("--checkpoint", *settings.checkpoints, "--output", settings.output, "--format", "onnx")
    assert result.exit_code == 2, result.stderr
    assert result.stderr.splitlines()[-1] == f"dlcv-export: cannot write {settings.output / name}: No space left on device"  # fmt: skip
    assert result.stdout == ""
    assert os.listdir(settings.output) == ["fcn8s.onnx"]
    assert (settings.output / "fcn8s.onnx").read_text() == "of an earlier export"


def test_a_full_disk_while_building_the_plan_leaves_nothing(settings: ExportSettings, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The plan's writer names the final plan, and so does whatever the operating system refuses elsewhere."""

    def no_space(graph: Path, plan: Path, **_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(plan))

    monkeypatch.setattr(module, "_builder", lambda _: (None, ""))
    monkeypatch.setattr(export_plan, "build_plan", no_space)
    result = export("--checkpoint", *settings.checkpoints, "--output", settings.output, "--format", "plan")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"dlcv-export: cannot write into {settings.output}: No space left on device"  # fmt: skip
    assert os.listdir(settings.output) == []


def test_a_builders_refusal_speaks_of_the_final_names(settings: ExportSettings, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    monkeypatch.setattr(network, "_parser_error", lambda *_: "no such operator")
    real = export_plan.build_plan

    def damaged(graph: Path, plan: Path, **options: Any) -> Any:
        graph.write_bytes(b"not a graph")
        return real(graph, plan, **options)

    monkeypatch.setattr(export_plan, "build_plan", damaged)
    said: list[str] = []
    asked = ExportSettings(
        settings.model, settings.checkpoints, settings.output, format="plan", build=BuildOptions("tensorrt-rtx")
    )
    with pytest.raises(ExportError, match=rf"cannot read {settings.output}/fcn8s\.onnx: no such operator$"):
        export_model(asked, said.append)
    assert f"reading {settings.output}/fcn8s.onnx" in said
    assert not any(".partial" in line for line in said)
    assert os.listdir(settings.output) == []


def test_a_name_in_the_way_takes_the_others_back(settings: ExportSettings) -> None:
    (settings.output / "fcn8s.reference.npz" / "a folder").mkdir(parents=True)
    with pytest.raises(OutputError, match=rf"^cannot write {settings.output}/fcn8s\.reference\.npz: "):
        export_model(settings)
    assert os.listdir(settings.output) == ["fcn8s.reference.npz"]


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_an_output_that_cannot_be_a_folder_is_told(below: str, settings: ExportSettings, export: Export, tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / "file").write_text("x")
    result = export("--checkpoint", *settings.checkpoints, "--output", tmp_path / below, "--format", "onnx")
    assert result.exit_code == 2
    said = result.stderr.splitlines()[-1]
    assert said.startswith(f"dlcv-export: cannot make the folder {tmp_path / below}: ")
    assert "--output" in said


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no folder that refuses files of root")
def test_an_output_that_refuses_files_is_told(settings: ExportSettings, export: Export) -> None:
    result = export("--checkpoint", *settings.checkpoints, "--output", "/proc", "--format", "onnx")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("dlcv-export: cannot write into /proc: ")


def test_what_another_process_left_behind_is_not_taken_along(settings: ExportSettings) -> None:
    """A killed export's folder may bear this very process's number: in containers numbers repeat."""
    left = settings.output / f".fcn8s.{os.getpid()}.partial"
    left.mkdir(parents=True)
    (left / "fcn8s.plan").write_text("half a plan")
    report = export_model(settings)
    assert not (settings.output / "fcn8s.plan").exists()
    assert len(report.files) == 3
    assert "fcn8s.plan" not in json.loads((settings.output / "fcn8s.json").read_text())["files"]


def test_an_interrupt_leaves_nothing(settings: ExportSettings, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_sidecar", interrupted)
    result = export("--checkpoint", *settings.checkpoints, "--output", settings.output, "--format", "onnx")
    assert result.exit_code == 130
    assert os.listdir(settings.output) == []


@pytest.mark.parametrize("changed", [{"head": "confidence"}, {"format": "engine"}, {"model": "fcn9s"}])
def test_unknown_settings_list_the_known(changed: dict[str, str], settings: ExportSettings) -> None:
    values = {"model": settings.model, "checkpoints": settings.checkpoints, "output": settings.output} | changed
    with pytest.raises(UsageError, match=r"heads: mask, probs, logits; formats: auto, onnx, plan|known models: .*fcn32s, .*fcn8s"):  # fmt: skip
        export_model(ExportSettings(**values))


def test_a_broken_builder_does_not_spoil_an_auto_export(settings: ExportSettings, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def broken(_: str) -> Any:
        raise ExportError("tensorrt_rtx is installed and cannot be loaded (libx.so)")

    monkeypatch.setattr(module, "find_builder", broken)
    report = export_model(ExportSettings(settings.model, settings.checkpoints, settings.output))
    assert report.no_plan == "tensorrt_rtx is installed and cannot be loaded (libx.so)"
    assert len(report.files) == 3
    with pytest.raises(ExportError, match="cannot be loaded"):
        export_model(ExportSettings(settings.model, settings.checkpoints, settings.output, format="plan"))
