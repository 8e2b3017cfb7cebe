#!/usr/bin/env bash
# Builds the image and runs it as labs do: in Docker without network, root or a writable root; in
# Apptainer; as a Slurm array on two nodes, one of which dies; and by Pydra's slurm worker. Every
# result must be the bytes of a plain run.
#
#   docker/check.sh PYTHON SCRIPTS     PYTHON has the package installed; SCRIPTS start the engines:
#       build-base.sh start-dockerd.sh stop-dockerd.sh build-image.sh build-sif.sh
#       install-apptainer.sh start-slurm.sh stop-slurm.sh kill-node.sh
#
# What is not to be had on a machine is skipped, and said so in capitals.
set -euo pipefail
python=$(realpath -s "$1") scripts=$(realpath "$2") root=$(realpath "$(dirname "$0")/..")
secondglance=$(dirname "$python")/secondglance
here=$(mktemp -d /tmp/secondglance-check-XXXXXX)
chmod 755 "$here"
cleanup() {
    "$scripts/stop-slurm.sh" "$here/slurm" > /dev/null 2>&1 || true
    "$scripts/stop-dockerd.sh" "$here/docker" > /dev/null 2>&1 || true
    rm -rf "$here"
}
trap cleanup EXIT
trap 'echo "FAILED at line $LINENO: $BASH_COMMAND" >&2' ERR
skip() { echo "SKIPPED: $1: IT IS NOT CHECKED HERE"; }
# What belongs to the project in a folder; of a source distribution, all there is
files() {
    git -C "$1" ls-files -z --cached --others --exclude-standard 2> /dev/null ||
        (cd "$1" && find . -type d \( -name .venv -o -name work -o -name out \) -prune -o -type f -print0)
}
step() { echo "== $1 (${SECONDS} s)"; }
# The bytes of every image, without the compression around them
digest() {
    (cd "$1" && find . -name '*.nii.gz' -path '*sub-*' | sort | while read -r file; do
        echo "$(gzip -dc "$file" | sha256sum | cut -c1-64) $file"
    done)
}
same() {
    digest "$1" > "$here/a.txt"; digest "$2" > "$here/b.txt"
    [ -s "$here/a.txt" ] || { echo "$1 holds no image" >&2; return 1; }
    diff "$here/a.txt" "$here/b.txt" > "$here/diff.txt" ||
        { echo "$1 and $2 differ:" >&2; head -n 5 "$here/diff.txt" >&2; return 1; }
    echo "   $(wc -l < "$here/a.txt") images, the same bytes"
}

install() {  # PACKAGE COMMAND
    command -v "$2" > /dev/null && return
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || return 1
    [ -n "${updated:-}" ] || apt-get update -qq > /dev/null 2>&1 && updated=yes
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 \
        > /dev/null 2>&1
}

step 'six subjects, one of them broken; a plain run'
"$secondglance" simulate --output "$here/study" --subjects 6 --b0-volumes 2 --dwi-volumes 1 > /dev/null
rm -rf "$here/study/derivatives"
chmod -R a+rX "$here/study"
(cd "$here/study" && ls -d sub-*) > "$here/subjects.txt"
one=$(head -n 1 "$here/subjects.txt") bad=$(sed -n 4p "$here/subjects.txt")
broken=$(find "$here/study/$bad" -name '*_dwi.nii.gz')
head -c 20000 "$broken" > "$here/cut" && cp "$here/cut" "$broken"
code=0
"$secondglance" run --subject all --bids-dir "$here/study" --output-dir "$here/plain" \
    --work-dir "$here/work-plain" --clean 2> "$here/plain.log" || code=$?
[ "$code" = 1 ] || { cat "$here/plain.log"; exit 1; }
grep -q '5 done, 0 cached, 1 failed' "$here/plain.log" || { cat "$here/plain.log"; exit 1; }
[ "$(awk -F'\t' '$2 == "failed"' "$here/plain/cohort.tsv" | cut -f1)" = "$bad" ]

step 'Docker'
if ! { install 'docker.io mmdebstrap' dockerd && install mmdebstrap mmdebstrap &&
    "$scripts/start-dockerd.sh" "$here/docker" > "$here/dockerd.log" 2>&1; }; then
    skip 'the Docker image, and with it Apptainer and the Slurm array'
    image=
else
    export DOCKER_HOST=unix://$here/docker/docker.sock
    if [ -z "${WHEELS:-}${PIP_FIND_LINKS:-}" ]; then
        mkdir "$here/wheels" && export WHEELS=$here/wheels
    fi
    "$scripts/build-base.sh" "$here/base.tar" > "$here/base.log" 2>&1 ||
        { tail -n 20 "$here/base.log"; exit 1; }
    step 'the image is built'
    # The stand-in for the base image has its name, and not its digest
    mkdir "$here/context"
    files "$root" | tar -C "$root" --null -T - -cf - | tar -C "$here/context" -xf -
    sed -i '/^ARG BASE=/s/@sha256:.*//' "$here/context/docker/Dockerfile"
    "$scripts/build-image.sh" "$here/context" secondglance:latest "$here/base.tar" > "$here/build.log" 2>&1 ||
        { tail -n 40 "$here/build.log"; exit 1; }
    rm "$here/base.tar"
    image=secondglance:latest
    bytes=$(/usr/bin/docker image inspect --format '{{.Size}}' "$image")
    echo "   $((bytes / 1000000)) MB"
    [ "$bytes" -le 1200000000 ] || { echo 'the image has more than 1.2 GB' >&2; exit 1; }
    step 'what a scan imports is compiled in the image'
    mkdir -m 777 "$here/docker-out"
    /usr/bin/docker run --rm --network none --read-only --user 1000 \
        -v "$here/docker-out:/out" --entrypoint python "$image" -c '
import os, sys, argparse, nipype, torch, scipy, SimpleITK
from secondglance.commands import run
from secondglance.models.second_glance import volume
cached = {m.__name__: getattr(m, "__cached__", None) for m in list(sys.modules.values())}
left = [n for n, path in cached.items() if isinstance(path, str) and not os.path.exists(path)]
sys.exit(f"not compiled: {left}" if left else 0)'
    step 'docker run: no network, no root, nothing writable but /out'
    /usr/bin/docker run --rm --network none --read-only --user 1000 \
        -v "$here/study:/data:ro" -v "$here/docker-out:/out" "$image" --subject "$one" \
        2> "$here/run.log" || { cat "$here/run.log"; exit 1; }
    mkdir "$here/one" && cp -r "$here/plain/$one" "$here/one/"
    same "$here/one" "$here/docker-out"
    [ -s "$here/docker-out/$one.html" ] || { echo 'no report' >&2; exit 1; }
fi

sif=
if [ -n "$image" ]; then
    step 'Apptainer'
    if command -v apptainer > /dev/null || "$scripts/install-apptainer.sh" > /dev/null 2>&1; then
        "$scripts/build-sif.sh" "$image" "$here/secondglance.sif" > "$here/sif.log" 2>&1 ||
            { tail -n 20 "$here/sif.log"; exit 1; }
        sif=$here/secondglance.sif
        echo "   $(($(stat -c %s "$sif") / 1000000)) MB"
        "$scripts/stop-dockerd.sh" "$here/docker" > /dev/null 2>&1 || true
    else
        skip 'the Apptainer image, and with it the Slurm array'
    fi
fi

step 'Slurm, two nodes'
if ! { install 'slurm-wlm munge' slurmctld &&
    install 'slurmdbd mariadb-server-core mariadb-client-core' slurmdbd &&
    ACCOUNTING=1 "$scripts/start-slurm.sh" "$here/slurm" > "$here/slurm.log" 2>&1; }; then
    skip 'Slurm'
    exit 0
fi
export SLURM_CONF=$here/slurm/slurm.conf
finished() { local left; left=$(squeue -h) && [ -z "$left" ]; }
until_finished() {
    local end=$((SECONDS + 420))
    until finished; do
        [ "$SECONDS" -lt "$end" ] || { squeue; exit 1; }
        # What waits after a node's death need not wait two minutes here
        for job in $(squeue -h -t PENDING -o %A); do
            scontrol update JobId="$job" StartTime=now > /dev/null 2>&1 || true
        done
        sleep 1
    done
}
first=$(sinfo -h -N -o %N | head -n 1)

if [ -n "$sif" ]; then
    step 'an array of six tasks in containers; a node dies in the middle'
    mkdir "$here/array-out" "$here/logs"
    sbatch --array=1-6 --cpus-per-task=1 --mem=1500M --time=00:20:00 -o "$here/logs/%a.txt" -e "$here/logs/%a.txt" \
        "$root/docker/slurm-array.sh" "$sif" "$here/study" "$here/array-out" "$here/subjects.txt" \
        > /dev/null
    end=$((SECONDS + 120))
    until [ -n "$(squeue -h -w "$first" -t RUNNING -o %A)" ]; do
        [ "$SECONDS" -lt "$end" ] || { squeue; cat "$here"/logs/*; exit 1; }
        sleep 0.5
    done
    sleep 6
    lost=$(squeue -h -w "$first" -t RUNNING -o %a_%K | tr '\n' ' ')
    "$scripts/kill-node.sh" "$here/slurm" "$first" now
    echo "   $first died while it ran ${lost:-nothing}"
    until_finished
    # Only now: what kills the lost tasks would reach the new ones on a node that is back at once
    slurmd -N "$first" > /dev/null 2>&1
    scontrol update nodename="$first" state=resume > /dev/null 2>&1 || true
    grep -h -c 'attempt 1' "$here"/logs/*.txt | awk '{n += $1} END {print "   " n+0 " requeued"}'
    grep -q 'its gzip stream is truncated' "$here/logs/4.txt"
    # A task that was killed before its node was known to be dead is not requeued: what is missing
    # is made now, what is there is taken
    code=0
    "$secondglance" run --subject all --bids-dir "$here/study" --output-dir "$here/array-out" \
        --work-dir "$here/work-array" 2> "$here/array.log" || code=$?
    tail -n 2 "$here/array.log" | head -n 1
    [ "$code" = 1 ] && [ "$(awk -F'\t' '$2 == "cached"' "$here/array-out/cohort.tsv" | wc -l)" -ge 3 ] ||
        { cat "$here/array.log"; tail -n 15 "$here"/logs/*; exit 1; }
    same "$here/plain" "$here/array-out"
fi

step "Pydra's slurm worker"
printf 'sbatch_args: "--cpus-per-task=1 --mem=1500M"\npoll_delay: 1\n' > "$here/worker.yml"
code=0
timeout 420 "$secondglance" run --subject all --bids-dir "$here/study" --output-dir "$here/pydra-out" \
    --work-dir "$here/work-pydra" --worker slurm --worker-args "$here/worker.yml" \
    2> "$here/pydra.log" || code=$?
[ "$code" = 1 ] && grep -q '5 done, 0 cached, 1 failed' "$here/pydra.log" ||
    { cat "$here/pydra.log"; exit 1; }
same "$here/plain" "$here/pydra-out"
left=$(find "$here/work-pydra" -type f | wc -l)
echo "   $left files left of the caches"

step "Nipype's SLURM plugin, one subject"
printf 'sbatch_args: "--time=00:10:00"\n' > "$here/plugin.yml"
timeout 300 "$secondglance" run --subject "$one" --bids-dir "$here/study" \
    --output-dir "$here/nipype-out" --work-dir "$here/work-nipype" \
    --plugin SLURM --plugin-args "$here/plugin.yml" 2> "$here/nipype.log" ||
    { cat "$here/nipype.log"; exit 1; }
[ -e "$here/one" ] || { mkdir "$here/one" && cp -r "$here/plain/$one" "$here/one/"; }
same "$here/one" "$here/nipype-out"
step 'all as it should be'
