"""What is asked of an engine is checked before a library opens it, and the library gets the bytes that were checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime import load
from dlcv.runtime import sessions as session_module
from dlcv.runtime.errors import EngineError, UsageError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.provenance import Trust, check_engine
from dlcv.runtime.provenance.trust import ENVIRONMENT
from dlcv.runtime.sessions import open_session

OTHER = "0" * 64


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def test_nothing_asked_nothing_read(engine: Path) -> None:
    assert check_engine(engine, "onnx", Trust()) is None


def test_the_hash_asked_for(engine: Path) -> None:
    digest = sha256_of(engine)
    for hashes in (digest, digest.upper(), [OTHER, digest]):
        open_session(engine, device="cpu", trust=Trust.of(hashes)).close()
    load(engine, device="cpu", require_hash=digest).close()


def test_another_hash_is_refused(engine: Path) -> None:
    digest = sha256_of(engine)
    with pytest.raises(EngineError) as caught:
        load(engine, require_hash=OTHER)
    assert str(caught.value) == (
        f"{engine} has the SHA-256 {digest}, and --require-hash wants {OTHER}; "
        "take the file that you trust, or pass this hash once you have checked where it comes from"
    )


@pytest.mark.parametrize("value", ["", "00", "0" * 63 + "g", "0" * 65, "0" * 64 + "\n"])
def test_what_is_no_hash(engine: Path, value: str) -> None:
    with pytest.raises(
        UsageError, match="is no SHA-256, which has 64 hexadecimal digits; print that of a file with: dlcv-inspect"
    ):
        load(engine, require_hash=value)


def test_the_signature_asked_for(engine: Path, signer: Any) -> None:
    with pytest.raises(EngineError, match="is not signed"):
        load(engine, device="cpu", require_signature=signer.public)
    signer.sign(engine)
    load(engine, device="cpu", require_signature=signer.public).close()


def test_the_environment_asks_of_every_engine(engine: Path, signer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, signer.public)
    with pytest.raises(EngineError, match="is not signed"):
        open_session(engine, device="cpu")
    signer.sign(engine)
    open_session(engine, device="cpu").close()


def test_an_option_cannot_take_the_environments_key_away(
    engine: Path, signer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = type(signer)()
    stranger.sign(engine)
    load(engine, device="cpu", require_signature=stranger.public).close()
    monkeypatch.setenv(ENVIRONMENT, signer.public)
    with pytest.raises(EngineError, match="is signed with the key"):
        load(engine, device="cpu", require_signature=stranger.public)


def test_an_empty_environment_refuses_rather_than_allows(
    engine: Path, signer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "")
    with pytest.raises(UsageError, match="'', of --require-signature or DLCV_REQUIRE_SIGNATURE, is neither"):
        open_session(engine, device="cpu")


@pytest.mark.parametrize("asked", ["hash", "signature"])
@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_a_file_that_is_exchanged_after_the_check_is_not_run(
    engine: Path, signer: Any, monkeypatch: pytest.MonkeyPatch, asked: str, library: str
) -> None:
    pytest.importorskip(library)
    signer.sign(engine)
    trust = Trust.of(sha256_of(engine)) if asked == "hash" else Trust.of(key=signer.public)
    real = session_module.check_engine

    def then_exchanged(path: Path, kind: str, trust: Trust) -> bytes | None:
        data = real(path, kind, trust)
        path.write_bytes(b"what an attacker puts there")
        return data

    monkeypatch.setattr(session_module, "check_engine", then_exchanged)
    with open_session(engine, device="cpu", session=library, trust=trust) as session:
        assert session.card.head == "mask"


@pytest.mark.parametrize("name", ["fcn8s.onnx", "fcn8s.plan"])
def test_no_library_is_loaded_for_what_is_refused(engine: Path, name: str) -> None:
    path = engine.with_name(name)
    if name.endswith(".plan"):
        path.write_bytes(b"vtrt" + bytes(99))
    code = f"""
import sys
from dlcv.runtime.errors import EngineError
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import open_session
try:
    open_session({str(path)!r}, trust=Trust.of({OTHER!r}))
except EngineError as error:
    assert "SHA-256" in str(error), error
    print(sorted({{"onnxruntime", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "pycuda"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_graph_with_weights_elsewhere_is_not_covered(engine: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(engine)
    onnx.save(proto, engine, save_as_external_data=True, location="w.bin", size_threshold=0)
    open_session(engine, device="cpu").close()
    with pytest.raises(
        EngineError, match=r"keeps weights in 'w\.bin', which neither the hash nor the signature covers"
    ):
        open_session(engine, device="cpu", trust=Trust.of(sha256_of(engine)))
