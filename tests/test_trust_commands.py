"""`--require-hash` and `--require-signature` of every command that runs an engine, in processes of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.files import sha256_of

OTHER = "0" * 64


@pytest.fixture
def engine(tiny_onnx: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(tiny_onnx, tmp_path / "fcn8s.onnx"))


@pytest.fixture
def commands(
    engine: Path, tile_folder: Path, tiny_data: Path, tiny_checkpoint: Path, tmp_path: Path
) -> dict[str, list[Any]]:
    """Command -> arguments that run the engine."""
    return {
        "dlcv-infer": [tile_folder, "--engine", engine, "--output", tmp_path / "masks", "--quiet", "--overwrite"],
        "dlcv-evaluate": ["--engine", engine, "--data", tiny_data, "--dataset", "deepglobe"],
        "dlcv-parity": ["--reference", engine, "--candidate", engine, "--data", tiny_data, "--dataset", "deepglobe"],
        "dlcv-bench": [engine, "--measure", "host", "--baselines", "", "--rounds", 2, "--pairs", 2, "--warm-up", 0],
    }


@pytest.mark.parametrize("name", ["dlcv-infer", "dlcv-evaluate", "dlcv-parity", "dlcv-bench"])
def test_a_hash_opens_its_own_file_alone(
    run_command: Any, commands: dict[str, list[Any]], engine: Path, name: str
) -> None:
    done = run_command(name, *commands[name], "--device", "cpu", "--require-hash", sha256_of(engine))
    assert done.returncode == 0, done.stderr
    done = run_command(name, *commands[name], "--device", "cpu", "--require-hash", OTHER)
    assert done.returncode == 2
    assert f"{name}: {engine} has the SHA-256 {sha256_of(engine)}, and --require-hash wants {OTHER}; " in done.stderr


@pytest.mark.parametrize("name", ["dlcv-infer", "dlcv-evaluate", "dlcv-parity", "dlcv-bench"])
def test_a_signature_is_asked_for(run_command: Any, commands: dict[str, list[Any]], engine: Path, name: str) -> None:
    minisign = pytest.importorskip("minisign", reason="the sign extra is not installed")
    pair = minisign.KeyPair.generate()
    arguments = [*commands[name], "--device", "cpu", "--require-signature", pair.public_key.to_base64().decode()]
    done = run_command(name, *arguments)
    assert done.returncode == 2
    assert f"{name}: {engine} is not signed: there is no fcn8s.onnx.minisig beside it" in done.stderr
    signature = pair.secret_key.sign(engine.read_bytes(), trusted_comment="a test")
    engine.with_name("fcn8s.onnx.minisig").write_bytes(bytes(signature))
    done = run_command(name, *arguments)
    assert done.returncode == 0, done.stderr


def test_parity_asks_of_both_sides(run_command: Any, engine: Path, tiny_checkpoint: Path, tiny_data: Path) -> None:
    """A hash of the candidate does not open the reference, also where that is a checkpoint."""
    pytest.importorskip("torch", reason="a checkpoint is run with torch")
    sides = [
        "--reference",
        tiny_checkpoint,
        "--candidate",
        engine,
        "--data",
        tiny_data,
        "--dataset",
        "deepglobe",
        "--device",
        "cpu",
    ]
    done = run_command("dlcv-parity", *sides, "--require-hash", sha256_of(engine))
    assert done.returncode == 2
    assert f"{tiny_checkpoint} has the SHA-256 {sha256_of(tiny_checkpoint)}, and" in done.stderr
    both = ["--require-hash", sha256_of(engine), "--require-hash", sha256_of(tiny_checkpoint)]
    done = run_command("dlcv-parity", *sides, *both)
    assert done.returncode == 0, done.stderr


def test_a_graph_that_was_edited_after_the_export(
    run_command: Any, engine: Path, tile_folder: Path, tmp_path: Path
) -> None:
    """With its sidecar it is refused; whoever can edit the sidecar too is stopped by a hash alone."""
    import json

    from dlcv.runtime.card.reader import read_card

    exported = sha256_of(engine)
    sidecar = engine.with_suffix(".json")
    facts = {"card": read_card(engine).to_dict(), "files": {"fcn8s.onnx": {"sha256": exported}}}
    sidecar.write_text(json.dumps(facts))
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1  # inside of the weights
    engine.write_bytes(data)
    run = [tile_folder, "--engine", engine, "--output", tmp_path / "masks", "--quiet", "--overwrite", "--device", "cpu"]
    done = run_command("dlcv-infer", *run)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "is not the file that dlcv-export wrote: fcn8s.json holds another hash; export it again, or remove fcn8s.json if you trust the file\n"
    )
    facts["files"] = {"fcn8s.onnx": {"sha256": sha256_of(engine)}}
    sidecar.write_text(json.dumps(facts))
    assert run_command("dlcv-infer", *run).returncode == 0
    sidecar.unlink()
    assert run_command("dlcv-infer", *run).returncode == 0
    done = run_command("dlcv-infer", *run, "--require-hash", exported)
    assert done.returncode == 2 and "--require-hash wants" in done.stderr
