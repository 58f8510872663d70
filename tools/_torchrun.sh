#!/usr/bin/env bash
# Start a script of this folder in GPUS processes of this node: _torchrun.sh SCRIPT GPUS [arguments of the script].
# For several nodes run it on each, with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (node 0) and, if wanted, PORT.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$here/$1 gpus=$2
shift 2
nodes=${NNODES:-1} rank=${NODE_RANK:-0} address=${MASTER_ADDR:-127.0.0.1} port=${PORT:-29500}
python=$here/../.venv/bin/python
[[ -x $python ]] || python=python3

if [[ $rank == 0 ]] && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "Port $port is taken, perhaps by another run; choose one: PORT=$((port + 1)) bash ..." >&2
    exit 2
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # what torchrun would set, with a warning
exec "$python" -m torch.distributed.run --nnodes "$nodes" --node_rank "$rank" --nproc_per_node "$gpus" \
    --master_addr "$address" --master_port "$port" "$script" "$@" --launcher pytorch
