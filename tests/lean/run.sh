#!/bin/sh
# The runtime alone on another Python: every test that needs neither torch nor onnx, in the environment that install.sh made.
# usage: tests/lean/run.sh PYTHON FOLDER [MARKS [TESTS ...]]     FOLDER is what `pytest tests/lean/test_keep.py --keep-tiny FOLDER` filled;
# MARKS, as pytest's -m, leave tests out: "not slow and not browser" is what CI runs on 3.12 and 3.13; TESTS are all that can be run without torch, unless named.
# In the environment: SECOND_TRY, as .ci/second_try.py takes it.
set -eu
python=$1
DLCV_TINY=$(cd "$2" && pwd)
export DLCV_TINY
marks=${3:-}
shift "$(($# < 3 ? $# : 3))"
[ $# -gt 0 ] || set -- tests/runtime tests/contracts/test_sessions.py tests/test_imports.py
venv=.venv-lean-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ -n "${SECOND_TRY:-}" ]; then set -- .ci/second_try.py "$@"; else set -- -m pytest "$@"; fi
exec "$venv/bin/python" "$@" -q -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=1 -p no:cacheprovider -m "not gpu${marks:+ and $marks}"
