"""The double of the builder against the real bindings, and each release of full TensorRT built with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.card import SizeRange
from dlcv.runtime.card.plan_header import read_plan_header, with_card
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import ExportError

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")

import network_double  # noqa: E402
from builder_double import World, make_builder  # noqa: E402
from plan_graphs import CARD, write_graph  # noqa: E402

VERSIONS = ("8.6.0.12", "10.9.0.34", "11.4.0.106")
CALLS = {
    "Builder": ["create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"],
    "IBuilderConfig": [
        "add_optimization_profile", "set_flag", "clear_flag", "set_memory_pool_limit", "set_tactic_sources",
        "create_timing_cache", "set_timing_cache", "get_timing_cache",
    ],
    "IOptimizationProfile": ["set_shape"],
    "INetworkDefinition": ["get_input", "get_layer"],
    "OnnxParser": ["parse_from_file"],
    "IProgressMonitor": ["phase_start", "step_complete", "phase_finish"],
}  # fmt: skip


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in CALLS.items() for name in names])
def test_the_double_has_the_signatures_of_tensorrt(owner: str, name: str) -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    fake = getattr(getattr(make_builder(World(), "tensorrt", "11.4.0.106"), owner), name)
    doc = getattr(getattr(real, owner), name).__doc__
    (arguments,) = re.findall(rf"^(?:\d+\. )?{name}\((.*?)\) ->", doc, re.MULTILINE)
    wanted = re.findall(r"(?:^|, )(\w+)(?=[:=,]|$)", arguments)
    ours = list(inspect.signature(fake).parameters)
    assert ours[1:] == wanted[1 : len(ours)], f"{name}({arguments})"


OF_8_6 = {
    "Builder.create_network": "flags", "Builder.build_serialized_network": "network config", "IBuilderConfig.set_flag": "flag",
    "IBuilderConfig.clear_flag": "flag", "IBuilderConfig.set_preview_feature": "feature enable",
    "IBuilderConfig.set_memory_pool_limit": "pool pool_size", "IBuilderConfig.set_tactic_sources": "tactic_sources",
    "IBuilderConfig.add_optimization_profile": "profile", "IBuilderConfig.create_timing_cache": "serialized_timing_cache",
    "IBuilderConfig.set_timing_cache": "cache ignore_mismatch", "IBuilderConfig.get_timing_cache": "",
    "IOptimizationProfile.set_shape": "input min opt max", "INetworkDefinition.get_input": "index",
    "INetworkDefinition.get_layer": "index", "OnnxParser.parse_from_file": "model", "ILayer.get_input": "index",
    "ILayer.get_output": "index", "ILayer.set_output_type": "index dtype", "EngineInspector.get_engine_information": "format",
    "ICudaEngine.create_engine_inspector": "", "ICudaEngine.create_execution_context_without_device_memory": "",
    "IExecutionContext.set_input_shape": "name shape", "Runtime.deserialize_cuda_engine": "serialized_engine",
}  # fmt: skip
"""Arguments as the docstrings of tensorrt 8.6.0's bindings give them; its wheel has 819 MB, so no test asks it."""


def test_the_double_of_8_6_has_the_signatures_of_8_6_0() -> None:
    trt = make_builder(World(), "tensorrt", "8.6.0")
    for name, arguments in OF_8_6.items():
        owner, method = name.split(".")
        home = network_double.ILayer if owner == "ILayer" else getattr(trt, owner)
        assert list(inspect.signature(getattr(home, method)).parameters)[1:] == arguments.split(), name


@pytest.fixture
def run(world: Any, tmp_path: Path, build_with: Callable[..., Any]) -> Any:
    """(version, options of the build ...) -> report."""

    def built(version: str, *, card: Any = CARD, **options: Any) -> Any:
        sides = tuple("hw"[i] if side < 0 else side for i, side in enumerate(world.sides))
        return build_with(version, write_graph(tmp_path / "tiny.onnx", sides=sides), card, **options)

    return built


def test_a_gpu_without_bf16_is_told_before_the_build(run: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcv.export.builders import gpus

    monkeypatch.setattr(gpus, "gpu_name_and_capability", lambda: ("Tesla T4", "7.5"))
    with pytest.raises(ExportError) as caught:
        run("10.9.0.34", card=CARD.changed(precision="bf16"))
    assert str(caught.value) == (
        "Tesla T4 of this machine has compute capability 7.5 and does not compute in bf16, which begins with 8.0; "
        "export with --precision fp16"
    )
    assert world.calls == []


@pytest.mark.parametrize("version", VERSIONS)
def test_each_release_builds_through_the_same_code(run: Any, world: Any, version: str) -> None:
    report = run(version, workspace_mib=64)
    assert report.header.builder == f"TensorRT {version}"
    assert world.named("profiling_verbosity") == [("DETAILED",)], "the inspector would tell no types"
    assert read_card(report.path).versions["compute_capability"] == "8.6"
    assert report.sentence.startswith(
        f"built by TensorRT {version} for NVIDIA GeForce RTX 3060 (compute capability 8.6)"
    )
    assert world.named("create_network") == [(1 if version.startswith("8") else 2,)]
    assert world.named("set_tactic_sources") == ([(0b11000,)] if version.startswith("8") else [])
    assert bool(world.named("progress_monitor")) == (not version.startswith("8"))
    assert world.named("set_memory_pool_limit") == [("WORKSPACE", 64 << 20)]
    assert world.named("clear_flag") == [("TF32",)], "float32 is float32"


@pytest.mark.parametrize("version", VERSIONS)
def test_compatible_plans_set_their_flags_and_say_so_on_the_card(run: Any, world: Any, version: str) -> None:
    report = run(version, version_compatible=True, hardware_compatible=True)
    assert world.named("set_flag") == [("VERSION_COMPATIBLE",), ("EXCLUDE_LEAN_RUNTIME",)], "no host code in the plan"
    assert world.named("hardware_compatibility_level") == [("AMPERE_PLUS",)]
    header = with_card(read_plan_header(report.path), read_card(report.path).versions)
    assert (header.version_compatible, header.compute_capabilities) == (True, ("8.0+",))
    assert report.sentence.endswith("for every GPU of Ampere and later, and newer releases run it too")


def test_a_plan_from_a_graph_alone_goes_into_a_triton_repository(run: Any, export: Any, tmp_path: Path) -> None:
    """As on the GPU server, where full TensorRT builds and torch is missing; read by Triton's own protobuf."""
    pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient is not installed")
    from google.protobuf import text_format

    run("10.9.0.34")  # the double is `tensorrt` from here on
    graph = write_graph(tmp_path / "tiny.onnx", card=CARD)
    result = export("--onnx", graph, "--builder", "tensorrt", "--max-batch", 6, "--triton", tmp_path / "models")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "models" / "tiny"
    assert result.stdout.splitlines() == [str(graph.with_suffix(".plan")), str(folder / "1")]
    config = text_format.Parse((folder / "config.pbtxt").read_text(), pb2.ModelConfig())
    assert (config.name, config.platform, config.max_batch_size) == ("tiny", "tensorrt_plan", 6)
    assert (folder / "1" / "model.plan").read_bytes() == graph.with_suffix(".plan").read_bytes()
    assert text_format.MessageToString(config.parameters["dlcv"]).count("strongly typed network as parsed")


def test_the_profile_covers_batches_and_sizes(run: Any, world: Any) -> None:
    world.sides = (-1, -1)
    card = CARD.changed(size_range=SizeRange((8, 16), (32, 48), 8))
    lines: list[str] = []
    report = run("10.9.0.34", card=card, progress=lines.append, min_batch=2, opt_batch=3, max_batch=5)
    assert report.card.proof == "types of the strongly typed network as parsed, by the number of layers: 100.0% in fp32"
    assert world.named("set_shape") == [("image", (2, 8, 16, 3), (3, 16, 24, 3), (5, 32, 48, 3))]
    assert "compiling for batches of 2 to 5 and sizes of 8 x 16 to 32 x 48 in multiples of 8" in lines


def test_a_graph_whose_size_does_not_vary_is_no_graph_of_a_card_with_a_range(run: Any, world: Any) -> None:
    card = CARD.changed(size_range=SizeRange((8, 24), (32, 24), 8))
    with pytest.raises(
        ExportError, match=r"has the inputs \{'image': \(-1, 16, 24, 3\)\}, expected \{'image': \(-1, -1, 24, 3\)\}"
    ):
        run("10.9.0.34", card=card)


def test_the_timing_cache_lies_beside_the_plan_and_is_used_again(run: Any, world: Any, tmp_path: Path) -> None:
    cache = tmp_path / "tiny.timing-cache"
    run("10.9.0.34", timing_cache=cache)
    assert cache.read_bytes() == b"here measured"
    run("10.9.0.34", timing_cache=cache)
    assert world.named("set_timing_cache") == [(b"", False), (b"here measured", False)]


def test_a_timing_cache_of_another_machine_is_begun_anew_with_a_line(run: Any, world: Any, tmp_path: Path) -> None:
    cache, lines = tmp_path / "tiny.timing-cache", []
    cache.write_bytes(b"there measured")
    world.build_errors = ["no kernel"]
    with pytest.raises(ExportError, match="no kernel") as caught:
        run("10.9.0.34", timing_cache=cache, progress=lines.append)
    assert "mismatch" not in str(caught.value), "the cache's complaint is no reason"
    assert f"{cache} is of another TensorRT or GPU, or damaged: all is measured anew" in lines
    assert cache.read_bytes() == b"there measured", "a build that failed measures nothing"
    world.build_errors = []
    run("10.9.0.34", timing_cache=cache)
    assert cache.read_bytes() == b"here measured"


def test_a_timing_cache_that_cannot_be_kept_costs_a_line_and_not_the_plan(run: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    report = run("10.9.0.34", timing_cache=tmp_path / "none" / "x.timing-cache", progress=lines.append)
    assert report.path.exists()
    assert [line for line in lines if line.endswith("the next build measures again")]
    (tmp_path / "folder").mkdir()
    run("10.9.0.34", timing_cache=tmp_path / "folder", progress=lines.append)
    assert [line for line in lines if "folder cannot be read (Is a directory): all is measured anew" in line]


OUT_OF_MEMORY = "[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (no further information)"


@pytest.mark.parametrize(
    ("errors", "options", "sentence"),
    [
        (
            [OUT_OF_MEMORY, "Error Code 10: Could not find any implementation for node conv"],
            {},
            f"{OUT_OF_MEMORY}; Error Code 10: Could not find any implementation for node conv; memory ran out: close other "
            "programs on the GPU, pass a smaller --max-batch than 16, or bound TensorRT's scratch memory with --workspace-mib",
        ),
        (
            ["insufficient workspace. See verbose log"],
            {"workspace_mib": 1},
            "insufficient workspace. See verbose log; pass more than --workspace-mib 1, or leave it out",
        ),
        (["no kernel image"], {}, "no kernel image; export the graph again"),
    ],
)
def test_a_build_that_fails_says_what_to_do(run: Any, world: Any, tmp_path: Path, errors: list[str], options: dict[str, Any], sentence: str) -> None:  # fmt: skip
    world.build_errors = errors
    with pytest.raises(ExportError) as caught:
        run("10.9.0.34", **options)
    assert str(caught.value) == f"TensorRT 10.9.0.34 cannot build {tmp_path / 'tiny.onnx'}: {sentence}"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
