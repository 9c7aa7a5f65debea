"""Parity of classifiers: passes where it should, cannot be fooled, and takes several checkpoints for one side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import numpy_helper

from dlcv.benchmarks.cli.parity import main
from dlcv.benchmarks.judging.parity import EngineSide, compare, open_side
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.sessions import Session, open_session

BLOCKED = "import sys\nfor name in ('torch', 'onnx', 'onnxscript', 'dlcv.export'): sys.modules[name] = None"


@pytest.fixture
def checkpoints(tiny_classifier: Callable[[int], Path]) -> list[Path]:
    return [tiny_classifier(seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def exported(tiny_classifier: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported folders: of one checkpoint, and of two as one."""
    from dlcv.export.export_model import ExportSettings, export_model

    paths, folder = (tiny_classifier(0), tiny_classifier(1)), tmp_path_factory.mktemp("exported")
    for name, chosen in (("one", paths[:1]), ("two", paths)):
        export_model(ExportSettings("cnn3", chosen, folder / name, format="onnx"))
    return {name: folder / name / "cnn3.onnx" for name in ("one", "two")}


def invoke(reference: list[Path], candidate: list[Path], data: Path, *options: object) -> tuple[int, str, str]:
    sides = [w for k, paths in (("--reference", reference), ("--candidate", candidate)) for p in paths for w in (k, p)]
    result = CliRunner().invoke(main, list(map(str, (*sides, "--data", data, "--device", "cpu", *options))))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_graph_holds_against_its_checkpoint(
    checkpoints: list[Path], exported: dict[str, Path], tiny_classified: Path, tmp_path: Path
) -> None:
    code, out, err = invoke(checkpoints[:1], [exported["one"]], tiny_classified, "--json", tmp_path / "p.json")
    assert code == 0, err
    names = [line.split("|")[1].strip() for line in out.splitlines()[2:9]]
    assert names == ["accuracy", "blood", "grass", "night", "sea", "balanced accuracy", "top-5 accuracy"]
    assert "24 images, argmax agreement 1.000000, largest probability difference " in out
    assert "; majority predictor's accuracy 0.2500" in out
    assert err.splitlines()[-1].startswith("parity holds on 24 images: accuracy 0.")
    assert "different checkpoints" not in err
    facts = json.loads((tmp_path / "p.json").read_text())
    assert (facts["passed"], facts["images"], facts["images_given"]) == (True, 24, 24)
    assert (facts["min_agreement"], facts["max_probability_difference"]) == (0.999, 0.001)
    assert facts["probability_difference"] < 1e-5  # float32 roundings of values up to 1
    assert facts["accuracy"]["reference"] > 2 * facts["majority_accuracy"], "there is something to lose"


def test_an_ensemble_of_checkpoints_is_a_side(
    checkpoints: list[Path], exported: dict[str, Path], tiny_classified: Path, tmp_path: Path
) -> None:
    code, _, err = invoke(checkpoints, [exported["two"]], tiny_classified, "--json", tmp_path / "p.json")
    assert code == 0, err
    assert "the mean of 2 checkpoints; candidate: O" in err  # OpenVINO or ONNX Runtime
    assert "different checkpoints" not in err
    assert json.loads((tmp_path / "p.json").read_text())["reference"]["files"] == list(map(str, checkpoints))
    code, _, err = invoke(checkpoints[:1], [exported["two"]], tiny_classified)
    assert code == 1, "one member is not the mean"
    assert "the sides are of different checkpoints (cnn3 and 2 of cnn3)" in err
    code, _, err = invoke([exported["one"], exported["two"]], [exported["two"]], tiny_classified)
    assert code == 2
    assert err.endswith("cnn3.onnx is no checkpoint (onnx); only checkpoints are averaged, name it alone\n")


@pytest.mark.parametrize("fault", ["bgr", "unit", "temperature"])
def test_planted_faults_fail(
    fault: str, checkpoints: list[Path], exported: dict[str, Path], tiny_classified: Path, tmp_path: Path
) -> None:
    proto = onnx.load(exported["one"])
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if fault == "unit" and array.shape == (1, 3, 1, 1) and abs(array.ravel()[0] - 123.675) < 1e-3:
            tensor.CopyFrom(numpy_helper.from_array(array / 255, tensor.name))
        if fault == "bgr" and array.ndim == 4 and array.shape[1] == 3 and array.shape[0] != 1:
            tensor.CopyFrom(numpy_helper.from_array(array[:, ::-1].copy(), tensor.name))
        if fault == "temperature" and "fc." in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1.05), tensor.name))
    onnx.save(proto, tmp_path / "faulty.onnx")
    code, _, err = invoke(checkpoints[:1], [tmp_path / "faulty.onnx"], tiny_classified)
    assert code == 1
    assert "; allowed is 0.001" in err.splitlines()[-1]
    assert ("argmax agreement" in err) == (fault != "temperature"), "only probabilities show another temperature"
    loose = ("--max-drop", 1, "--min-agreement", 0, "--max-probability-difference", 1)
    assert invoke(checkpoints[:1], [tmp_path / "faulty.onnx"], tiny_classified, *loose)[0] == 0


class Swapped(Session):
    """Gives the images of a batch back in another order."""

    def __init__(self, inner: Session) -> None:
        self._inner, self.card, self.description = inner, inner.card, "swapped"

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        return {name: array[::-1] for name, array in self._inner.run(images).items()}


def test_images_that_change_places_in_a_batch_fail(
    checkpoints: list[Path], exported: dict[str, Path], tiny_classified: Path
) -> None:
    with open_session(exported["one"], device="cpu") as session:
        labelled, reference = labelled_for(session.card, tiny_classified), open_side(checkpoints[:1], "cpu")
        honest = compare(reference, EngineSide(session), labelled)
        swapped = compare(reference, EngineSide(Swapped(session)), labelled)
    assert honest.problems(max_drop=0.005, min_agreement=0.999, max_probability_difference=1e-3) == []
    assert swapped.agreement < 0.7


def test_several_images_go_through_an_engine_at_once(exported: dict[str, Path], tiny_classified: Path) -> None:
    sizes: list[int] = []

    class Counted(Swapped):
        def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
            sizes.append(len(images))
            return self._inner.run(images)

    with open_session(exported["one"], device="cpu") as session:
        side = EngineSide(Counted(session))
        compare(side, side, labelled_for(session.card, tiny_classified))
    assert sizes == [24, 24]


def test_the_reference_of_an_export_serves_without_torch(
    run_command: Callable[..., Any], exported: dict[str, Path], tiny_classified: Path
) -> None:
    stored = exported["one"].with_name("cnn3.reference.npz")
    sides = ("--reference", stored, "--candidate", exported["one"], "--data", tiny_classified, "--device", "cpu")
    result = run_command("dlcv-parity", *sides, before=BLOCKED)
    assert result.returncode == 0, result.stderr
    assert "parity holds on 24 images" in result.stderr
    other = ("--reference", stored, "--candidate", exported["two"], "--data", tiny_classified, "--device", "cpu")
    assert run_command("dlcv-parity", *other, before=BLOCKED).returncode == 1


def test_a_split_names_the_images(exported: dict[str, Path], tiny_classified: Path, tmp_path: Path) -> None:
    names = [path.relative_to(tiny_classified).as_posix() for path in sorted(tiny_classified.rglob("*.png"))]
    split = tmp_path / "split.csv"
    split.write_text(
        "name,split\n" + "".join(f"{n},{'train' if k % 3 else 'validation'}\n" for k, n in enumerate(names))
    )
    code, out, err = invoke([exported["one"]], [exported["one"]], tiny_classified, "--split", split)
    assert code == 0, err
    assert "8 images, argmax agreement 1.000000" in out


def test_images_that_the_reference_does_not_know_are_left_out(
    exported: dict[str, Path], tiny_classified: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_classified, tmp_path / "data"))
    for path in (data / "blood").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    stored = exported["one"].with_name("cnn3.reference.npz")
    code, out, err = invoke([stored], [exported["one"]], data)
    assert code == 0, err
    assert "18 images, argmax agreement" in out
    assert "18 of 24 images are known to the reference; the others were left out" in err
    for path in data.rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"\0")
    code, out, err = invoke([stored], [exported["one"]], data)
    assert (code, out) == (1, ""), "no table of what was not compared"
    assert err.splitlines()[-1] == (
        f"dlcv-parity: parity failed: nothing to compare: none of the 24 images of {data} is among those that {stored} has answers to; "
        "give --data the images of that export"
    )


def test_a_classifier_is_not_compared_with_a_segmentation_model(
    checkpoints: list[Path], tiny_onnx: Path, tiny_data: Path
) -> None:
    code, _, err = invoke(checkpoints[:1], [tiny_onnx], tiny_data)
    assert code == 2
    assert "the model is for classification, the dataset deepglobe is labelled for segmentation" in err


def test_the_picture_of_masks_is_for_segmentation(
    exported: dict[str, Path], tiny_classified: Path, tmp_path: Path
) -> None:
    from dlcv.benchmarks.judging.pictures import comparison_picture
    from dlcv.runtime.errors import UsageError

    with pytest.raises(
        UsageError, match="is for classification; this picture shows the masks of a segmentation engine"
    ):
        comparison_picture(tiny_classified, tmp_path, exported["one"], tmp_path / "x.png")
