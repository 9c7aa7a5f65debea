#!/bin/sh
# The runtime alone on another Python: the package installed without torch and onnx, and every test that needs neither.
# usage: tests/lean/run.sh PYTHON FOLDER [MARKS [TESTS ...]]     FOLDER is what `pytest tests/lean/test_keep.py --keep-tiny FOLDER` filled;
# MARKS, as pytest's -m, leave tests out: "not slow" is what CI runs on 3.12 and 3.13; TESTS are all that can be run without torch, unless named.
# In the environment: WHEEL, a folder with the wheel to install, else the sources are; PIP, the pip that installs, else the new Python's own;
# SECOND_TRY, as .ci/second_try.py takes it.
set -eu
python=$1
DLCV_TINY=$(cd "$2" && pwd)
export DLCV_TINY
marks=${3:-}
shift "$(($# < 3 ? $# : 3))"
[ $# -gt 0 ] || set -- tests/runtime tests/contracts/test_sessions.py tests/test_imports.py
venv=.venv-lean-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ -x "$venv/bin/python" ] || "$python" -m venv ${PIP:+--without-pip} "$venv"
pip="${PIP:-$venv/bin/python -m pip --disable-pip-version-check --quiet} --python $venv/bin/python"
ours=.
if [ -n "${WHEEL:-}" ]; then
  for ours in "$WHEEL"/*.whl; do :; done
else
  rm -rf build
fi
$pip install -c constraints.txt "${ours}[fast]" pytest pytest-xdist hypothesis
$pip install --force-reinstall --no-deps "$ours" # an environment that was there may hold an earlier state under the same version
"$venv/bin/python" - <<'PY'
import importlib.util, platform, sys
import cv2, numpy, onnxruntime
assert not any(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxscript")), "this environment is not lean"
print(f"Python {platform.python_version()}, numpy {numpy.__version__}, OpenCV {cv2.__version__}, ONNX Runtime {onnxruntime.__version__}")
PY
if [ -n "${SECOND_TRY:-}" ]; then set -- .ci/second_try.py "$@"; else set -- -m pytest "$@"; fi
exec "$venv/bin/python" "$@" -q -n auto --dist loadfile --max-worker-restart=1 -p no:cacheprovider -m "not gpu${marks:+ and $marks}"
