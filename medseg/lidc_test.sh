#!/usr/bin/env bash
# Test a checkpoint on LIDC: bash medseg/lidc_test.sh CHECKPOINT [GPUS] [arguments], such as --format-only FOLDER.
set -euo pipefail
if (($# < 1)); then
    echo "usage: bash medseg/lidc_test.sh CHECKPOINT [GPUS] [arguments of test.py]" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=configs/lidc/resnet3d-18-fcn_vdt_8xb4-poly-13k_lidc-seg.py
exec bash tools/dist_test.sh "$config" "$1" "${2:-4}" "${@:3}"
