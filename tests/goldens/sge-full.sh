#!/usr/bin/env bash

#$ -N ale-dask
#$ -q short
#$ -P neuro
#$ -l h_rt=02:30:00
#$ -e CACHE/logs/
#$ -o CACHE/logs/
#$ -cwd
#$ -j y
module load python
PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 3.73GiB --nanny --death-timeout 300 --no-dashboard --interface ib0 --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
