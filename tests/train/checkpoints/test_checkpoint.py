"""Checkpoints: whole or not there, readable without unpickling, and never running what they hold."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pickles import RunsCode
from torch import nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import CHECKPOINT_MEMBER, read_card
from dlcv.runtime.errors import CheckpointError, OutputError
from dlcv.train.checkpoints.checkpoint import (
    Checkpoint,
    checkpoint_card,
    load_checkpoint,
    model_from_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def checkpoint(tiny_model: nn.Module, tiny_card: ModelCard) -> Checkpoint:
    training = {"epoch": 3, "rng": torch.get_rng_state(), "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}}}
    return Checkpoint(
        tiny_card,
        tiny_model.state_dict(),
        {"name": "deepglobe"},
        "ab12",
        {"mean_iou": 0.5, "iou": [0.5, float("nan")]},
        training,
    )


def archive_of(content: object, card: ModelCard) -> bytes:
    """What `torch.save` makes of `content`, with a card beside it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/{CHECKPOINT_MEMBER}", card.to_json())
    return buffer.getvalue()


def test_everything_comes_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    back = load_checkpoint(tmp_path / "a.pt", model="fcn8s")
    assert back.card == checkpoint.card and back.dataset == checkpoint.dataset and back.probe_sha256 == "ab12"
    assert back.scores["mean_iou"] == 0.5 and back.training["epoch"] == 3
    assert torch.equal(back.training["rng"], checkpoint.training["rng"])
    assert list(back.weights) == list(checkpoint.weights)
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in checkpoint.weights.items())
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_the_model_comes_back(checkpoint: Checkpoint, tiny_model: nn.Module, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    model = model_from_checkpoint(load_checkpoint(tmp_path / "a.pt"))
    image = torch.randn(1, 3, 64, 64)
    assert not model.training
    with torch.inference_mode():
        assert torch.equal(model(image), tiny_model(image))


def test_the_card_is_read_without_unpickling(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    assert read_card(tmp_path / "a.pt") == checkpoint_card(tmp_path / "a.pt") == checkpoint.card


def test_torch_alone_reads_the_weights(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert set(content) == {"weights", "dataset", "probe_sha256", "scores", "training"}
    assert set(content["weights"]) == set(checkpoint.weights)


def test_a_missing_checkpoint_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"there is no checkpoint .*best\.pt; train one with: dlcv-train --model fcn32s --data DIR",
    ):
        load_checkpoint(tmp_path / "best.pt", model="fcn32s")


def test_a_checkpoint_of_another_model_names_both(tiny_checkpoint: Path) -> None:
    with pytest.raises(
        CheckpointError, match="is a checkpoint of fcn8s, not of fcn32s; pass --model fcn8s, or another --checkpoint"
    ):
        load_checkpoint(tiny_checkpoint, model="fcn32s")
    assert load_checkpoint(tiny_checkpoint).card.model == "fcn8s"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_checkpoint_is_refused(tiny_checkpoint: Path, tmp_path: Path, share: float) -> None:
    data = tiny_checkpoint.read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"a\.pt cannot be used as a checkpoint: .*(is damaged|is empty)"):
        load_checkpoint(tmp_path / "a.pt")


def test_changed_bytes_never_end_in_another_error(tiny_checkpoint: Path, tmp_path: Path) -> None:
    original, path, refusals = tiny_checkpoint.read_bytes(), tmp_path / "a.pt", []
    for k in range(60):
        # the first half of the places lies in the pickle at the archive's start, where damage has most ways to fail
        place = 40 + 67 * k if k < 30 else (len(original) * (k - 29)) // 31
        data = bytearray(original)
        data[place] ^= 0x55
        path.write_bytes(data)
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            refusals.append(str(error))
    assert all("a.pt" in text and "\n" not in text for text in refusals)
    assert len(refusals) >= 40  # the others fell into padding


@pytest.mark.parametrize("content", [[1, 2], {"weights": {}}, {"state_dict": {}}])
def test_an_archive_without_the_parts_is_refused(tiny_card: ModelCard, tmp_path: Path, content: object) -> None:
    (tmp_path / "a.pt").write_bytes(archive_of(content, tiny_card))
    with pytest.raises(CheckpointError, match=r"a\.pt is not a checkpoint of dlcv-train"):
        load_checkpoint(tmp_path / "a.pt")


def test_weights_without_a_card_are_refused(tiny_model: nn.Module, tmp_path: Path) -> None:
    torch.save(tiny_model.state_dict(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="carries no dlcv model card"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_folder_and_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(
        CheckpointError, match=r"is not a checkpoint of dlcv-train; expected a best\.pt or last\.pt of a run"
    ):
        load_checkpoint(tmp_path / "text.pt")
    with pytest.raises(CheckpointError, match="is a folder; expected a file"):
        load_checkpoint(tmp_path)


def test_a_pickle_that_would_run_code_is_refused(tiny_card: ModelCard, tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    evil = {"weights": RunsCode(marker), "dataset": {}, "probe_sha256": "", "scores": {}, "training": {}}
    path.write_bytes(archive_of(evil, tiny_card))
    with pytest.raises(
        CheckpointError, match=r"evil\.pt is damaged or holds more than weights, nothing was run; train it again"
    ):
        load_checkpoint(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file was able to: the refusal above was not an accident
    assert marker.is_dir()


def test_a_bare_pickle_is_not_even_opened(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(RunsCode(marker)))
    with pytest.raises(CheckpointError, match="is not a checkpoint of dlcv-train"):
        load_checkpoint(path)
    assert not marker.exists()


def test_weights_of_another_width_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", replace(checkpoint, card=checkpoint.card.changed(width=0.5)))
    with pytest.raises(
        CheckpointError, match=r"the weights do not fit fcn8s at width 0\.5: size mismatch.*; train it again"
    ) as told:
        model_from_checkpoint(load_checkpoint(tmp_path / "a.pt"))
    assert "\n" not in str(told.value)


def test_a_failed_write_leaves_the_older_checkpoint(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    monkeypatch.setattr("dlcv.runtime.files.partial_name", lambda _: Path("/dev/full"))
    monkeypatch.setattr("dlcv.runtime.files.remove_file", lambda _: None)  # /dev/full itself must stay
    with pytest.raises(OutputError, match=r"cannot write .*last\.pt: No space left on device"):
        save_checkpoint(path, checkpoint)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_an_interrupted_write_leaves_nothing_partial(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dlcv.runtime.files.os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "last.pt", checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.pt: No such file or directory"):
        save_checkpoint(tmp_path / "gone" / "a.pt", checkpoint)


def test_a_copy_elsewhere_is_the_same_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copyfile(tiny_checkpoint, tmp_path / "renamed")
    assert load_checkpoint(tmp_path / "renamed").card == read_card(tiny_checkpoint)


def test_a_bomb_is_refused_before_it_is_unpacked(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Torch unpacks what is compressed; it stores, so that an archive that claims more than the file holds is none of its own."""
    save_checkpoint(tmp_path / "a.pt", checkpoint)
    load_checkpoint(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/data/9999", bytes(64 << 20))
    with pytest.raises(
        CheckpointError, match=r"a\.pt is damaged \(its members claim more bytes than the file can hold\)"
    ):
        load_checkpoint(tmp_path / "a.pt")
