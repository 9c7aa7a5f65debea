"""A plan under a hash or a signature, and host code in a plan, on the double of TensorRT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime import load
from dlcv.runtime.errors import EngineError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.trt import _why_not

HOST_CODE = "it holds code for the CPU: if you trust who built it, pass --trust (in Python: open_session(plan, trust=Trust(host_code=True)))"


@pytest.fixture
def world(world: Any) -> Any:
    runtime = sys.modules["tensorrt_rtx"].Runtime
    runtime.engine_host_code_allowed = property(None, lambda _, allowed: world.note("host code", allowed))
    return world


def test_tensorrt_is_not_asked_about_a_plan_that_is_refused(world: Any, plan: Path) -> None:
    with pytest.raises(EngineError, match="--require-hash wants"):
        open_session(plan, trust=Trust.of("0" * 64))
    assert world.calls == []


def test_a_cache_that_nothing_vouches_for_is_left_alone(world: Any, plan: Path) -> None:
    """What TensorRT-RTX compiled is code for the GPU, and neither hash nor signature covers it."""
    cache = plan.with_name("tiny.plan.rtxcache")
    cache.write_bytes(b"planted")
    with open_session(plan, trust=Trust.of(sha256_of(plan))) as session:
        session.run(np.zeros((1, 4, 6, 3), np.uint8))
    assert cache.read_bytes() == b"planted"
    assert "deserialize" not in world.names()
    open_session(plan).close()
    assert ("deserialize", b"planted") in world.calls


def test_host_code_runs_only_where_it_is_trusted(world: Any, plan: Path) -> None:
    open_session(plan).close()
    assert "host code" not in world.names()
    before = len(world.calls)
    open_session(plan, trust=Trust(host_code=True)).close()
    names = world.names()[before:]
    assert names.index("host code") < names.index("deserialize_cuda_engine")
    assert ("host code", True) in world.calls


def test_load_takes_no_host_code(world: Any, plan: Path) -> None:
    load(plan).close()
    assert "deserialize_cuda_engine" in world.names()
    assert "host code" not in world.names()


def test_refused_host_code_names_the_option() -> None:
    message = "Cannot deserialize engine with lean runtime since IRuntime::getEngineHostCodeAllowed() is false."
    assert _why_not(message) == f"{message}; {HOST_CODE}"
    assert _why_not("bad magic") == "bad magic; export it again on this machine"


def test_the_real_runtime_has_that_switch() -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    assert isinstance(real.Runtime.engine_host_code_allowed, property)
