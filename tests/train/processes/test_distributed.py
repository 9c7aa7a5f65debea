"""What a process takes for itself, where several are on a machine; two real ones are in `test_torchrun.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlcv.runtime.errors import UsageError
from dlcv.train.checks import try_a_step
from dlcv.train.processes.distributed import ALONE, Processes
from dlcv.train.processes.place import Place, place_of_torchrun
from dlcv.train.settings.settings import TrainSettings


@pytest.mark.parametrize(("count", "size"), [(10, 3), (4, 4), (2, 5), (0, 2)])
def test_shares_are_the_whole(count: int, size: int) -> None:
    things = list(range(count))
    shares = [things[Place(rank, size).share(count)] for rank in range(size)]
    assert [thing for share in shares for thing in share] == things
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_torchrun_is_known_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """RANK and WORLD_SIZE alone, as a cluster's scheduler may set them, are not torchrun."""
    values = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert place_of_torchrun() == Place() and place_of_torchrun().main
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert place_of_torchrun() == Place(3, 4, 1, 2) and not place_of_torchrun().main


def test_one_process_loads_no_torch_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys\nfrom dlcv.train.processes.torchrun import joined\n"
        "with joined() as processes: print(processes, 'torch' in sys.modules)"
    )
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC")}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.stdout == "None False\n"


def test_alone_everything_is_its_own() -> None:
    assert ALONE.sums([1.0, float("nan")])[0] == 1.0 and ALONE.gathered("x") == ["x"] and ALONE.of_main(list) == []
    assert ALONE.any(True) and not ALONE.any(False) and ALONE.each(2.5) == [2.5]
    model = torch.nn.Linear(1, 1)
    assert ALONE.parallel(model, torch.device("cpu")) is model
    assert ALONE.device("cpu").type == "cpu" and ALONE.workers(99) == 99


def test_cores_are_divided_among_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    many = Processes(Place(5, 8, 1, 4))
    assert [many.workers(asked) for asked in (0, 1, 2, 9)] == [0, 1, 2, 2]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert many.workers(3) == 1


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which GPU is chosen, not that it works: there is none here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Processes(Place(3, 4, 1, 2)).device("auto") == torch.device("cuda", 1)
    with pytest.raises(
        UsageError, match="torchrun has started 3 processes here, and there are 2 GPUs; pass --nproc-per"
    ):
        Processes(Place(0, 3, 0, 3)).device("cuda")
    with pytest.raises(
        UsageError, match="--device cuda:1 is for one process, and torchrun has started 2; pass cuda or"
    ):
        Processes(Place(0, 2, 0, 2)).device("cuda:1")
    assert ALONE.device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("model", "changes", "size", "said"),
    [
        ("fcn8s", {"batch": 2}, 3, "a batch of 2 images cannot be shared by 3 processes; pass --batch 3 or more"),
        ("fcn8s", {"batch": 8}, 9, "a batch of 8 images cannot be shared by 9 processes"),
        ("unet", {"batch": 4, "sync_batchnorm": True}, 2, "--sync-batchnorm is for GPUs, torch has none for CPUs"),
        ("resnet18", {"batch": 3}, 2, "and 2 processes share a batch of 3; pass --batch 4 or more"),
    ],
)
def test_what_cannot_be_shared_is_refused(model: str, changes: dict[str, int], size: int, said: str) -> None:
    settings = TrainSettings(model=model, width=0.1, crop=32, device="cpu", **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=said):
        try_a_step(settings, 3, 8, Place(1, size))
    try_a_step(settings, 3, 8)


def test_processes_that_see_different_things_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    three = Processes(Place(0, 3))
    monkeypatch.setattr(three, "gathered", lambda value: [value, value, "other"])
    with pytest.raises(
        UsageError, match="do not see the same images: 1 of 3, process 2 the first, differ from the main"
    ):
        three.require_alike("images", "a")
