#!/usr/bin/env bash
# Liver segmentation on LiTS, from VDT weights, then from scratch: bash medseg/LiTS_train.sh [GPUS] [arguments].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for weights in vdt scratch; do
    config=configs/lits/resnet3d-18-unet_${weights}_8xb2-poly-3k_lits.py
    bash tools/dist_train.sh "$config" "${1:-8}" --auto-scale-lr "${@:2}"
done
