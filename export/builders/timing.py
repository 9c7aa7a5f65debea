"""The timing cache beside a plan, `NAME.timing-cache`: a second build does not measure again what the first one measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import OutputError
from dlcv.runtime.files import write_bytes

SUFFIX = ".timing-cache"


class TimingCache:
    """Loaded into a build's configuration, and saved after it.

    A cache of another TensorRT or GPU is begun anew, with a line; one that cannot be written costs a line too, never the plan.
    """

    def __init__(self, path: Path, config: Any, log: Any, say: Callable[[str], None]) -> None:
        self._path, self._config, self._say, self._loaded = path, config, say, b""
        try:
            self._loaded = path.read_bytes()
        except FileNotFoundError:
            pass
        except OSError as error:
            say(f"{path} cannot be read ({error.strerror or error}): all is measured anew")
        if self._loaded and not self._use(self._loaded):
            log.clear()  # its complaints about the cache are no reason for what may fail later
            say(f"{path} is of another TensorRT or GPU, or damaged: all is measured anew")
            self._loaded = b""
        if not self._loaded:
            self._use(b"")

    def _use(self, data: bytes) -> bool:
        cache = self._config.create_timing_cache(data)
        return cache is not None and bool(self._config.set_timing_cache(cache, False))

    def save(self) -> None:
        """Writes what the build measured, if it is new."""
        cache = self._config.get_timing_cache()
        blob = None if cache is None else cache.serialize()
        data = b"" if blob is None else bytes(blob)
        if not data or data == self._loaded:
            return
        try:
            write_bytes(self._path, data)
        except OutputError as error:
            self._say(f"{error}: the next build measures again")
