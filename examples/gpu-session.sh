#!/usr/bin/env bash
# What a quarter of an hour on one H100 or H200 says of the plan: speeds of writing and training, of random weights, so nothing is
# downloaded. They go into $OUT, and `plan` prints them beside its own.
#
#     bash examples/gpu-session.sh            # needs the extras `experiments` and, for vLLM's speed, `gpu`
#     bash examples/gpu-session.sh --tiny     # tiny models on the processor, to try it out
#
# TFLOPS and BANDWIDTH are the card's: an H200's bandwidth is 4.8.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python} OUT=${OUT:-out/speeds.json}

"$PYTHON" -m llm bench speed --to "$OUT" "$@"
for preset in smollm2-135m-gpu openllama-3b; do
    "$PYTHON" -m llm plan --preset "$preset" --sweep core --gpus 1 --memory-gb 80 \
        --tflops "${TFLOPS:-989}" --bandwidth "${BANDWIDTH:-3.35}" --measured "$OUT"
done
