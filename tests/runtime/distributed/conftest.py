"""A Ray of two cores on this machine, started once for the folder's tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from s3_server import s3_environment


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """What the environment holds for a server that speaks S3; empty where that cannot be had."""
    if find_spec("s3fs") is None or find_spec("moto") is None:
        yield {}
        return
    with s3_environment() as environment:
        yield environment


@pytest.fixture(scope="module")
def local_ray(s3: dict[str, str]) -> Iterator[None]:
    """Joined by this process, so that `--ray` uses it."""
    ray = pytest.importorskip("ray", reason="the ray extra is not installed")
    pytest.importorskip("ray.data", reason="the ray extra is not installed")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # see `joined`
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=100 << 20, runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(paths), **s3}},
    )  # fmt: skip
    yield
    ray.shutdown()
