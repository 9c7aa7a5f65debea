"""The state of torch's random numbers (dropout draws from them), saved and brought back, of each process its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dlcv.train.processes.distributed import Processes


def seed_process(processes: Processes, *seed: int) -> None:
    """Gives each process but the main one, whose state stays, random numbers of its own: their dropout is not to be alike."""
    if not processes.main:
        mixed = np.random.SeedSequence([*seed, processes.place.rank]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(mixed >> np.uint64(1)))


def random_states(processes: Processes, device: torch.device) -> dict[str, Any]:
    """The states of all processes, as a checkpoint keeps them; to be called by all."""
    states = processes.gathered(_state(device, processes.place.size))
    return states[0] | ({"others": states[1:]} if len(states) > 1 else {})


def restore_random_state(processes: Processes, device: torch.device, saved: Mapping[str, Any], *seed: int) -> None:
    """Brings back this process's state.

    Args:
        saved: what `random_states` gave, in a run of perhaps fewer processes.
        seed: for a process that was not there then.
    """
    rank = processes.place.rank
    known = [saved, *saved.get("others", [])]
    if rank >= len(known):
        seed_process(processes, *seed)
        return
    torch.set_rng_state(known[rank]["rng"])
    if device.type == "cuda" and (cuda := known[rank]["cuda_rng"]):
        if processes.place.size == 1:
            torch.cuda.set_rng_state_all(cuda[: torch.cuda.device_count()])
        else:
            torch.cuda.set_rng_state(cuda[0], device)


def _state(device: torch.device, processes: int) -> dict[str, Any]:
    if device.type != "cuda":
        cuda = []
    else:
        cuda = torch.cuda.get_rng_state_all() if processes == 1 else [torch.cuda.get_rng_state(device)]
    return {"rng": torch.get_rng_state(), "cuda_rng": cuda}
