#!/bin/sh
# The runtime without torch and onnx, installed for another Python, in .venv-lean-X.Y.     usage: tests/lean/install.sh PYTHON
# In the environment: WHEEL, a folder with the wheel to install, else the sources are; PIP, the pip that installs, else the new Python's own.
set -eu
python=$1
venv=.venv-lean-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ -x "$venv/bin/python" ] || "$python" -m venv ${PIP:+--without-pip} "$venv"
pip="${PIP:-$venv/bin/python -m pip --disable-pip-version-check --quiet} --python $venv/bin/python"
lazily=--no-compile # as in the Makefile
[ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || lazily=
ours=.
if [ -n "${WHEEL:-}" ]; then
  for ours in "$WHEEL"/*.whl; do :; done
else
  rm -rf build
fi
$pip install $lazily -c constraints.txt "${ours}[fast]" pytest pytest-xdist hypothesis
$pip install $lazily --force-reinstall --no-deps "$ours" # an environment that was there may hold an earlier state under the same version
exec "$venv/bin/python" - <<'PY'
import importlib.util, platform, sys
import cv2, numpy, onnxruntime
assert not any(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxscript")), "this environment is not lean"
print(f"Python {platform.python_version()}, numpy {numpy.__version__}, OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}")
PY
