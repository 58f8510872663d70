#!/usr/bin/env bash
# Train from VDT weights, then from scratch: _train.sh CONFIG GPUS [arguments of train.py]; CONFIG has ARM for either.
# Each arm has a work directory of its own: --work-dir FOLDER becomes FOLDER/vdt and FOLDER/scratch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=$1 gpus=$2
shift 2
for arm in vdt scratch; do
    words=() is_folder=no
    for word in "$@"; do
        if [[ $is_folder == yes || $word == --work-dir=* || $word == work_dir=* ]]; then
            words+=("$word/$arm")
        else
            words+=("$word")
        fi
        [[ $word == --work-dir ]] && is_folder=yes || is_folder=no
    done
    bash tools/dist_train.sh "${config/ARM/$arm}" "$gpus" --auto-scale-lr "${words[@]}"
done
