#!/usr/bin/env bash
# Train on several GPUs, or in several processes of a CPU. NNODES, NODE_RANK, MASTER_ADDR and PORT as in _torchrun.sh.
set -euo pipefail
if (($# < 2)); then
    echo "usage: bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]" >&2
    exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/_torchrun.sh" train.py "$2" "$1" "${@:3}"
