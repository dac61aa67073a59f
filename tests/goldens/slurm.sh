#!/usr/bin/env bash

#SBATCH -J ale-dask
#SBATCH -e CACHE/logs/ale-dask-%J.err
#SBATCH -o CACHE/logs/ale-dask-%J.out
#SBATCH -n 1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH -t 00:30:00

PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 1.86GiB --nanny --death-timeout 60 --no-dashboard --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
