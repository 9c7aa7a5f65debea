"""The suite of CI: ratios, each with a bound; `python -m dlcv.benchmarks.suite`.

gates.py     what a gate is, and its verdict
measures.py  the gates of a file of tiles and of sessions
starting.py  the gates of processes: imports and --help
plants.py    slowdowns put into the code on purpose, which the gates must catch
report.py    tables, and the result in the schema of dlcv-bench
"""
