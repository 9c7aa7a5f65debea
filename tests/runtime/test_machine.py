"""How many cores there are to use: affinity, quotas of control groups, and what the user says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlcv.runtime import machine
from dlcv.runtime.machine import cgroup_cpus, cpu_count


def made_up(root: Path, cgroup: str, **files: str) -> Path:
    """A file system of these control groups: `proc/self/cgroup`, and below `sys/fs/cgroup` files by path, `__` for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/system.slice\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu_max": "200000 100000\n"}, 2),  # docker --cpus 2, inside it
        ("0::/\n", {"cpu_max": "250000 100000\n"}, 3),  # half a core is room for a thread
        ("0::/\n", {"cpu_max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "max 100000\n"}, None),
        ("0::/a/b\n", {"cpu_max": "max 100000\n", "a__cpu_max": "400000 100000\n", "a__b__cpu_max": "max 100000\n"}, 4),
        ("0::/a/b\n", {"a__cpu_max": "400000 100000\n", "a__b__cpu_max": "300000 100000\n"}, 3),
        (V1, {"cpu,cpuacct__docker__x__cpu_cfs_quota_us": "150000\n", "cpu,cpuacct__docker__x__cpu_cfs_period_us": "100000\n"}, 2),
        (V1, {"cpu__cpu_cfs_quota_us": "800000\n", "cpu__cpu_cfs_period_us": "100000\n"}, 8),  # a container sees its own at the top
        (V1, {"cpu__cpu_cfs_quota_us": "-1\n", "cpu__cpu_cfs_period_us": "100000\n"}, None),
        (V1, {"cpu__cpu_cfs_quota_us": "200000\n"}, None),
        ("0::/\n", {"cpu_max": "much\n"}, None),
        ("0::/\n", {"cpu_max": "\n"}, None),
        ("0::/../../etc\n", {"cpu_max": "100000 100000\n"}, 1),
        ("nonsense\n\n4:cpu\n", {}, None),
    ],
)  # fmt: skip
def test_quotas_of_control_groups(tmp_path: Path, cgroup: str, files: dict[str, str], cores: int | None) -> None:
    assert cgroup_cpus(made_up(tmp_path, cgroup, **files)) == cores


def test_where_there_are_none(tmp_path: Path) -> None:
    assert cgroup_cpus(tmp_path) is None
    assert cgroup_cpus() is None or cgroup_cpus() >= 1, "this machine's"  # type: ignore[operator]


def test_the_least_of_affinity_and_quota_counts(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(machine, "_limit", [])
    quotas: list[int | None] = [2, None]
    monkeypatch.setattr(machine, "cgroup_cpus", lambda: quotas.pop(0))
    machine._quota.cache_clear()
    request.addfinalizer(machine._quota.cache_clear)
    assert cpu_count() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert cpu_count() == 1
    machine._quota.cache_clear()
    monkeypatch.setenv("PYTHON_CPU_COUNT", "12")
    assert cpu_count() == 12
    monkeypatch.setattr(machine, "_limit", [3])
    assert cpu_count() == 3, "a worker's share of a machine"
    for text in ("default", "0", "-2", ""):
        monkeypatch.setenv("PYTHON_CPU_COUNT", text)
        assert cpu_count() == 1
