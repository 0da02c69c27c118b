#!/usr/bin/env bash
# The full setting of the supernet bench on a GPU: 5 cells per stage, 16 channels, 32 pixels, 400 epochs, 3 seeds.
# CIFAR-10 (50,000 images) must lie in $JAXNAS_DATA/tfds and NAS-Bench-201's accuracies in $JAXNAS_DATA/nasbench201.
#   JAXNAS_DATA=DIR bash bench/supernet_gpu.sh [arms, comma-separated]
# Records go to a folder for each number of landmarks below $OUT. No landmark is judged, so of the 200 judged
# architectures 41 are others with 10 landmarks than with 30, and 26 with 50: compare between folders with care.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${JAXNAS_DATA:?say where the data are}"
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
for count in 10 30 50; do # landmarks; the arms without landmarks are trained once
  arms=${1:-$([[ $count == 30 ]] && echo plain,teacher,longer,landmarks,shuffled,even,odd || echo landmarks)}
  python3 -m bench.supernet --arms "$arms" --seeds 0 1 2 --landmarks "$count" \
    --recipe.epochs 400 --recipe.batch 256 --recipe.learning-rate 0.025 \
    --channels 16 --cells 5 --side 32 --evaluations 4 --every 25 \
    --out "${OUT:-bench/results/supernet_full}/$count"
done
