#!/usr/bin/env bash
# Train under Slurm. GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS and PORT as in _srun.sh.
set -euo pipefail
if (($# < 3)); then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB CONFIG [arguments of train.py]" >&2
    exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/_srun.sh" train.py "$@"
