"""`dlcv-bench`: what an engine costs, beside what it could cost, with the noise of the measurement itself.

request.py      what is asked, and what the measures are given
cases.py        which engines, devices, sessions and batches are measured
measure.py      the core: ways in turn, warmed up, round by round
statistics.py   quantiles and ratios with intervals
baselines.py    the same work without dlcv
images.py       what is measured on: scenes in memory, or files
host.py         --measures host: host to host, and on the device alone
in_flight.py    --measures flight: throughput with several batches in flight
files.py        --measures files: file to file
cold.py         --measures cold: cold start, first call and peak memory
fresh.py        the processes of their own that tell these
cuda_events.py  device-only time; the one file that knows CUDA events
nvml.py         memory, power and clocks of a GPU; the one file that knows NVML
roofline.py     --measures roofline: the matrix rate of a session, and the share of it that an engine reaches
environment.py  the machine, the versions, the commit, the load
result.py       what was measured, as JSON with a schema
run.py          all of it in order
compare.py      two results: better, worse or not distinguishable
report/         tables, CSV, Markdown, the page with its plots
"""
