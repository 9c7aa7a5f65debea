"""`python -m dlcv.benchmarks.gpu_suite`: what there is to see of dlcv on an NVIDIA GPU, in order of worth, within a budget of time.

parts.py     the list: what each part tells, what it needs, its command and its expected minutes
run.py       runs the parts within the budget; the dry run
lacks.py     what this machine lacks for a part
report.py    the list, the dry run and the results as Markdown and JSON
part.py      what the programs of parts share: a folder, one line for an error, facts as JSON

Programs of parts, each with its own `python -m dlcv.benchmarks.gpu_suite.NAME`; those with * import numpy, TensorRT and pycuda alone:

copies.py *  streams and pinned copies        plans.py *     plans built and run by full TensorRT
graphs.py    the graphs that others take      validity.py *  what TensorRT-RTX says of this GPU
parity.py    ONNX Runtime's CUDA provider     bench.py       `dlcv-bench` over precisions and batches
"""
