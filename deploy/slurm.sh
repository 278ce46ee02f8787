#!/usr/bin/env bash
# A search on the nodes of one Slurm job, from the repository or wherever the configuration lies:
#
#   sbatch deploy/slurm.sh configs/cifar10-resnet20.yaml --set checkpoints=/shared/senas
#
# What follows the script's name goes to `senas search`. Before sbatch, activate the virtual environment, which lies on
# a file system that all nodes share, and set SENAS_STORAGE; the password belongs in ~/.pgpass (docs/cluster.md).
# SENAS_INTERFACE=ib0 makes Ray use that network interface instead of each node's first address.
#
# To stop: scancel --batch --signal=TERM JOBID. The running epochs are finished; a plain scancel ends Ray with them.
#
#SBATCH --job-name=senas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1     # one task a node: Ray, which shares the node out among the trials
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@600     # to this script alone, so long before the time is up: longer than an epoch takes
#SBATCH --requeue               # after a preemption Slurm runs this again, and the search goes on
#SBATCH --no-kill               # a lost node is Ray's to survive, not the job's end
#SBATCH --open-mode=append      # one log through all requeueings
set -euo pipefail

again=false
search=
# shellcheck disable=SC2317 # the traps call it
on_signal() {
    [[ -n $search ]] || exit 143
    kill -TERM "$search"
}
trap on_signal TERM INT
trap 'again=true; on_signal' USR1  # what Slurm sends by --signal, so a user's TERM is told from the end of the time

# Whoever reaches Ray's ports runs code as you. On a shared cluster that is everyone, so Ray asks for a token of this
# job's own, which srun hands on in the environment.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

on_node() { # NODE COMMAND...
    srun --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --nodelist="$1" --no-kill "${@:2}"
}

nodes_alive() {
    timeout 60 python - "$address:$port" 2>/dev/null <<'PYTHON' || echo 0
import sys
import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()))
PYTHON
}

cpus=${SLURM_CPUS_PER_TASK:-1}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# The script runs on the first node, so the driver finds the head there.
if [[ -n ${SENAS_INTERFACE:-} ]]; then
    address=$(ip -4 -o addr show dev "$SENAS_INTERFACE" | awk '{sub("/.*", "", $4); print $4; exit}')
else
    address=$(hostname -I | awk '{print $1}')
fi
# Two jobs may share a node. Ports from 10002 to 19999 are those of Ray's workers.
port=$((20000 + SLURM_JOB_ID % 5000))
here=(--block --num-cpus="$cpus" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")  # Ray itself would count the whole node

on_node "${nodes[0]}" ray start --head "${here[@]}" --node-ip-address="$address" --port="$port" \
    --ray-client-server-port=$((port + 5000)) --include-dashboard=false --temp-dir="/tmp/ray-$SLURM_JOB_ID" &
head=$!
until (($(nodes_alive) >= 1)); do
    kill -0 "$head" || exit 1
    sleep 1
done
for node in "${nodes[@]:1}"; do
    on_node "$node" ray start --address="$address:$port" "${here[@]}" &
done
# After five minutes it begins with the nodes that are there; those that come later are used as well.
until (($(nodes_alive) >= ${#nodes[@]} || SECONDS > 300)); do
    sleep 2
done

senas search "$@" --address "$address:$port" &
search=$!
while true; do # a signal ends `wait`, not the search
    code=0
    wait "$search" || code=$?
    kill -0 "$search" 2>/dev/null || break
done
if $again && ((code != 0)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code" # and Slurm ends Ray
