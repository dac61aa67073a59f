#!/usr/bin/env bash

#SBATCH -J ale-dask
#SBATCH -e CACHE/logs/ale-dask-%J.err
#SBATCH -o CACHE/logs/ale-dask-%J.out
#SBATCH -p short
#SBATCH -A neuro
#SBATCH -n 1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH -t 02:30:00
module load python
PYTHON -m distributed.cli.dask_worker tls://SCHEDULER:PORT --name WORKER --nthreads 1 --memory-limit 3.73GiB --nanny --death-timeout 300 --no-dashboard --interface ib0 --protocol tls:// --tls-ca-file CACHE/tls/KEY.pem --tls-cert CACHE/tls/KEY.pem --tls-key CACHE/tls/KEY.pem
