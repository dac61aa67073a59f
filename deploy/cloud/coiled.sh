#!/usr/bin/env bash
# coiled batch run deploy/cloud/coiled.sh
#COILED n-tasks 16
#COILED memory 2 GiB
#COILED container registry.example/ale-dask:0.1.0
set -euo pipefail
# 75: stopped, or blocks are left; the same command goes on. Any other code is the task's own.
for attempt in 1 2 3 4 5; do
    status=0
    ale-dask block s3://bucket/run "$COILED_BATCH_TASK_ID" --of 16 || status=$?
    [ "$status" -eq 75 ] || exit "$status"
    echo "attempt $attempt ended unfinished" >&2
done
exit 75
