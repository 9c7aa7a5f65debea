"""The suite of CI: ratios, each with a bound; `python -m dlcv.benchmarks.suite`.

gates.py     what a gate is, and its verdict
engines.py   what they run
cpu.py       the gates of CPU time: codec, session, our Python, int8
whole.py     the gates of whole runs, by the clock
starting.py  the gates of processes: imports and --help
plants.py    slowdowns put into the code on purpose, which the gates must catch
report.py    tables, and the result in the schema of dlcv-bench
"""
