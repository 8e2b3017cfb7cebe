#!/usr/bin/env bash
# One array task a subject, the container inside: what survives in practice.
#
#   ls -d /data/study/sub-* | xargs -n1 basename > subjects.txt
#   sbatch --array=1-$(wc -l < subjects.txt)%50 docker/slurm-array.sh \
#       secondglance.sif /data/study /data/results subjects.txt [options of secondglance run]
#
# Each attempt has a scratch folder of its own, and results are moved into place whole: a task that
# is requeued while its first node still writes does no harm. When all are done,
#   secondglance run --subject all --bids-dir /data/study --output-dir /data/results
# finds them finished and writes cohort.tsv; what is missing it computes.
#SBATCH --job-name=secondglance
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

image=$(realpath "$1") data=$(realpath "$2") results=$(realpath -m "$3") subjects=$4
shift 4
subject=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$subjects")
[ -n "$subject" ] || { echo "$subjects has no line $SLURM_ARRAY_TASK_ID" >&2; exit 2; }
mkdir -p "$results"
attempt=$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/secondglance-$attempt-XXXXXX")
trap 'rm -rf "$scratch"' EXIT

echo "$subject, attempt ${SLURM_RESTART_COUNT:-0}, on $(hostname)"
# Containers that start at one moment may race for a loop device: Apptainer then gives up with 255
for _ in 1 2 3; do
    code=0
    apptainer run --containall --no-home ${NV:+--nv} \
        --env "SLURM_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1},MPLCONFIGDIR=/work/matplotlib" \
        --bind "$data:/data:ro" --bind "$results:/out" --bind "$scratch:/work" --pwd /work \
        "$image" --subject "$subject" --bids-dir /data --output-dir /out --work-dir /work "$@" ||
        code=$?
    [ "$code" = 255 ] || break
    sleep $((RANDOM % 5 + 2))
done
exit "$code"
