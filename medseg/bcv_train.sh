#!/usr/bin/env bash
# Multi-organ segmentation on BCV, from VDT weights, then from scratch: bash medseg/bcv_train.sh [GPUS] [arguments].
# With --work-dir FOLDER they are FOLDER/vdt and FOLDER/scratch.
set -euo pipefail
config=configs/bcv/resnet3d-18-unet_ARM_8xb1-poly-39k_bcv.py
exec bash "$(dirname "${BASH_SOURCE[0]}")/_train.sh" "$config" "${1:-4}" "${@:2}"
