#!/bin/sh
# The runtime alone on another Python: a wheel installed without torch and onnx, and the tests that need neither.
# usage: tests/lean.sh PYTHON     DLCV_TINY_ONNX names a graph to run; without it, tests that need one are skipped.
set -eu
python=${1:-python3}
venv=.venv-lean-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
rm -rf build
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet -c constraints.txt --force-reinstall --no-deps .
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet -c constraints.txt . pytest hypothesis
"$venv/bin/python" -c 'import importlib.util as u; assert not u.find_spec("torch") and not u.find_spec("onnx"), "not lean"'
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests/runtime tests/contracts tests/test_imports.py
