#!/usr/bin/env bash

#PBS -N ale-dask
#PBS -l select=1:ncpus=1:mem=1908MB
#PBS -l walltime=00:30:00
#PBS -e CACHE/logs/
#PBS -o CACHE/logs/

PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 1.86GiB --nanny --death-timeout 60 --no-dashboard --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
