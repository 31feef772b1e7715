# What the set-ups of benchmarks in environments of their own share; they source it and say `title` and `venv`.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\033[1mkinema set-up of %s:\033[0m %s\n' "$title" "$*"; }
fail() { printf 'kinema set-up of %s: %s\n' "$title" "$*" >&2; exit 1; }
pip() { "$venv/bin/python" -m pip install --quiet "$@"; }

make_environment() {  # in $venv; kept where it is there
    local python="${PYTHON:-python3.11}"
    command -v "$python" >/dev/null || fail "no $python; name one: PYTHON=/path/to/python3.11 $0"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "$python cannot make an environment at $venv"
}

install_wire() {  # kinema itself, with the few packages by which it talks
    say "installing kinema's wire"
    pip 'pyyaml>=6.0' 'pydantic>=2.12' 'msgspec>=0.19'
    pip --no-deps --editable "$root"
}
