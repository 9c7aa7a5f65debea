"""Signatures made by minisign itself (`vectors/`, 0.11) and by the tool where it is installed; what is refused, and how."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlcv.runtime.errors import EngineError, MissingPackageError, UsageError
from dlcv.runtime.provenance.signature import check_signature, find_signature, signature_path

VECTORS = Path(__file__).with_name("vectors")
KEY_ID, OTHER_ID = "75F2CBCF007A6432", "42E56EFA15218B5C"
"""As `minisign -G` printed them into the public keys' comments."""


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    pytest.importorskip("minisign", reason="the sign extra is not installed")
    for path in VECTORS.iterdir():
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / "signed.txt"


def check(path: Path, key: str | Path | None = None) -> str:
    return check_signature(path, path.read_bytes(), str(key or VECTORS / "key.pub"))


def test_what_minisign_signed_holds(signed: Path) -> None:
    assert check(signed) == "file:signed.txt, a test vector"
    assert check(signed, (VECTORS / "key.pub").read_text().split()[-1]) == "file:signed.txt, a test vector"
    assert check(signed.with_name("of-other.txt"), VECTORS / "other.pub") == "another key"


def test_key_ids_are_those_that_minisign_prints() -> None:
    for name, key_id in {"signed.txt": KEY_ID, "of-other.txt": OTHER_ID}.items():
        found = find_signature(VECTORS / name)
        assert found is not None and (found.key_id, found.prehashed) == (key_id, True)
    assert KEY_ID in (VECTORS / "key.pub").read_text() and OTHER_ID in (VECTORS / "other.pub").read_text()


def test_a_file_that_was_altered(signed: Path) -> None:
    whole = signed.read_bytes()
    for altered in (whole[:-1], whole + b"\n", b"W" + whole[1:], b""):
        signed.write_bytes(altered)
        with pytest.raises(EngineError) as caught:
            check(signed)
        assert str(caught.value) == (
            f"{signed} is not what was signed with the key {KEY_ID}: the file, or the trusted comment in "
            "signed.txt.minisig, was altered afterwards; fetch both again from where they were signed"
        )


@pytest.mark.parametrize(
    ("line", "old", "new"), [(2, b"a test", b"b test"), (3, b"NaHg", b"NbHg"), (1, b"dYy77", b"dYz77")]
)
def test_a_signature_that_was_altered(signed: Path, line: int, old: bytes, new: bytes) -> None:
    """The trusted comment too: its signature is the fourth line."""
    lines = signature_path(signed).read_bytes().splitlines()
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new)
    signature_path(signed).write_bytes(b"\n".join(lines))
    with pytest.raises(EngineError, match="is not what was signed with the key"):
        check(signed)


def test_a_trusted_comment_of_another_signature(signed: Path) -> None:
    """Lines 3 and 4 of another signature of the same key hold by themselves, and not beside this one."""
    lines = signature_path(signed).read_bytes().splitlines()
    other = signature_path(signed.with_name("old-form.txt")).read_bytes().splitlines()
    signature_path(signed).write_bytes(b"\n".join([*lines[:2], *other[2:]]))
    with pytest.raises(EngineError, match=r"or the trusted comment in signed\.txt\.minisig, was altered"):
        check(signed)


def test_no_signature(signed: Path) -> None:
    signature_path(signed).unlink()
    with pytest.raises(EngineError) as caught:
        check(signed)
    assert str(caught.value) == (
        f"{signed} is not signed: there is no signed.txt.minisig beside it, and the key {KEY_ID} is required; "
        f"sign it with: minisign -Sm {signed}"
    )


def test_a_signature_of_another_key(signed: Path) -> None:
    with pytest.raises(EngineError, match=f"is signed with the key {OTHER_ID}, and {KEY_ID} is required; take a file"):
        check(signed.with_name("of-other.txt"))


def test_another_keys_signature_under_our_keys_number(signed: Path) -> None:
    """The number is only a name: what holds is the signature."""
    ours, other = signature_path(signed), signature_path(signed.with_name("of-other.txt"))
    lines = other.read_bytes().splitlines()
    forged = base64.b64decode(ours.read_bytes().splitlines()[1])[:10] + base64.b64decode(lines[1])[10:]
    lines[1] = base64.b64encode(forged)
    ours.write_bytes(b"\n".join(lines))
    with pytest.raises(EngineError, match=f"is not what was signed with the key {KEY_ID}"):
        check(signed)


def test_the_old_form_is_refused(signed: Path) -> None:
    old = signed.with_name("old-form.txt")
    with pytest.raises(EngineError, match=r"old-form\.txt\.minisig is in minisign's old form.*minisign -Sm"):
        check(old)


@pytest.mark.parametrize(
    "content", [b"", b"untrusted comment: x\n", b"a\n!!!\nb\nc\n", b"a\n\xff\nb\nc\n", b"x" * 20_000, b"a\nRUQy\n"]
)
def test_what_is_no_signature(signed: Path, content: bytes) -> None:
    signature_path(signed).write_bytes(content)
    with pytest.raises(
        EngineError, match=r"signed\.txt\.minisig is no signature of minisign; sign again with: minisign"
    ):
        check(signed)


def test_a_signature_that_is_cut_short(signed: Path) -> None:
    lines = signature_path(signed).read_bytes().splitlines()
    signature_path(signed).write_bytes(b"\n".join(lines[:3]))
    with pytest.raises(EngineError, match=r"signed\.txt\.minisig is damaged: .*; sign again with"):
        check(signed)


@pytest.mark.parametrize("key", ["nix", "", "RW", "a\0b", str(VECTORS), str(VECTORS / "signed.txt"), "x" * 5000])
def test_what_is_no_key(signed: Path, key: str) -> None:
    with pytest.raises(UsageError, match="is neither a public key of minisign, which has 56 characters") as caught:
        check_signature(signed, b"", key)
    assert "\n" not in str(caught.value)


def test_a_file_named_like_the_key_does_not_take_its_place(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "RWQyZHoAz8vydSVYNUkvgPwF+JOPK50IQwd/xTlS8OID3o2VnMyOa6CK"
    folder, name = key.split("/")
    (signed.parent / folder).mkdir()
    shutil.copy(VECTORS / "other.pub", signed.parent / folder / name)
    monkeypatch.chdir(signed.parent)
    assert check(signed, key) == "file:signed.txt, a test vector"


def test_without_the_library_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minisign", None)
    with pytest.raises(MissingPackageError) as caught:
        check_signature(tmp_path / "a.plan", b"", str(VECTORS / "key.pub"))
    assert str(caught.value) == (
        f"py-minisign is needed to check the signature of {tmp_path / 'a.plan'}; "
        "install it with: pip install 'dlcv-edge[sign]', or: pip install py-minisign"
    )


def test_with_the_real_tool(tmp_path: Path) -> None:
    pytest.importorskip("minisign", reason="the sign extra is not installed")
    tool = shutil.which("minisign")
    if tool is None:
        pytest.skip("the minisign tool is not installed (Debian: apt-get install minisign)")
    path = tmp_path / "fcn8s.plan"
    path.write_bytes(bytes(range(256)) * 5000)
    for arguments in (["-GW", "-p", "k.pub", "-s", "k.key"], ["-Sm", "fcn8s.plan", "-s", "k.key"]):
        subprocess.run([tool, *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert "file:fcn8s.plan" in check(path, tmp_path / "k.pub")
    with open(path, "r+b") as file:
        file.write(b"\1")
    with pytest.raises(EngineError, match="is not what was signed"):
        check(path, tmp_path / "k.pub")
