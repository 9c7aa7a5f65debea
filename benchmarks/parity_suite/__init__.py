"""Every model in every precision in every session against torch, on labelled tiles: `python -m dlcv.benchmarks.parity_suite`.

trained.py   a narrow model, trained for a while on the generated sample
graphs.py    its graphs, one a precision, and the sessions that run them
matrix.py    the runs in order, and what came of each
report.py    the matrix as Markdown, as a page and as JSON
"""
