# SPDX-License-Identifier: MPL-2.0
# shellcheck shell=bash
# What the scripts of this folder share. Source it; it sets `root` (the checkout) and `python` (its environment's).

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
# .venv and the labs are found from the checkout, never from the caller's folder or environment.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

# Run ci/setup, which is quick when nothing changed. What it says goes to stderr: stdout belongs to the caller.
ensure_setup() {
    "$root/ci/setup" >&2
}

# Run a module of ours (ci.labs, ...) with the checkout importable.
run_module() {
    PYTHONPATH=$root exec "$python" -m "$@"
}
