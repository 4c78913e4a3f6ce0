#!/usr/bin/env bash
# Bends the corpus of each fuzz target for so many seconds: scripts/fuzz.sh [SECONDS] [TARGET...]
# A finding prints its seed and input; put the input into tests/corpus/<target>/ once it is mended.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
if [ $# -eq 0 ]; then
    set -- envelope payloads head_and_join roster key_lines lesson_toml config claims rules tree_paths push_answers
fi
cargo test --locked --test main --no-run
for target in "$@"; do
    printf '\n== %s for %s s\n' "$target" "$seconds"
    FUZZ_SECONDS=$seconds cargo test --locked --quiet --test main -- --exact "fuzz::fuzz_$target" --nocapture
done
