#!/usr/bin/env bash
# bash launch.sh          the whole job on the phantom, in minutes
# bash launch.sh test     the checks: lint, types, tests
# bash launch.sh ARGS...  python -m scarseg_jax.main ARGS...
# Makes .venv and installs into it when it is absent or pyproject.toml has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python=.venv/bin/python
extras=""
[ "${1:-}" = test ] && extras="[dev]"
want="$(cksum pyproject.toml) ${extras}"
have="$(cat .venv/installed 2>/dev/null || true)"
# What has the development tools serves for running, too.
if [ "$have" != "$want" ] && [ "$have" != "$(cksum pyproject.toml) [dev]" ]; then
  "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: ${PYTHON:-python3} is older than Python 3.11; set PYTHON to a newer one" >&2
    exit 2
  }
  [ -x "$python" ] || "${PYTHON:-python3}" -m venv .venv
  echo "installing into .venv (once) ..."
  "$python" -m pip install --quiet --disable-pip-version-check --editable ".$extras"
  echo "$want" > .venv/installed
fi

case "${1:-}" in
  test)
    shift
    "$python" -m ruff check .
    "$python" -m ruff format --check .
    "$python" -m pyright --pythonpath "$python"
    exec "$python" -m pytest "$@"
    ;;
  "")
    exec "$python" -m scarseg_jax.main --config=configs/quickstart.py \
      --workdir=runs/quickstart
    ;;
  *)
    exec "$python" -m scarseg_jax.main "$@"
    ;;
esac
