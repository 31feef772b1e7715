#!/usr/bin/env bash
# SimplerEnv's own environment, for `kinema eval simpler`: ManiSkill 3, whose packages cannot share ours. About 2 GB,
# and as much again where pip's PyTorch is the one for graphics cards; one for the CPU is enough. Safe to run again.
#
#     scripts/setup_simpler.sh [FOLDER]      default: .venv-simpler; elsewhere set KINEMA_SIMPLER=FOLDER
#
# It draws by Vulkan. Without a graphics card that is Mesa 25 (lavapipe), see docs/benchmarks.md; Debian 12's own is
# too old. Assets (30 MB) are downloaded by ManiSkill: the last line says how.
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
venv="${1:-$root/.venv-simpler}"
python="${PYTHON:-python3.11}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\033[1mkinema set-up of SimplerEnv:\033[0m %s\n' "$*"; }
fail() { printf 'kinema set-up of SimplerEnv: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "no $python; name one: PYTHON=/path/to/python3.11 $0"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "$python cannot make an environment at $venv"
pip() { "$venv/bin/python" -m pip install --quiet "$@"; }

say "installing ManiSkill, SAPIEN and PyTorch"
pip mani_skill==3.0.1 sapien==3.0.3 torch==2.13.0
say "installing kinema's wire"
pip 'pyyaml>=6.0' 'pydantic>=2.10' 'msgspec>=0.19'
pip --no-deps --editable "$root"
say "ready: $venv/bin/python -m mani_skill.utils.download_asset PutCarrotOnPlateInScene-v1"
say "then:  kinema eval simpler --policy random --tasks carrot_on_plate --episodes 1"
