#!/usr/bin/env bash
# RoboTwin's own environment, for `kinema eval robotwin`: its packages pin versions that cannot share ours. It draws
# by ray tracing and wants an NVIDIA GPU. Safe to run again.
#
#     scripts/setup_robotwin.sh [FOLDER]      default: .venv-robotwin; elsewhere set KINEMA_ROBOTWIN=FOLDER
#
# Then, in that environment: cuRobo 0.7.8 from its source (the expert plans with it), and the assets:
# `robotwin-download-assets --output ASSETS`, which `export ROBOTWIN_ASSETS_ROOT=ASSETS` names.
set -euo pipefail

title=RoboTwin
. "$(dirname "$0")/own_environment.sh"
venv="${1:-$root/.venv-robotwin}"
make_environment

say "installing RoboTwin and what it pins (several GB)"
pip rlinf-robotwin-runtime==0.1.3
install_wire
say "now install cuRobo 0.7.8 from its source there, and get the assets: $venv/bin/robotwin-download-assets --output ASSETS"
