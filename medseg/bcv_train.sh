#!/usr/bin/env bash
# Multi-organ segmentation on BCV, from VDT weights, then from scratch: bash medseg/bcv_train.sh [GPUS] [arguments].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for weights in vdt scratch; do
    config=configs/bcv/resnet3d-18-unet_${weights}_8xb1-poly-39k_bcv.py
    bash tools/dist_train.sh "$config" "${1:-4}" --auto-scale-lr "${@:2}"
done
