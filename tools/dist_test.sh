#!/usr/bin/env bash
# Test on several GPUs, or in several processes of a CPU. NNODES, NODE_RANK, MASTER_ADDR and PORT as in _torchrun.sh.
set -euo pipefail
if (($# < 3)); then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py]" >&2
    exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/_torchrun.sh" test.py "$3" "$1" "$2" "${@:4}"
