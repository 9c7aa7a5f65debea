#!/bin/sh
# The runtime alone on another Python: the package installed without torch and onnx, and every test that needs neither.
# usage: tests/lean/run.sh PYTHON FOLDER [MARKS]     FOLDER is what `pytest tests/lean/test_keep.py --keep-tiny FOLDER` filled; MARKS, as
# pytest's -m, leave tests out: "not slow" is what CI runs on 3.12 and 3.13.
set -eu
python=$1
DLCV_TINY=$(cd "$2" && pwd)
export DLCV_TINY
venv=.venv-lean-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
rm -rf build
$pip install -c constraints.txt --upgrade pip
$pip install -c constraints.txt ".[fast]" pytest pytest-xdist hypothesis
$pip install --force-reinstall --no-deps .
"$venv/bin/python" - <<'PY'
import importlib.util, platform, sys
import cv2, numpy, onnxruntime
assert not any(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxscript")), "this environment is not lean"
print(f"Python {platform.python_version()}, numpy {numpy.__version__}, OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}")
PY
"$venv/bin/python" -m pytest -q -n auto --dist loadfile -p no:cacheprovider -m "not gpu${3:+ and $3}" tests/runtime tests/contracts/test_sessions.py tests/test_imports.py
