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

number() { # NAME VALUE LEAST GREATEST
    if ! [[ $2 =~ ^[0-9]{1,9}$ ]] || ((10#$2 < $3 || 10#$2 > $4)); then
        echo "$1 is '$2', but should be a whole number from $3 to $4" >&2
        exit 2
    fi
}
number GPUS "$gpus" 1 9999
number NNODES "$nodes" 1 9999
number NODE_RANK "$rank" 0 $((nodes - 1))
number PORT "$port" 1 65535
if ((nodes > 1)) && [[ -z ${MASTER_ADDR:-} ]]; then
    echo "MASTER_ADDR is not set, so node 0 is looked for on this machine; elsewhere, name its address on every node" >&2
fi
if [[ $rank == 0 ]] && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "Port $port is taken, perhaps by another run; choose one: PORT=$((port + 1)) bash ..." >&2
    exit 2
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # what torchrun would set, with a warning
exec "$python" "$here/_torchrun.py" --nnodes "$nodes" --node_rank "$rank" --nproc_per_node "$gpus" \
    --master_addr "$address" --master_port "$port" "$script" "$@" --launcher pytorch
