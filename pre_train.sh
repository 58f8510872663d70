#!/usr/bin/env bash
# The released VDT pre-training on ImageNet-1k, under the original's command name: bash pre_train.sh [GPUS] [arguments].
set -euo pipefail
config=configs/imagenet_pretrain/resnet3d-18_vdt_8xb32-cos-100e_in1k.py
exec bash "$(dirname "${BASH_SOURCE[0]}")/tools/dist_train.sh" "$config" "${1:-8}" "${@:2}"
