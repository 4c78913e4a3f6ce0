#!/bin/sh
# Ingest of 100,000 entries of five peers against parsing, verifying and inserting them alone.
# Prints times and ratios; about two minutes on two cores, after the build.
set -eu
cd "$(dirname "$0")/../.."
exec cargo bench --bench ingest
