#!/usr/bin/env bash
# Everything that CI checks, in the order of cost. Stops at the first failure.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

if ! command -v cargo-deny >/dev/null; then
    echo "check: cargo-deny is missing: cargo install cargo-deny --locked" >&2
    exit 1
fi
step scripts/setup.sh
scripts/setup.sh
step cargo fmt
cargo fmt --check
step cargo clippy
cargo clippy --locked --all-targets -- -D warnings
step cargo doc
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
step cargo test
cargo test --locked
step cargo deny
cargo deny --locked check bans licenses sources
# Reported, not blocking: a new advisory must not stop an unrelated change.
cargo deny --locked check advisories || echo "check: advisories above, or the list could not be fetched; this does not fail the check"
step "all checks passed"
