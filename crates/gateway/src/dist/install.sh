#!/bin/sh
# Joins this host to the Hostler gateway at @URL@:
#   curl -fsSL @CURL_PIN@'@URL@/install.sh' | sh -s -- TOKEN [flags of `hostler join`]
# It fetches the gateway's own binary, checks its SHA-256, and runs `hostler join`, which makes this host's key, joins
# with the token and installs the agent as a systemd unit: the system's as root, this user's otherwise.
# Running it again is safe.
set -eu

url='@URL@'
pin='@PIN@'

fail() {
    echo "hostler: $1" >&2
    exit 1
}

fetch() {
    # $1: path below the gateway, $2: file
    if command -v curl >/dev/null 2>&1; then
        if [ -n "$pin" ]; then
            curl -fsS --proto '=https' -k --pinnedpubkey "$pin" -o "$2" "$url$1" || fail "cannot fetch $url$1"
        else
            curl -fsS -o "$2" "$url$1" || fail "cannot fetch $url$1"
        fi
    elif [ -n "$pin" ]; then
        fail "curl is needed: the gateway's certificate is self-made, and only curl can check its key"
    elif command -v wget >/dev/null 2>&1; then
        wget -q -O "$2" "$url$1" || fail "cannot fetch $url$1"
    else
        fail "neither curl nor wget is here; install one of them"
    fi
}

main() {
    [ $# -ge 1 ] || fail "no token given; make a line to paste with: hostler hosts token"
    token=$1
    shift
    case "$(uname -s)" in
        Linux) ;;
        *) fail "this is $(uname -s); Hostler's agent runs on Linux" ;;
    esac
    arch=$(uname -m)
    case "$arch" in
        @CASES@
        *) fail "the gateway has no binary for $arch; give it one with --agent-binary DIR (hostler-linux-$arch)" ;;
    esac
    command -v sha256sum >/dev/null 2>&1 || fail "sha256sum is needed to check the binary; it is part of coreutils"
    dir=$(mktemp -d) || fail "cannot make a temporary directory"
    trap 'rm -rf "$dir"' EXIT
    trap 'exit 130' INT TERM
    echo "Fetching the agent from $url" >&2
    fetch "/dist/hostler-linux-$arch" "$dir/hostler"
    found=$(sha256sum <"$dir/hostler")
    [ "${found%% *}" = "$sum" ] || fail "the binary that came is not the gateway's: SHA-256 ${found%% *}, expected $sum"
    chmod 755 "$dir/hostler"
    "$dir/hostler" --version >/dev/null 2>&1 || fail "the binary does not run in $dir (is it mounted noexec?); set TMPDIR to another directory"
    "$dir/hostler" join "$url" "$token" "$@"
}

# The whole script is read before anything is done: a connection that breaks off does half of nothing.
main "$@"
