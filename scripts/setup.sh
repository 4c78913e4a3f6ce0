#!/usr/bin/env bash
# Installs what the tests need besides Rust. Safe to run again; says what it does.
set -euo pipefail
cd "$(dirname "$0")/.."

# program:package, for Debian and its relatives
needed=(git:git ssh:openssh-client ssh-keygen:openssh-client sshd:openssh-server openssl:openssl python3:python3
        cc:build-essential pkg-config:pkg-config nginx:nginx-light visudo:sudo haproxy:haproxy
        named-checkconf:bind9-utils systemd-analyze:systemd)

missing=()
for pair in "${needed[@]}"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
# These two belong to git, but some systems package them apart.
if command -v git >/dev/null; then
    for part in git-daemon git-http-backend; do
        [ -x "$(git --exec-path)/$part" ] || missing+=(git)
    done
fi
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "setup: apt-get install ${missing[*]}"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "setup: missing: ${missing[*]}" >&2
        echo "setup: install them, on Debian with: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
fi

stamp=target/venv/requirements.txt
if ! cmp -s scripts/requirements.txt "$stamp"; then
    echo "setup: making target/venv with $(grep -c '==' scripts/requirements.txt) pinned Python packages"
    mkdir -p target
    rm -rf target/venv
    python3 -m venv target/venv
    target/venv/bin/pip install --quiet --disable-pip-version-check -r scripts/requirements.txt
    cp scripts/requirements.txt "$stamp"
fi
# The schema comes with the crate serde-sarif; it is only read, never built.
schema=target/sarif-2.1.0.schema.json
sum=af47e7b67f24efe74076621fd3a5fbe7398add9e84fe820c971219a385895cea
matches() { printf '%s  %s\n' "$sum" "$1" | sha256sum --check --status 2>/dev/null; }
if ! matches "$schema"; then
    fetch=target/sarif-fetch
    rm -rf "$fetch"
    mkdir -p "$fetch/src"
    : >"$fetch/src/lib.rs"
    cat >"$fetch/Cargo.toml" <<'TOML'
[package]
name = "sarif-fetch"
version = "0.0.0"
edition = "2021"

[dependencies]
serde-sarif = { version = "=0.8.0", default-features = false }

[workspace]
TOML
    found=$(cargo metadata --quiet --format-version 1 --manifest-path "$fetch/Cargo.toml" |
        target/venv/bin/python -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
manifest = next(p["manifest_path"] for p in packages if p["name"] == "serde-sarif")
print(os.path.join(os.path.dirname(manifest), "src", "schema.json"))')
    matches "$found" || { echo "$found is not the SARIF 2.1.0 schema that was expected" >&2; exit 1; }
    cp "$found" "$schema"
    rm -rf "$fetch"
fi

echo "setup: everything the tests need is here"
