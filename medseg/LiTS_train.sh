#!/usr/bin/env bash
# Liver segmentation on LiTS, from VDT weights, then from scratch: bash medseg/LiTS_train.sh [GPUS] [arguments].
# With --work-dir FOLDER they are FOLDER/vdt and FOLDER/scratch.
set -euo pipefail
config=configs/lits/resnet3d-18-unet_ARM_8xb2-poly-3k_lits.py
exec bash "$(dirname "${BASH_SOURCE[0]}")/_train.sh" "$config" "${1:-8}" "${@:2}"
