"""Tensors of a checkpoint found without unpickling: as torch has them; and pickles that would run code, which do not."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcv.runtime.errors import EngineError
from dlcv.runtime.inspection.archives import checkpoint_details
from dlcv.runtime.inspection.pickled import PickleError, read_pickled

TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
    b"0X\x03\0\0\0cpuK\x06tQK\0K\x02K\x03\x86K\x03K\x01\x86\x89}tR"
)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def archive(path: Path, data: bytes, members: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("archive/data.pkl", data)
        for name, content in (members or {}).items():
            out.writestr(f"archive/data/{name}", content)
    return path


def test_the_tensors_of_a_real_checkpoint(tiny_checkpoint: Path) -> None:
    torch = pytest.importorskip("torch")
    weights = torch.load(tiny_checkpoint, weights_only=True)["weights"]
    found = checkpoint_details(tiny_checkpoint)
    assert found["unknown"] == ""
    assert found["weights"] == [
        {"name": name, "dtype": "float32", "shape": list(tensor.shape)} for name, tensor in weights.items()
    ]
    assert found["parameters"] == sum(tensor.numel() for tensor in weights.values())
    assert found["weight_bytes"] == 4 * found["parameters"]
    assert (found["training_tensors"], found["other_names"]) == (0, [])


def test_optimizer_statistics_and_shared_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 1, 4, 4, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    weights = model.state_dict() | {"again": model[0].weight}
    torch.save(
        {"weights": weights, "training": optimizer.state_dict() | {"rng": torch.get_rng_state()}}, tmp_path / "a.pt"
    )
    found = checkpoint_details(tmp_path / "a.pt")
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert {tensor["dtype"] for tensor in found["weights"]} == {"bfloat16", "int64"}
    assert found["training_tensors"] == len(list(model.parameters())) + 1
    assert found["other_names"] == []


def test_a_plain_state_dict(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.zeros(2, 3), "a.bias": torch.nn.Parameter(torch.zeros(2))}, tmp_path / "a.pt")
    names = [tensor["name"] for tensor in checkpoint_details(tmp_path / "a.pt")["weights"]]
    assert names == ["a.weight", "a.bias"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_named_and_not_run(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"weights": {}, "x": Bomb(tmp_path / "made")}, protocol)
    found = checkpoint_details(archive(tmp_path / "a.pt", data))
    assert found["other_names"] == [f"{os.mkdir.__module__}.mkdir"]
    assert not (tmp_path / "made").exists()
    pickle.loads(data)  # it would have
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "damaged"),
        (b"\x80\x02}", "damaged"),  # no STOP
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02}K\x01.x", None),
        (b"\x80\x02(iposix\nsystem\n.", "uses INST"),
        (b"\x80\x02X\x01\0\0\0aQ.", "refers to a storage"),
        (b"\x80\x02K\x01K\x02K\x03s.", "what is no dictionary"),
        (b"\x80\x02" + TENSOR.replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\xffK\x03\x86") + b".", "rebuilds a tensor"),
        (b"\x80\x02" + b"]" + b"]" * 99 + b"a" * 99 + b".", "nested"),
    ],
)
def test_damaged_pickles(data: bytes, reason: str | None) -> None:
    if reason is None:
        assert read_pickled(data).tensors == {}
        return
    with pytest.raises(PickleError, match=reason) as caught:
        read_pickled(data)
    assert "\n" not in str(caught.value)


def test_a_list_in_itself_and_many_references_end() -> None:
    assert read_pickled(b"\x80\x02]q\x00h\x00a.").tensors == {}
    doubling = b"\x80\x02" + b"K\x01" + b"".join(b"q%ch%c\x86" % (k, k) for k in range(50)) + b"."
    assert read_pickled(doubling).tensors == {}  # 2 to the power of 50 places, 50 containers


def test_more_opcodes_than_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcv.runtime.inspection.pickled._MAX_OPCODES", 1000)
    with pytest.raises(PickleError, match="more than 1000 opcodes"):
        read_pickled(b"\x80\x02" + b"K\x01" * 1000 + b".")


def test_members_must_hold_what_the_pickle_says(tmp_path: Path) -> None:
    data = b"\x80\x02}X\x01\0\0\0w" + TENSOR + b"s."
    assert checkpoint_details(archive(tmp_path / "a.pt", data, {"0": bytes(24)}))["parameters"] == 6
    assert "expected 24" in checkpoint_details(archive(tmp_path / "b.pt", data, {"0": bytes(20)}))["unknown"]
    assert "lacks the values of w" in checkpoint_details(archive(tmp_path / "c.pt", data))["unknown"]
    with zipfile.ZipFile(tmp_path / "d.pt", "w") as out:
        out.writestr("constants.pkl", b"")
    assert "0 data.pkl" in checkpoint_details(tmp_path / "d.pt")["unknown"]


def test_damaged_archives_in_one_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    whole = tiny_checkpoint.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (whole[:5000], whole[:-30], bytes(flipped)):
        (tmp_path / "a.pt").write_bytes(data)
        with pytest.raises(EngineError, match="is damaged") as caught:
            checkpoint_details(tmp_path / "a.pt")
        assert "\n" not in str(caught.value)


def test_an_archive_that_would_unpack_to_more_than_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcv.runtime.inspection.archives._MAX_CHECKED", 1 << 16)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("archive/data.pkl", bytes(1 << 20))
    (tmp_path / "bomb.pt").write_bytes(buffer.getvalue())
    with pytest.raises(EngineError, match="claim more bytes than the file can hold"):
        checkpoint_details(tmp_path / "bomb.pt")


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([*b"})]()tuseaRQbq\x00h\x85\x86\x87Nc."]), max_size=60).map(bytes),
    )
)
def test_any_bytes_end_in_words(data: bytes) -> None:
    for text in (data, b"\x80\x02" + data + b"."):
        with suppress(PickleError):  # another exception would be a traceback
            read_pickled(text)
