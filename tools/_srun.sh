#!/usr/bin/env bash
# Start a script of this folder under Slurm, one process per GPU: _srun.sh SCRIPT PARTITION JOB [arguments of the script].
# GPUS (8), GPUS_PER_NODE (GPUS, at most 8), CPUS_PER_TASK (5), SRUN_ARGS and PORT (29500) come from the environment.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$here/$1 partition=$2 job=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -ra more <<<"${SRUN_ARGS:-}"
python=$here/../.venv/bin/python
[[ -x $python ]] || python=python3

export MASTER_PORT=${PORT:-29500}
# Which node comes first is known in the job only, so each task asks.
# shellcheck disable=SC2016
with_address='export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)}; exec "$@"'
exec srun --partition "$partition" --job-name "$job" --gres "gpu:$per_node" --ntasks "$gpus" \
    --ntasks-per-node "$per_node" --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 "${more[@]}" \
    bash -c "$with_address" with_address "$python" -u "$script" "$@" --launcher slurm
