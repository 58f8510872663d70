#!/usr/bin/env bash
# Test a checkpoint on LiTS: bash medseg/LiTS_test.sh CHECKPOINT [GPUS] [arguments], such as --format-only FOLDER.
set -euo pipefail
if (($# < 1)); then
    echo "usage: bash medseg/LiTS_test.sh CHECKPOINT [GPUS] [arguments of test.py]" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=configs/lits/resnet3d-18-unet_vdt_8xb2-poly-3k_lits.py
exec bash tools/dist_test.sh "$config" "$1" "${2:-8}" "${@:3}"
