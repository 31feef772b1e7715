#!/usr/bin/env bash
# RoboTwin's own environment, for `kinema eval robotwin`: its packages pin versions that cannot share ours. It draws
# by ray tracing and wants an NVIDIA GPU. Safe to run again.
#
#     scripts/setup_robotwin.sh [FOLDER]      default: .venv-robotwin; elsewhere set KINEMA_ROBOTWIN=FOLDER
#
# Then, in that environment: cuRobo 0.7.8 from its source (the expert plans with it), and the assets:
# `robotwin-download-assets --output ASSETS`, which `export ROBOTWIN_ASSETS_ROOT=ASSETS` names.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
venv="${1:-$root/.venv-robotwin}"
python="${PYTHON:-python3.11}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\033[1mkinema set-up of RoboTwin:\033[0m %s\n' "$*"; }
fail() { printf 'kinema set-up of RoboTwin: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "no $python; name one: PYTHON=/path/to/python3.11 $0"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "$python cannot make an environment at $venv"
pip() { "$venv/bin/python" -m pip install --quiet "$@"; }

say "installing RoboTwin and what it pins (several GB)"
pip rlinf-robotwin-runtime==0.1.3
say "installing kinema's wire"
pip 'pydantic>=2.10' 'msgspec>=0.19'
pip --no-deps --editable "$root"
say "now install cuRobo 0.7.8 from its source there, and get the assets: $venv/bin/robotwin-download-assets --output ASSETS"
