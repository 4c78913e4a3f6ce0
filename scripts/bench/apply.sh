#!/bin/sh
# A change of one file in a repository of 10,000 files against a git work tree of that one file, and the scratch copy of
# a check against a full checkout. Prints times and ratios; about a minute on two cores, after the build.
set -eu
cd "$(dirname "$0")/../.."
exec cargo bench --bench apply
