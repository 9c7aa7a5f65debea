"""How much of a graph's, and of a plan's, work must be in the precision that was asked for. Imports nothing: a builder's machine may lack onnx."""

from __future__ import annotations

MIN_SHARE = {"fp32": 1.0, "fp16": 0.95, "bf16": 0.95, "int8": 0.90}
"""Share of the multiply-adds that must be in the precision asked for before a file is left; `--min-share` changes it.

An opened session is held to less (`runtime/sessions/executed.py`, `MIN_SESSION_SHARE`): which operators a library has in a low
precision differs by version and CPU, and a file outlives both.
"""
