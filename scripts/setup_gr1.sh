#!/usr/bin/env bash
# RoboCasa-GR1's own environment, for `kinema eval gr1`: its packages pin versions that cannot share ours. About 1 GB.
# Safe to run again.
#
#     scripts/setup_gr1.sh [FOLDER]      default: .venv-gr1; elsewhere set KINEMA_GR1=FOLDER
#
# Then, in that environment, the assets: `python -m robocasa_gr1.scripts.download_tabletop_assets -y`.
set -euo pipefail

title=RoboCasa-GR1
. "$(dirname "$0")/own_environment.sh"
venv="${1:-$root/.venv-gr1}"
make_environment

say "installing RoboCasa-GR1 and what it pins"
pip praxis-robocasa-gr1==0.2.0
install_wire
say "now get the assets: $venv/bin/python -m robocasa_gr1.scripts.download_tabletop_assets -y"
