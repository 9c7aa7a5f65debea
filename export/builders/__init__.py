"""ONNX graph -> TensorRT plan. Imports neither torch nor onnx, so that a lean machine with TensorRT can build.

capabilities.py  what each TensorRT can do, and the opsets it reads: the one place for their differences
find.py          which TensorRT builds here
options.py       what a plan shall take and how it is built
graph_types.py   the types that a graph says its values have, without onnx
layer_types.py   the same for each layer of a TensorRT that chooses types itself (8.x)
plan_types.py    what the layers of its plan run in, held to that
network.py       TensorRT's network and configuration for one build
watch.py         the build itself: time and phase in a line, Ctrl-C
timing.py        the timing cache beside a plan
failures.py      why a build failed and what to do, from TensorRT's messages
readback.py      header and card from the plan's bytes
build.py         all of it: `build_plan`
rebuild.py       a plan anew from an exported graph, with its sidecar: `dlcv-export --onnx`
"""
