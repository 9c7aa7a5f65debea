"""The processes that train one model together, as `torchrun` starts them. One alone loads nothing of `torch.distributed`.

Each process holds the whole model and takes its share of every batch and of the validation images. Gradients are reduced by
torch's DistributedDataParallel: through gloo on CPUs, nccl on GPUs; everything else that is told from one to another is small and
goes through gloo. The process of rank 0, the main one, writes and prints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from dlcv.runtime.errors import UsageError
from dlcv.train.checkpoints.session import torch_device
from dlcv.train.processes.place import Place

T = TypeVar("T")


class Processes:
    """One process; `Torchrun` is several. Of several, each calls the same methods in the same order, or all wait.

    Attributes:
        place: of this one.
    """

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.place.main

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sums over all processes, each at its position, as float64; nan and inf stay what they are."""
        return list(values)

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """What the forward pass goes through, so that `backward` leaves the mean of all processes' gradients in `model`."""
        return model

    def without_exchange(self, parallel: nn.Module) -> AbstractContextManager[Any]:
        """Within it, forward and backward add to this process's own gradients; the next ones outside reduce them all."""
        return nullcontext()

    def take_buffers_of_main(self, model: nn.Module) -> None:
        """Puts the running statistics of the main process's model into that of every process."""

    def each(self, value: float) -> list[float]:
        """A number of each process, by rank."""
        own = [0.0] * self.place.size
        own[self.place.rank] = value
        return self.sums(own)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return self.sums([float(flag)])[0] > 0

    def wait(self) -> None:
        """Until all have come here."""
        self.sums([0.0])

    def of_main(self, make: Callable[[], T]) -> T:
        """What the main process makes, in every process."""
        value: Any = make() if self.main else None
        return self.gathered(value)[0]  # type: ignore[no-any-return]

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through it before the others, which then find what it has put into a cache."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def device(self, name: str) -> torch.device:
        """The device of this process: of several on GPUs, each takes one of its own.

        Raises:
            UsageError: when torch does not know the device, or there are more processes than GPUs.
        """
        device, place = torch_device(name), self.place
        if place.size == 1 or device.type == "cpu":
            return device
        if device.type != "cuda" or device.index is not None:
            raise UsageError(
                f"--device {name} is for one process, and torchrun has started {place.size}; pass cuda or cpu"
            )
        if place.local_size > torch.cuda.device_count():
            raise UsageError(
                f"torchrun has started {place.local_size} processes here, and there are {torch.cuda.device_count()} GPUs; "
                "pass --nproc-per-node gpu, or --device cpu"
            )
        return torch.device("cuda", place.local_rank)

    def workers(self, asked: int) -> int:
        """Processes that decode for this one: as many as asked for, of several at most its share of the machine's cores."""
        if self.place.size == 1:
            return asked
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(asked, max(1, cores // self.place.local_size))

    def require_alike(self, what: str, value: str) -> None:
        """Refuses processes that would train on different things, as two machines with different files would.

        Raises:
            UsageError: when `value` is not the same in all.
        """
        values = self.gathered(value)
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            raise UsageError(
                f"the processes do not see the same {what}: {len(others)} of {len(values)}, process {others[0]} the first, differ "
                "from the main one; start all with the same command, on the same files"
            )


class Torchrun(Processes):
    """Several processes, in a process group of torch; made by `torchrun.joined`."""

    def sums(self, values: Sequence[float]) -> list[float]:
        """See `Processes.sums`."""
        from torch import distributed as dist

        together = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(together)
        return together.tolist()

    def gathered(self, value: T) -> list[T]:
        """See `Processes.gathered`."""
        from torch import distributed as dist

        values: list[Any] = [None] * self.place.size
        dist.all_gather_object(values, value)
        return values

    def parallel(self, model: nn.Module, device: torch.device) -> nn.Module:
        """See `Processes.parallel`. Before each forward pass all take over the main one's buffers."""
        from torch.nn.parallel import DistributedDataParallel

        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def without_exchange(self, parallel: nn.Module) -> AbstractContextManager[Any]:
        """See `Processes.without_exchange`."""
        no_sync: Callable[[], AbstractContextManager[Any]] = parallel.no_sync  # type: ignore[assignment]
        return no_sync()

    def take_buffers_of_main(self, model: nn.Module) -> None:
        """See `Processes.take_buffers_of_main`."""
        from torch import distributed as dist

        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


ALONE = Processes()
