"""Tiles per second of machines that are not there, from measured times of a stage: `python -m dlcv.benchmarks.scale`."""
