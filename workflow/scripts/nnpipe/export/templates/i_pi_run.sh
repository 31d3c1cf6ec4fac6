#!/usr/bin/env bash
# Path integral dynamics: i-PI moves the beads, the driver computes their forces.
# Needs: pip install ipi
set -euo pipefail
cd "$(dirname "$0")"
rm -f /tmp/ipi_nnpipe
i-pi input.xml > i-pi.log &
server=$!
until [ -S /tmp/ipi_nnpipe ]; do
    kill -0 "$server" || exit 1
    sleep 0.2
done
i-pi-driver-py -u -a nnpipe -m custom -P driver.py -o model,start.xyz
wait "$server"
