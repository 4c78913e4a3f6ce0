#!/bin/sh
# Installs mesh without a package: program, service, completions and manual. Safe to run again: that is the upgrade.
#
#   scripts/install.sh                  builds the release and installs it
#   scripts/install.sh --program FILE   installs this program
#   scripts/install.sh --remove         takes everything out again but the home, /var/lib/mesh
#
# PREFIX (default /usr/local) is where programs go. Run it as root; without root, set PREFIX to a folder of yours and no
# service is installed. It fetches nothing but what cargo needs to build.
set -eu
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local}
unit=/etc/systemd/system/mesh.service
plist=/Library/LaunchDaemons/mesh.plist

fail() { printf 'install: %s\n' "$*" >&2; exit 1; }
say() { printf 'install: %s\n' "$*"; }
root() { [ "$(id -u)" = 0 ]; }
systemd() { root && [ -d /run/systemd/system ]; }
launchd() { root && [ "$(uname)" = Darwin ]; }

program='' remove=''
while [ $# -gt 0 ]; do
    case $1 in
        --program) [ $# -gt 1 ] || fail "--program names a file"; program=$2; shift 2 ;;
        --remove) remove=1; shift ;;
        *) sed -n '2,/^set/{/^#/!q;s/^# \{0,1\}//p;}' "$0" >&2; exit 2 ;;
    esac
done

if [ -n "$remove" ]; then
    if systemd && [ -e "$unit" ]; then
        systemctl disable --quiet --now mesh.service
        rm -f "$unit"
        systemctl daemon-reload
    fi
    if launchd && [ -e "$plist" ]; then
        launchctl bootout system/mesh || true
        rm -f "$plist"
    fi
    rm -f "$prefix/bin/mesh" "$prefix/share/man/man1/mesh.1" "$prefix/share/bash-completion/completions/mesh" \
        "$prefix/share/zsh/site-functions/_mesh" "$prefix/share/fish/vendor_completions.d/mesh.fish"
    say "removed; a home such as /var/lib/mesh stays, with the host's key"
    exit 0
fi

if [ -z "$program" ]; then
    command -v cargo >/dev/null || fail "cargo is missing: see https://rustup.rs, or give --program FILE"
    cargo build --locked --release --bin mesh
    program=target/release/mesh
fi
[ -x "$program" ] || fail "$program is no program"
"$program" --version >/dev/null || fail "$program does not run here: it was built for another system"

# In one step, so that a running agent keeps the file it started with.
mkdir -p "$prefix/bin" "$prefix/share/man/man1" "$prefix/share/bash-completion/completions" \
    "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
cp "$program" "$prefix/bin/.mesh.new"
chmod 0755 "$prefix/bin/.mesh.new"
mv -f "$prefix/bin/.mesh.new" "$prefix/bin/mesh"
"$program" man >"$prefix/share/man/man1/mesh.1"
"$program" completions bash >"$prefix/share/bash-completion/completions/mesh"
"$program" completions zsh >"$prefix/share/zsh/site-functions/_mesh"
"$program" completions fish >"$prefix/share/fish/vendor_completions.d/mesh.fish"
say "$("$program" --version) is in $prefix/bin"

if systemd; then
    sed "s|/usr/bin/mesh|$prefix/bin/mesh|" packaging/systemd/mesh.service >"$unit.new"
    mv -f "$unit.new" "$unit"
    systemctl daemon-reload
    systemctl enable --quiet mesh.service
    # One that a person has stopped stays stopped.
    systemctl try-restart mesh.service
    say "service mesh is enabled; next: mesh --home /var/lib/mesh init --help, then systemctl start mesh"
elif launchd; then
    launchctl bootout system/mesh 2>/dev/null || true
    sed "s|/usr/local/bin/mesh|$prefix/bin/mesh|" packaging/launchd/mesh.plist >"$plist"
    chmod 0644 "$plist"
    [ -e /var/lib/mesh/config/mesh.toml ] && launchctl bootstrap system "$plist"
    say "next: mesh --home /var/lib/mesh init --help, then launchctl bootstrap system $plist"
else
    say "no service was installed: not root, or neither systemd nor launchd runs here"
fi
