#!/usr/bin/env bash
# Nodule segmentation on LIDC, from VDT weights, then from scratch: bash medseg/lidc_train.sh [GPUS] [arguments].
# With --work-dir FOLDER they are FOLDER/vdt and FOLDER/scratch.
set -euo pipefail
config=configs/lidc/resnet3d-18-fcn_ARM_8xb4-poly-13k_lidc-seg.py
exec bash "$(dirname "${BASH_SOURCE[0]}")/_train.sh" "$config" "${1:-4}" "${@:2}"
