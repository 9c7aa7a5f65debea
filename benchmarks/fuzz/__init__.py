"""Mutated files of every kind that dlcv reads, and whether each ends in success or in one line: `python -m dlcv.benchmarks.fuzz`.

`seeds.py` writes small valid files with the project's own writers, `mutators.py` spoils them by a number that makes the same
file again, `targets.py` reads them as the commands do, and `pool.py` does so in a process of its own, which may die, hang or
ask for too much memory without taking the rest along.
"""
