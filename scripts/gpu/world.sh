#!/usr/bin/env bash
# One job on a GPU machine: make the data, train the video code and the world model, judge it, leave the
# artifact under $OUT. Needs diffusers beside what nano.sh needs (see wheels.sh).
#
#   OUT=/tmp/out bash scripts/gpu/world.sh
#
# EPISODES       demonstrations of the Panda per family
# CODE_MINUTES   training time of the code, MINUTES of the model
# DEVICE         cuda, or cpu to try the script
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${OUT:?say where the results go: OUT=/some/folder}"
device="${DEVICE:-cuda}" workers="${WORKERS:-$(nproc)}" runs="${RUNS:-runs/gpu}"
export MUJOCO_GL=egl OMP_NUM_THREADS=1

if [ -d .gpu/wheels ]; then
    python3 -m venv --system-site-packages .gpu/venv
    .gpu/venv/bin/pip install --quiet --no-index --no-deps --find-links .gpu/wheels .gpu/wheels/*.whl
    .gpu/venv/bin/pip install --quiet --no-index --no-deps --no-build-isolation -e .
    PATH="$PWD/.gpu/venv/bin:$PATH"
fi

data="$runs/data"
kinema data make tabletop --robots panda --out "$data/tabletop" --episodes "${EPISODES:-150}" --workers "$workers"
kinema data make human --robots panda --out "$data/human" --episodes "${GENERAL:-100}"
kinema data make road --views 2 --out "$data/road" --episodes "${DRIVES:-20}" --workers "$workers"

kinema train nano_vae --data "$data" --minutes "${CODE_MINUTES:-3}" --device "$device" --threads "$workers" \
    --out "$runs/nano_vae"
kinema train nano_world --data "$data" --minutes "${MINUTES:-4}" --device "$device" --threads "$workers" \
    --out "$runs/nano_world"
kinema eval world --policy "$runs/nano_world/artifact" --robots panda --episodes "${EVAL_EPISODES:-10}" \
    --seed 0 --workers "$workers" --out "$runs/eval"

# files of at most 15 MB each, flat, as the way back wants them; join with: cat artifact.tar.part-* | tar x
mkdir -p "$OUT"
cp "$runs/eval/world.json" "$OUT/"
tar c -C "$runs/nano_world" artifact | split -b 15M - "$OUT/artifact.tar.part-"
ls -l "$OUT"
