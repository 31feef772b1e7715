#!/usr/bin/env bash
# SimplerEnv's own environment, for `kinema eval simpler`: ManiSkill 3, whose packages cannot share ours. About 2 GB,
# and as much again where pip's PyTorch is the one for graphics cards; one for the CPU is enough. Safe to run again.
#
#     scripts/setup_simpler.sh [FOLDER]      default: .venv-simpler; elsewhere set KINEMA_SIMPLER=FOLDER
#
# It draws by Vulkan. Without a graphics card that is Mesa 25 (lavapipe), see docs/benchmarks.md; Debian 12's own is
# too old. Assets (30 MB) are downloaded by ManiSkill: the last line says how.
set -euo pipefail

title=SimplerEnv
. "$(dirname "$0")/own_environment.sh"
venv="${1:-$root/.venv-simpler}"
make_environment

say "installing ManiSkill, SAPIEN and PyTorch"
pip mani_skill==3.0.1 sapien==3.0.3 torch==2.13.0
install_wire
say "ready: $venv/bin/python -m mani_skill.utils.download_asset PutCarrotOnPlateInScene-v1"
say "then:  kinema eval simpler --policy random --tasks carrot_on_plate --episodes 1"
