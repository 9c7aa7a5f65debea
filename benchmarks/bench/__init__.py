"""`dlcv-bench`: what an engine costs, beside what it could cost, with the noise of the measurement itself.

cases.py        which engines, devices, sessions and batches are measured
measure.py      the core: ways in turn, warmed up, round by round
statistics.py   quantiles and ratios with intervals
baselines.py    the same work without dlcv
files.py        file to file
fresh.py        cold start, first call and peak memory, in processes of their own
cuda_events.py  device-only time; the one file that knows CUDA events
nvml.py         memory, power and clocks of a GPU; the one file that knows NVML
roofline.py     the matrix rate of a session, and the share of it that an engine reaches
environment.py  the machine, the versions, the commit, the load
result.py       what was measured, as JSON with a schema
run.py          all of it in order
compare.py      two results: better, worse or not distinguishable
report/         tables, CSV, Markdown, the page with its plots
"""
