#!/usr/bin/env bash

#PBS -N ale-dask
#PBS -q short
#PBS -A neuro
#PBS -l select=1:ncpus=1:mem=3815MB
#PBS -l walltime=02:30:00
#PBS -e CACHE/logs/
#PBS -o CACHE/logs/
module load python
PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 3.73GiB --nanny --death-timeout 300 --no-dashboard --interface ib0 --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
