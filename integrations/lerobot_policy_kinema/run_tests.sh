#!/usr/bin/env bash
# Tests against lerobot as released, in an environment of their own: run_tests.sh [FOLDER [words for pytest]].
# PYTHON names the interpreter, which lerobot 0.6 wants to be 3.12 or later; LEROBOT names another release.
set -euo pipefail
cd "$(dirname "$0")"
venv=${1:-.venv}
shift || true
if [ ! -e "$venv/.ready" ]; then
    "${PYTHON:-python3.12}" -m venv "$venv"
    "$venv/bin/pip" install -q "lerobot[core-scripts]==${LEROBOT:-0.6.1}" pytest pytest-timeout \
        -e "../..[train,serve,tabletop]" -e . -e tests/lerobot_robot_tabletop
    touch "$venv/.ready"
fi
exec "$venv/bin/python" -m pytest "$@"
