#!/usr/bin/env bash
# Starts a Slurm of this machine alone (Debian: apt-get install slurmctld slurmd slurm-client munge), runs the given command in it by srun, and
# stops it. As root, on a machine without a Slurm of its own:
#   scripts/check-slurm.sh srun --mpi=pmi2 -n 2 node dist/cli/main.js run experiment.json
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,4p' "$0"; exit 2; }
for name in munged slurmctld slurmd; do
  ! pgrep -x -r D,R,S $name >/dev/null || { echo "$name is running already" >&2; exit 1; }
done

folder=$(mktemp -d)
pids=()
stop() {
  scancel --signal=KILL --user="$(id -un)" 2>/dev/null || true
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for _ in $(seq 40); do
    [ -n "$(jobs -rp)" ] || break
    sleep 0.25
  done
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done # one that waits for a step that hangs
  wait || true
  rm -rf "$folder"
}
trap stop EXIT

dd if=/dev/urandom bs=1 count=1024 of="$folder/munge.key" status=none
chmod 400 "$folder/munge.key"
chmod 711 "$folder"
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" 2>"$folder/munged.err" &
pids+=($!)

# MPICH names its shared memory by the job, and killed ranks leave theirs in /dev/shm: a number must not come again.
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=check
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
FirstJobId=$((100000 + RANDOM))
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES OverSubscribe=FORCE:8 State=UP
CONF
mkdir -p "$folder/state" "$folder/spool"
slurmctld -D >"$folder/slurmctld.log" 2>&1 &
pids+=($!)
slurmd -D >"$folder/slurmd.log" 2>&1 &
pids+=($!)

for _ in $(seq 60); do
  [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && break
  sleep 0.5
done
[ "$(sinfo -h -o %t 2>/dev/null)" = idle ] || { tail -n 20 "$folder"/*.log >&2; exit 1; }
"$@"
