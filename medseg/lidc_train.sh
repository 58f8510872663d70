#!/usr/bin/env bash
# Nodule segmentation on LIDC, from VDT weights, then from scratch: bash medseg/lidc_train.sh [GPUS] [arguments].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for weights in vdt scratch; do
    config=configs/lidc/resnet3d-18-fcn_${weights}_8xb4-poly-13k_lidc-seg.py
    bash tools/dist_train.sh "$config" "${1:-4}" --auto-scale-lr "${@:2}"
done
