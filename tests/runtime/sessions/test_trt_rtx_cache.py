"""What TensorRT-RTX compiled is kept beside the plan, on its double."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trt_double import images_of

from dlcv.runtime.sessions.trt import open_plan


def test_rtx_keeps_what_it_compiled_beside_the_plan(world: Any, plan: Path) -> None:
    cache = plan.with_name("tiny.plan.rtxcache")
    open_plan(plan).close()
    assert cache.read_bytes() == b"compiled"
    assert world.names().count("deserialize") == 0
    assert ("create_execution_context", True) in world.calls
    world.cache_blob = b"compiled and more"
    open_plan(plan).close()
    assert ("deserialize", b"compiled") in world.calls
    assert cache.read_bytes() == b"compiled and more"


def test_a_cache_that_cannot_be_written_is_no_error(world: Any, plan: Path) -> None:
    plan.with_name("tiny.plan.rtxcache").mkdir()
    with open_plan(plan) as session:
        session.run(images_of(1))
