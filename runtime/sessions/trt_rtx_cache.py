"""How TensorRT-RTX runs a plan: with CUDA graphs, and with what it compiled for this GPU, kept beside the plan."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import OutputError
from dlcv.runtime.files import write_bytes


class RuntimeCache:
    """What TensorRT-RTX compiled for this GPU at first load, kept beside the plan as `NAME.plan.rtxcache`.

    TensorRT-RTX itself refuses a cache of another release, GPU or driver, and then compiles again. It also records CUDA graphs by
    itself, since it alone knows when a shape's own kernels are compiled.

    Args:
        engine: opened.
        plan: its file.
        trt: the library.
        graphs: whether it may record CUDA graphs.
        kept: whether the cache is read and written; a plan whose bytes were checked runs without.

    Attributes:
        config: for the contexts.
        records_graphs: whether TensorRT-RTX records CUDA graphs; early releases do not.
    """

    def __init__(self, engine: Any, plan: Path, trt: Any, *, graphs: bool = True, kept: bool = True) -> None:
        self._path = plan.with_name(plan.name + ".rtxcache")
        self._loaded = b""
        self._cache: Any = None
        self.config: Any = None
        self.records_graphs = False
        if not hasattr(engine, "create_runtime_config"):
            return
        self.config = engine.create_runtime_config()
        if graphs and hasattr(self.config, "cuda_graph_strategy"):
            self.config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self.records_graphs = True
        if not kept:
            return
        self._cache = self.config.create_runtime_cache()
        with suppress(OSError):  # none yet, or not ours to read: it is compiled again
            self._loaded = self._path.read_bytes()
        if self._loaded:
            self._cache.deserialize(self._loaded)
        self.config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Writes the cache if it changed; where that is refused, the next start compiles again, no more."""
        if self._cache is None:
            return
        blob = self._cache.serialize()
        data = b"" if blob is None else bytes(blob)
        if data and data != self._loaded:
            with suppress(OutputError):
                write_bytes(self._path, data)
