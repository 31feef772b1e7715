#!/usr/bin/env bash
# Collect what a GPU machine without a network lacks into .gpu/wheels (git-ignored): run here, carry .gpu there.
# Its image is expected to bring python 3.12 with torch (CUDA), transformers, tokenizers, safetensors, numpy,
# scipy, pyarrow, pillow, pydantic, typer, rich, tqdm and tensorboard.
set -euo pipefail
cd "$(dirname "$0")/../.."
python="${PYTHON_VERSION:-3.12}"
mkdir -p .gpu/wheels
pip download --quiet --no-deps --only-binary=:all: --python-version "$python" --dest .gpu/wheels \
    mujoco==3.3.0 av glfw pyopengl absl-py etils imageio \
    metaworld==3.1.1 gymnasium==1.4.0 farama-notifications msgpack websockets pydantic pydantic-core pyyaml \
    typer rich tqdm click shellingham diffusers==0.42.1
du -sh .gpu/wheels
