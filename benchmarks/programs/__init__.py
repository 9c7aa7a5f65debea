"""Programs that answer one question each: `python -m dlcv.benchmarks.programs.NAME --help`."""
