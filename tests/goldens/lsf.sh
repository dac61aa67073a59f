#!/usr/bin/env bash

#BSUB -J ale-dask
#BSUB -e CACHE/logs/WORKER-%J.err
#BSUB -o CACHE/logs/WORKER-%J.out
#BSUB -n 1
#BSUB -M 2000000
#BSUB -W 00:30

PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 1.86GiB --nanny --death-timeout 60 --no-dashboard --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
