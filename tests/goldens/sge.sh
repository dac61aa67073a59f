#!/usr/bin/env bash

#$ -N ale-dask
#$ -l h_rt=00:30:00
#$ -e CACHE/logs/
#$ -o CACHE/logs/
#$ -cwd
#$ -j y

PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 1.86GiB --nanny --death-timeout 60 --no-dashboard --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
