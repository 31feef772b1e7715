#!/usr/bin/env bash
# Everything `make demo` and `make test` need, on a fresh Debian or Ubuntu machine with Python 3.11, 3.12 or
# 3.13, pip, gcc and git. Safe to run again: the Makefile skips it while pyproject.toml is unchanged.
set -euo pipefail

venv="${1:-.venv}"
root="$(cd "$(dirname "$0")/.." && pwd)"
gl_packages="libegl1 libegl-mesa0 libgl1-mesa-dri"

say() { printf '\033[1mkinema set-up:\033[0m %s\n' "$*"; }
fail() { printf 'kinema set-up: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"; else return 1; fi
}

find_python() {
    for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        if [ -n "$name" ] && command -v "$name" >/dev/null \
            && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 found (mujoco 3.3.0 has no wheel for others; python3 is $(python3 -V 2>&1)).\
 To get one: sudo apt-get install -y python3.13 python3.13-venv, or name one: PYTHON=/path/to/python3.13 make demo"
}

make_venv() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return
    local python
    python="$(find_python)"
    say "creating $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv" 2>/dev/null; then
        as_root apt-get update -qq && as_root apt-get install -y -qq python3-venv \
            || fail "python cannot make a virtual environment. To get it: sudo apt-get install -y python3-venv"
        "$python" -m venv --clear "$venv"
    fi
}

install_packages() {
    # torch comes first and pinned: with it in place no other package pulls a second, larger build in.
    if ! "$venv/bin/python" -c 'import importlib.metadata as m; assert m.version("torch").split("+")[0] == "2.13.0"' \
        2>/dev/null; then
        say "installing torch 2.13.0"
        "$venv/bin/python" -m pip install --quiet "torch==2.13.0"
    fi
    say "installing kinema and its extras (a few minutes the first time)"
    "$venv/bin/python" -m pip install --quiet -e ".[all,dev]"
}

# Only tests need it, and they skip without it. Its own pin of numpy below 2 does not hold for its websocket
# client, which is all that is used; so it comes without its dependencies.
install_openpi_client() {
    "$venv/bin/python" -c 'import openpi_client' 2>/dev/null && return
    "$venv/bin/python" -m pip install --quiet --no-deps "openpi-client==0.1.2" \
        || say "openpi-client could not be installed; its tests will be skipped"
}

# Only Linux has EGL, and only there is it needed: elsewhere MuJoCo draws with the system's own OpenGL.
[ "$(uname)" != Linux ] || export MUJOCO_GL="${MUJOCO_GL:-egl}"
renders() { "$venv/bin/python" -m kinema.doctor --rendering >/dev/null 2>&1; }

install_gl() {
    renders && return
    command -v apt-get >/dev/null \
        || fail "the simulator cannot render here; \`$venv/bin/kinema doctor\` says what exactly fails"
    say "no OpenGL that renders without a screen; installing $gl_packages"
    # shellcheck disable=SC2086
    if as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends $gl_packages; then
        renders && return
    fi
    fail "the simulator cannot render here. Run this line, then try again:
    sudo apt-get update && sudo apt-get install -y $gl_packages
(\`$venv/bin/kinema doctor\` says what exactly fails)"
}

# Only tests need it, and they skip without it. No cluster is made: the tests start a throw-away one.
install_postgres() {
    if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "no PostgreSQL here; its tests will be skipped (sudo apt-get install -y postgresql)"
        return
    fi
    say "installing postgresql for the tests of the server"
    local no_cluster=/etc/postgresql-common/createcluster.d/kinema.conf
    mkdir -p "${no_cluster%/*}"
    echo "create_main_cluster = false" >"$no_cluster"
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends postgresql >/dev/null \
        || say "postgresql could not be installed; its tests will be skipped"
    rm -f "$no_cluster"
}

cd "$root"
make_venv
install_packages
install_openpi_client
install_gl
install_postgres
say "ready"
