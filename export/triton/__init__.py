"""A Triton model repository from an export: `DIR/MODEL/config.pbtxt`, `labels.txt` and `1/model.onnx` or `1/model.plan`.

Each further export becomes the next version; what clients rely on must be the same, and what an operator tuned is kept.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dlcv.export.triton.config import CONFIG, LABELS, MODEL_FILES, Config, config_of, read_config
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import read_plan_header
from dlcv.runtime.card.reader import kind_of, read_card
from dlcv.runtime.errors import EngineError, ExportError, OutputError, one_line
from dlcv.runtime.files import make_folder, write_bytes
from dlcv.runtime.provenance.graph import check_graph

__all__ = ["check_triton", "servable", "triton_model"]


def servable(files: Sequence[Path]) -> tuple[Path, str]:
    """The file of an export that Triton shall serve: a plan of full TensorRT, else the graph.

    Args:
        files: of the export.

    Returns:
        The file, and in words why it is not the plan; empty where it is, or where there is none.

    Raises:
        ExportError: when there is neither.
    """
    graphs = [path for path in files if path.suffix == ".onnx"]
    plans = [path for path in files if path.suffix == ".plan"]
    if plans and read_plan_header(plans[0]).kind == "tensorrt":
        return plans[0], ""
    if not graphs:
        raise ExportError("there is no graph to serve; export one with: dlcv-export --format onnx")
    why = f"{plans[0]} is of TensorRT-RTX, which Triton does not load" if plans else ""
    return graphs[0], why


def triton_model(engine: Path, repository: Path, *, name: str, max_batch: int) -> Path:
    """Adds an engine to a Triton model repository.

    Args:
        engine: an `.onnx` or a `.plan` of full TensorRT, with a model card; it is copied.
        repository: the folder that `tritonserver --model-repository` is given; made where it is missing.
        name: of the model, under which clients ask for it.
        max_batch: the largest batch of a graph; a plan has its own.

    Returns:
        The folder of the new version.

    Raises:
        EngineError: when it is a graph that keeps weights in other files, or needs operators of a library.
        ExportError: when the engine cannot be served by Triton, or the model is there already with other inputs, outputs or
            classes, or with a configuration that dlcv did not write.
        OutputError: when files cannot be written; what was there is as it was.
    """
    check_name(name)
    card = read_card(engine)
    kind = kind_of(engine)
    if kind == "plan" and read_plan_header(engine).kind != "tensorrt":
        graph = engine.with_suffix(".onnx")
        raise ExportError(f"{engine} is of TensorRT-RTX, which Triton does not load; serve the graph it was built from{f': {graph}' if graph.is_file() else ''}")  # fmt: skip
    if kind not in MODEL_FILES:
        raise EngineError(f"{engine} is a {kind}, and Triton serves an .onnx or a .plan; make one with: dlcv-export")
    if kind == "onnx":
        check_graph(engine, alone=True)
    config = config_of(engine, kind, card, name=name, max_batch=card.max_batch or max_batch)
    folder = repository / name
    try:
        make_folder(repository)
    except OutputError as error:
        raise OutputError(str(error).replace("--output", "--triton")) from error
    if folder.exists():
        return _next_version(engine, folder, kind, card, config)
    with _staging(repository, name) as staging:
        _write_about(staging, card, config, 1)
        (staging / "1").mkdir()
        shutil.copyfile(engine, staging / "1" / MODEL_FILES[kind])
        os.chmod(staging, 0o777 & ~_umask())
        os.rename(staging, folder)
    return folder / "1"


def check_triton(
    repository: Path, card: ModelCard, kind: str, *, name: str, max_batch: int, graph: Path | None = None
) -> None:
    """Refuses before the minutes of an export what `triton_model` would refuse after them; writes nothing.

    Args:
        repository: as of `triton_model`.
        card: that the engine will have.
        kind: of the engine that will be served: `onnx`, or `plan` of full TensorRT.
        name: of the model.
        max_batch: the largest batch.
        graph: that the engine is made from, where it is there already and gives the model its name.

    Raises:
        ExportError: as `triton_model`.
    """
    check_name(name, graph)
    folder = repository / name
    if folder.exists():
        config = config_of(graph if kind == "onnx" else None, kind, card, name=name, max_batch=max_batch)
        _require_same(folder, read_config(folder / CONFIG), config, card)


def check_name(name: str, graph: Path | None = None) -> None:
    """Raises ExportError for a name that Triton cannot have; `graph` is the file that gives it."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        better = re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip(".-") or "model"
        todo = "" if graph is None else f": rename {graph}, such as to {better}{graph.suffix}"
        raise ExportError(f"{name!r} cannot be the name of a Triton model; use letters, digits, _ . -{todo}")


def labels_of(card: ModelCard) -> str:
    """A class name a line, in the order of the indices."""
    return "".join(one_line(label) + "\n" for label in card.classes)


def _next_version(engine: Path, folder: Path, kind: str, card: ModelCard, config: Config) -> Path:
    """Adds a version beside those that are there; the configuration's own part must be the same."""
    found = read_config(folder / CONFIG)
    _require_same(folder, found, config, card)
    version = 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)
    with _staging(folder, str(version)) as staging:
        shutil.copyfile(engine, staging / MODEL_FILES[kind])
        os.chmod(staging, 0o777 & ~_umask())
        # The configuration first: no version ever stands under the card of another.
        before = {path: path.read_bytes() for path in (folder / LABELS, folder / CONFIG)}
        try:
            _write_about(folder, card, Config(config.dictated, config.card, found.tuning), version)
            os.rename(staging, folder / str(version))
        except BaseException:
            for path, data in before.items():
                write_bytes(path, data)
            raise
    return folder / str(version)


def _require_same(folder: Path, found: Config, config: Config, card: ModelCard) -> None:
    remedy = (
        f"clients of {folder.name} rely on it: choose another folder with --triton, or rename the graph and add that with --onnx, "
        f"or remove {folder}"
    )
    if found.dictated != config.dictated:
        old, new = (set(text.splitlines()) for text in (found.dictated, config.dictated))
        changed = "; ".join(line.strip() for line in sorted(new - old) or sorted(old - new))
        raise ExportError(f"{folder / CONFIG} is of a model with other inputs or outputs; new would be: {one_line(changed)}; {remedy}")  # fmt: skip
    try:
        labels = (folder / LABELS).read_text()
    except (OSError, UnicodeDecodeError):
        labels = ""
    if labels != labels_of(card):
        raise ExportError(
            f"{folder / LABELS} names other classes than {one_line(', '.join(card.classes[:10]))}; {remedy}"
        )


def _write_about(folder: Path, card: ModelCard, config: Config, version: int) -> None:
    write_bytes(folder / LABELS, labels_of(card).encode())
    write_bytes(folder / CONFIG, config.of_version(version).text().encode())


@contextmanager
def _staging(folder: Path, name: str) -> Iterator[Path]:
    """A hidden folder beside the final one, gone unless it was renamed."""
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=folder))
        try:
            yield staging
        finally:
            with suppress(OSError):
                shutil.rmtree(staging)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}; choose another with --triton") from error  # fmt: skip


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
