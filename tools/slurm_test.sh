#!/usr/bin/env bash
# Test under Slurm. GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS and PORT as in _srun.sh.
set -euo pipefail
if (($# < 4)); then
    echo "usage: bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [arguments of test.py]" >&2
    exit 2
fi
exec bash "$(dirname "${BASH_SOURCE[0]}")/_srun.sh" test.py "$@"
