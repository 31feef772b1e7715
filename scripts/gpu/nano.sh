#!/usr/bin/env bash
# One job on a GPU machine: make the data, train a nano recipe, evaluate it, leave the artifact under $OUT.
#
#   RECIPE=nano_tabletop OUT=/tmp/out bash scripts/gpu/nano.sh
#
# RECIPE    nano_tabletop or nano_metaworld
# EPISODES  demonstrations per body and family (tabletop) or per task (Meta-World; 50 is the protocol's number)
# MINUTES   training time
# DEVICE    cuda, or cpu to try the script
# INIT      an artifact to start from (optional)
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${OUT:?say where the results go: OUT=/some/folder}"
recipe="${RECIPE:-nano_tabletop}" minutes="${MINUTES:-5}" device="${DEVICE:-cuda}"
workers="${WORKERS:-$(nproc)}"
export MUJOCO_GL=egl OMP_NUM_THREADS=1

if [ -d .gpu/wheels ]; then
    python3 -m venv --system-site-packages .gpu/venv
    .gpu/venv/bin/pip install --quiet --no-index --no-deps --find-links .gpu/wheels .gpu/wheels/*.whl
    .gpu/venv/bin/pip install --quiet --no-index --no-deps --no-build-isolation -e .
    PATH="$PWD/.gpu/venv/bin:$PATH"
fi

case "$recipe" in
nano_tabletop)
    kinema data make tabletop --out data/tabletop --episodes "${EPISODES:-300}" --workers "$workers"
    world=tabletop
    ;;
nano_metaworld)
    kinema data make metaworld --raw --out data/metaworld_raw --episodes "${EPISODES:-50}" --workers "$workers"
    world=metaworld
    ;;
*)
    echo "RECIPE must be nano_tabletop or nano_metaworld, not $recipe" >&2
    exit 2
    ;;
esac

kinema train "$recipe" --minutes "$minutes" --device "$device" --threads "$workers" --out "runs/$recipe" \
    ${INIT:+--init "$INIT"}
kinema eval "$world" --policy "runs/$recipe/artifact" --episodes "${EVAL_EPISODES:-10}" --seed 0 \
    --workers "$workers" --out "runs/$recipe/eval"

# files of at most 15 MB each, flat, as the way back wants them; join with: cat artifact.tar.part-* | tar x
mkdir -p "$OUT"
cp "runs/$recipe/eval/results.json" "$OUT/"
tar c -C "runs/$recipe" artifact | split -b 15M - "$OUT/artifact.tar.part-"
ls -l "$OUT"
