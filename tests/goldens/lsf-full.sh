#!/usr/bin/env bash

#BSUB -J ale-dask
#BSUB -e CACHE/logs/WORKER-%J.err
#BSUB -o CACHE/logs/WORKER-%J.out
#BSUB -q short
#BSUB -P "neuro"
#BSUB -n 1
#BSUB -M 4000000
#BSUB -W 02:30
module load python
PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 3.73GiB --nanny --death-timeout 300 --no-dashboard --interface ib0 --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
