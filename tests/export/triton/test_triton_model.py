"""Model repositories against Triton's own protobuf, and against the graphs that they serve."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.export.triton import servable, triton_model
from dlcv.runtime.card.card import ModelCard, SizeRange
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, ExportError, OutputError

NUMPY_OF_ORT = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}


@pytest.fixture
def parse() -> Callable[[Path], Any]:
    """A model's folder -> its ModelConfig, parsed as Triton does."""
    pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient is not installed")
    from google.protobuf import text_format

    return lambda folder: text_format.Parse((folder / "config.pbtxt").read_text(), pb2.ModelConfig())


@pytest.fixture(scope="session")
def classifier_onnx(tiny_classifier: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier's graph."""
    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.train.checkpoints.checkpoint import load_checkpoint
    from dlcv.train.models import create_model

    checkpoint = load_checkpoint(tiny_classifier(0))
    card = checkpoint.card.changed(head="probs")
    network = create_model(card.model, classes=len(card.classes), width=card.width)
    network.load_state_dict(checkpoint.weights)
    path = tmp_path_factory.mktemp("classifier") / "cnn3.onnx"
    path.write_bytes(onnx_from_model(network.eval(), card).SerializeToString())
    return path


def full_plan(path: Path, card: ModelCard, magic: bytes = b"ftrt") -> Path:
    """The start of a plan, which is all that is read of it here."""
    head = magic + bytes(20) + bytes((10, 9, 0, 34)) + bytes(4) + (0b1100).to_bytes(4, "little")
    path.write_bytes(head + bytes(64) + b"dlcv1:" + card.to_json().encode() + bytes(99))
    return path


def assert_ports(config: Any, path: Path) -> None:
    """Names, types and sizes as ONNX Runtime finds them in the graph."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for ports, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        kinds = type(config.input[0]).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
        found = [(port.name, kinds[port.data_type].name, list(port.dims)) for port in ports]
        assert found == [(node.name, NUMPY_OF_ORT[node.type], node.shape[1:]) for node in real]
        assert all(isinstance(node.shape[0], str) for node in real)  # the batch, which dims leave out


@pytest.mark.parametrize("head", ["mask", "probs"])
def test_a_graph_as_onnx_runtime_sees_it(
    tiny_graph: Callable[[str], Path], parse: Callable[[Path], Any], tmp_path: Path, head: str
) -> None:
    graph = tiny_graph(head)
    version = triton_model(graph, tmp_path / "models", name="fcn8s", max_batch=16)
    assert version == tmp_path / "models/fcn8s/1"
    assert (version / "model.onnx").read_bytes() == graph.read_bytes()
    config = parse(version.parent)
    assert (config.name, config.platform, config.max_batch_size) == ("fcn8s", "onnxruntime_onnx", 16)
    assert_ports(config, version / "model.onnx")
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert [group.count for group in config.instance_group] == [1]
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator[0]
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})
    assert not config.output[0].label_filename  # Triton names classes of a row of scores only
    assert json.loads(config.parameters["dlcv"].string_value) == read_card(graph).to_dict()


def test_warm_up_sends_what_the_graph_takes(tiny_onnx: Path, parse: Callable[[Path], Any], tmp_path: Path) -> None:
    config = parse(triton_model(tiny_onnx, tmp_path, name="fcn8s", max_batch=16).parent)
    assert [sample.batch_size for sample in config.model_warmup] == [1, 16]
    for sample in config.model_warmup:
        assert list(sample.inputs) == ["image"]
        image = sample.inputs["image"]
        assert (image.data_type, list(image.dims)) == (config.input[0].data_type, list(config.input[0].dims))
        assert image.random_data


@pytest.mark.parametrize("head", ["mask", "probs"])
def test_sizes_that_vary(tiny_checkpoint: Path, parse: Callable[[Path], Any], tmp_path: Path, head: str) -> None:
    """Free in the configuration as in the graph, and in that of a plan; the warm-up has the card's own size."""
    import onnxruntime as ort

    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.train.checkpoints.checkpoint import load_checkpoint
    from dlcv.train.models import create_model

    checkpoint = load_checkpoint(tiny_checkpoint)
    sizes = SizeRange((32, 32), (128, 160), 32)
    card = checkpoint.card.changed(head=head, size_range=sizes)
    network = create_model(card.model, classes=len(card.classes), width=card.width)
    network.load_state_dict(checkpoint.weights)
    graph = tmp_path / "sizes.onnx"
    graph.write_bytes(onnx_from_model(network.eval(), card).SerializeToString())
    answer = [-1, -1] if head == "mask" else [len(card.classes), -1, -1]
    real = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"]).get_outputs()[0].shape[1:]
    assert [-1 if isinstance(side, str) else side for side in real] == answer
    for engine in (graph, full_plan(tmp_path / "sizes.plan", card.changed(max_batch=4))):
        config = parse(triton_model(engine, tmp_path / "models", name=engine.name, max_batch=4).parent)
        assert (list(config.input[0].dims), list(config.output[0].dims)) == ([-1, -1, 3], answer)
        assert [list(one.inputs["image"].dims) for one in config.model_warmup] == [[*card.input_size_hw, 3]] * 2


def test_a_classifier_has_its_labels(classifier_onnx: Path, parse: Callable[[Path], Any], tmp_path: Path) -> None:
    folder = triton_model(classifier_onnx, tmp_path, name="cnn3", max_batch=1).parent
    config = parse(folder)
    assert_ports(config, folder / "1/model.onnx")
    card = read_card(classifier_onnx)
    assert (folder / config.output[0].label_filename).read_text().splitlines() == list(card.classes)
    assert not config.HasField("dynamic_batching")  # of a largest batch of 1 there is nothing to gather
    assert [sample.batch_size for sample in config.model_warmup] == [1]


def test_a_plan_has_its_own_largest_batch(tiny_card: ModelCard, parse: Callable[[Path], Any], tmp_path: Path) -> None:
    plan = full_plan(tmp_path / "fcn8s.plan", tiny_card.changed(head="mask", max_batch=6))
    folder = triton_model(plan, tmp_path / "models", name="fcn8s", max_batch=16).parent
    config = parse(folder)
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 6)
    assert (folder / "1/model.plan").read_bytes() == plan.read_bytes()
    assert list(config.output[0].dims) == list(tiny_card.input_size_hw)
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 6]
    assert "KIND_GPU" in str(config.instance_group[0])
    assert not config.HasField("optimization")


def test_triton_loads_no_plan_of_tensorrt_rtx(tiny_card: ModelCard, tiny_onnx: Path, tmp_path: Path) -> None:
    plan = full_plan(tmp_path / "fcn8s.plan", tiny_card.changed(head="mask"), b"vtrt")
    with pytest.raises(
        ExportError, match=r"is of TensorRT-RTX, which Triton does not load; serve the graph it was built from"
    ):
        triton_model(plan, tmp_path / "models", name="fcn8s", max_batch=16)
    assert servable([plan, tiny_onnx]) == (tiny_onnx, f"{plan} is of TensorRT-RTX, which Triton does not load")
    full_plan(plan, tiny_card.changed(head="mask"))
    assert servable([plan, tiny_onnx]) == (plan, "")
    assert servable([tiny_onnx]) == (tiny_onnx, "")


def test_class_names_with_odd_characters(tiny_card: ModelCard, parse: Callable[[Path], Any], tmp_path: Path) -> None:
    odd = ('"quoted"', "back\\slash", "two\nlines", "Wäldchen 林", *tiny_card.classes[4:])
    card = tiny_card.changed(head="mask", classes=odd)
    folder = triton_model(full_plan(tmp_path / "a.plan", card), tmp_path / "models", name="a", max_batch=4).parent
    assert json.loads(parse(folder).parameters["dlcv"].string_value)["classes"] == list(odd)
    assert len((folder / "labels.txt").read_text().splitlines()) == len(odd)


def test_the_next_export_is_the_next_version_and_tuning_stays(
    tiny_onnx: Path, parse: Callable[[Path], Any], tmp_path: Path
) -> None:
    folder = triton_model(tiny_onnx, tmp_path, name="fcn8s", max_batch=16).parent
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 3"))
    (folder / "9").mkdir()
    (folder / "notes").mkdir()
    newer = _newer(tiny_onnx, tmp_path)
    assert triton_model(newer, tmp_path, name="fcn8s", max_batch=16) == folder / "10"
    assert (folder / "10/model.onnx").read_bytes() == newer.read_bytes()
    assert (folder / "1/model.onnx").read_bytes() == tiny_onnx.read_bytes()
    parsed = parse(folder)
    assert parsed.instance_group[0].count == 3
    assert json.loads(parsed.parameters["dlcv"].string_value)["checkpoint_sha256"] == "f" * 64


@pytest.mark.parametrize("change", ["head", "batch", "classes", "foreign"])
def test_a_version_that_clients_would_not_expect_is_refused(
    tiny_graph: Callable[[str], Path], tiny_onnx: Path, tmp_path: Path, change: str
) -> None:
    folder = triton_model(tiny_onnx, tmp_path, name="fcn8s", max_batch=16).parent
    if change == "classes":
        (folder / "labels.txt").write_text("other\n")
    if change == "foreign":
        (folder / "config.pbtxt").write_text('name: "fcn8s"\n')
    reason = {
        "head": r"new would be: output \{ name: \"probs\" data_type: TYPE_FP32 dims: \[7, 64, 64\] \}; clients of fcn8s rely on it: choose another folder with --triton, or rename the graph and add that with --onnx, or remove ",
        "batch": "new would be: max_batch_size: 8; clients of fcn8s",
        "classes": r"labels\.txt names other classes than urban, agriculture, ",
        "foreign": r"config\.pbtxt was not written by dlcv-export, .*choose another folder with --triton, or remove",
    }[change]
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    with pytest.raises(ExportError, match=reason) as caught:
        triton_model(tiny_graph("probs" if change == "head" else "mask"), tmp_path, name="fcn8s", max_batch=8 if change == "batch" else 16)  # fmt: skip
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


def test_what_fails_half_way_leaves_nothing(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Any, target: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dlcv.export.triton.shutil.copyfile", full)
    with pytest.raises(OutputError, match="No space left on device; choose another with --triton"):
        triton_model(tiny_onnx, tmp_path / "models", name="fcn8s", max_batch=16)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_names_that_are_no_folders_of_triton(tiny_onnx: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="cannot be the name of a Triton model"):
        triton_model(tiny_onnx, tmp_path, name=name, max_batch=16)


def test_the_folders_can_be_read_by_the_servers_user(tiny_onnx: Path, tmp_path: Path) -> None:
    version = triton_model(tiny_onnx, tmp_path, name="fcn8s", max_batch=16)
    (tmp_path / "plain").mkdir()
    usual = (tmp_path / "plain").stat().st_mode
    assert [folder.stat().st_mode for folder in (version.parent, version)] == [usual, usual]


def test_a_graph_with_weights_elsewhere_is_not_served(tiny_onnx: Path, tmp_path: Path) -> None:
    """Triton would get the one file alone."""
    onnx = pytest.importorskip("onnx")
    graph = tmp_path / "a.onnx"
    onnx.save(onnx.load(tiny_onnx), graph, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(EngineError, match=r"a\.onnx keeps weights in 'w\.bin', and a plan is built from one file"):
        triton_model(graph, tmp_path / "models", name="a", max_batch=16)
    assert not (tmp_path / "models").exists()


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes minutes is an error."""

    def began(*_: Any, **__: Any) -> None:
        raise AssertionError("the work had begun")

    monkeypatch.setattr("dlcv.export.builders.rebuild.build_plan", began)
    monkeypatch.setattr("dlcv.export.export_model.export_model", began)


def test_a_name_that_triton_cannot_have_is_told_before_the_plan_is_built(
    export: Callable[..., Any], tiny_onnx: Path, tmp_path: Path, no_work: None
) -> None:
    graph = tmp_path / "a b.onnx"
    graph.write_bytes(tiny_onnx.read_bytes())
    result = export("--onnx", graph, "--triton", tmp_path / "models")
    assert (result.exit_code, result.stderr) == (
        2,
        "dlcv-export: 'a b' cannot be the name of a Triton model; use letters, digits, _ . -: "
        f"rename {graph}, such as to a-b.onnx\n",
    )


@pytest.mark.parametrize("change", ["head", "batch", "size", "classes", "foreign"])
@pytest.mark.parametrize("way", ["--onnx", "--model"])
def test_what_a_repository_would_refuse_is_told_before_anything_is_made(
    export: Callable[..., Any], tiny_graph: Callable[[str], Path], tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path,
    no_work: None, way: str, change: str,
) -> None:  # fmt: skip
    models = tmp_path / "models"
    folder = triton_model(tiny_onnx, models, name="fcn8s", max_batch=16).parent
    if change == "classes":
        (folder / "labels.txt").write_text("other\n")
    if change == "foreign":
        (folder / "config.pbtxt").write_text('name: "fcn8s"\n')
    if change == "size":
        (folder / "config.pbtxt").write_text((folder / "config.pbtxt").read_text().replace("64", "96"))
    graph = tmp_path / "fcn8s.onnx"
    graph.write_bytes(tiny_graph("probs" if change == "head" else "mask").read_bytes())
    batch = 8 if change == "batch" else 16
    if way == "--onnx":
        result = export("--onnx", graph, "--max-batch", batch, "--builder", "tensorrt-rtx", "--triton", models)
    else:
        head = ("--head", "probs") if change == "head" else ()
        result = export("--checkpoint", tiny_checkpoint, "--max-batch", batch, "--format", "onnx", "--triton", models, *head)  # fmt: skip
    assert result.exit_code == 2, result.exception
    (line,) = result.stderr.splitlines()
    assert {
        "head": "new would be: output { name: \"probs\"", "batch": "new would be: max_batch_size: 8",
        "size": "new would be: input { name: \"image\"", "classes": "names other classes", "foreign": "was not written by dlcv-export",
    }[change] in line  # fmt: skip


@pytest.mark.parametrize("broken", ["rename", "config"])
def test_a_version_that_cannot_be_added_leaves_the_card_of_the_one_before(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    folder = triton_model(tiny_onnx, tmp_path, name="fcn8s", max_batch=16).parent
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    newer = _newer(tiny_onnx, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def no_config(path: Path, data: bytes) -> None:
        if path.name == "config.pbtxt":
            raise OutputError(f"cannot write {path}: No space left on device")
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        if broken == "rename":
            patch.setattr("dlcv.export.triton.os.rename", full)
        else:
            patch.setattr("dlcv.export.triton.write_bytes", no_config)
        with pytest.raises(OutputError, match="No space left on device"):
            triton_model(newer, tmp_path, name="fcn8s", max_batch=16)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before


def test_a_version_never_appears_under_the_card_of_another(
    tiny_onnx: Path, tmp_path: Path, parse: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server that reads the folder at that moment would see it, or a kill leave it."""
    folder = triton_model(tiny_onnx, tmp_path, name="fcn8s", max_batch=16).parent
    assert parse(folder).parameters["dlcv_version"].string_value == "1"
    newer, seen, rename = _newer(tiny_onnx, tmp_path), list[Any](), os.rename
    monkeypatch.setattr(
        "dlcv.export.triton.os.rename", lambda old, new: (seen.append(parse(folder).parameters), rename(old, new))
    )
    triton_model(newer, tmp_path, name="fcn8s", max_batch=16)
    (parameters,) = seen
    assert json.loads(parameters["dlcv"].string_value)["checkpoint_sha256"] == "f" * 64
    assert parameters["dlcv_version"].string_value == "2"


def _newer(graph: Path, folder: Path) -> Path:
    """The graph with another card."""
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(graph)
    onnx.helper.set_model_props(proto, {"dlcv": read_card(graph).changed(checkpoint_sha256="f" * 64).to_json()})
    newer = folder / "newer.onnx"
    newer.write_bytes(proto.SerializeToString())
    return newer


def test_from_the_command_line(
    export: Callable[..., Any], tiny_checkpoint: Path, remembered_graphs: None, tmp_path: Path
) -> None:
    options = (
        "--checkpoint",
        tiny_checkpoint,
        "--output",
        tmp_path / "out",
        "--format",
        "onnx",
        "--triton",
        tmp_path / "models",
    )
    first, second = export(*options), export(*options)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.splitlines()[-1] == str(tmp_path / "models/fcn8s/1")
    assert second.stdout.splitlines()[-1] == str(tmp_path / "models/fcn8s/2")
    refused = export(*options, "--head", "probs")
    assert refused.exit_code == 2
    assert "of a model with other inputs or outputs" in refused.stderr.splitlines()[-1]


def test_a_plan_of_rtx_from_a_graph_alone_leaves_the_graph_to_serve(
    export: Callable[..., Any], tiny_onnx: Path, parse: Callable[[Path], Any], tmp_path: Path
) -> None:
    """`--onnx` with `--triton`, as on a server without torch; with a plan of full TensorRT: tests/export/builders."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    graph = tmp_path / "fcn8s.onnx"
    graph.write_bytes(tiny_onnx.read_bytes())
    result = export("--onnx", graph, "--builder", "tensorrt-rtx", "--max-batch", 4, "--triton", tmp_path / "models")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "models" / "fcn8s"
    assert result.stdout.splitlines() == [str(graph.with_suffix(".plan")), str(folder / "1")]
    assert f"Triton serves the graph: {graph.with_suffix('.plan')} is of TensorRT-RTX" in result.stderr
    config = parse(folder)
    assert (config.name, config.platform, config.max_batch_size) == ("fcn8s", "onnxruntime_onnx", 4)
    assert (folder / "1" / "model.onnx").read_bytes() == graph.read_bytes()


def test_a_repository_that_cannot_be_made_names_its_option(tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make the folder .*; choose another with --triton"):
        triton_model(tiny_onnx, tmp_path / "file" / "models", name="fcn8s", max_batch=4)
