#!/usr/bin/env bash
# Runs a target of the Makefile on several versions of CPython, each in an environment of its own under target/pythons.
#
#     tests/pythons.sh TARGET [VERSION ...]
#
# Interpreters are looked for on the path and among pyenv's. As root on Debian, the versions in SID that are not found
# there come from a Debian sid root, which debootstrap makes in target/pythons/sid. With VERSIONs, one that cannot be
# had is an error; without, it is reported and left out. Caveat: sid moves on; what it has no more is to be taken out
# of SID.
set -euo pipefail
cd "$(dirname "$0")/.."

ALL=(3.11 3.12 3.13 3.14 3.15)
SID=(3.14 3.15)
ROOT=target/pythons/sid

# Prints an interpreter of this version that works. Those of pyenv on the path do not unless they are switched on.
find_python() {
    local candidate
    for candidate in "python$1" $(compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1.*/bin/python$1" | sort -rV); do
        if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

can_have_sid() {
    [[ " ${SID[*]} " == *" $1 "* && $(id -u) == 0 && -e /etc/debian_version ]]
}

make_root() {
    [[ -e $ROOT/complete ]] && return
    command -v debootstrap >/dev/null || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends debootstrap
    }
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    local packages=gcc,g++,libc6-dev,make,ca-certificates,git,redis-server,curl,openssl version
    for version in "${SID[@]}"; do
        packages+=,python$version-dev,python$version-venv
    done
    debootstrap --variant=minbase --include="$packages" sid "$ROOT" >"$ROOT.log" || {
        tail -n 20 "$ROOT.log" >&2
        return 1
    }
    touch "$ROOT/complete"
}

# Runs a command in the root, at the same path as here and with the same Rust. The mounts are gone when it ends.
in_root() {
    local cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
    mkdir -p "$ROOT$PWD" "$ROOT$cargo" "$ROOT$rustup"
    # Certificates and names as here, for the packages that the tests install.
    local shared=("$PWD" "$cargo" "$rustup" /proc /sys /dev /etc/ssl/certs /etc/resolv.conf /etc/hosts) path
    touch "$ROOT/etc/resolv.conf" "$ROOT/etc/hosts"
    unshare --mount bash -euc '
        root=$1 here=$PWD; shift
        while [[ $1 != -- ]]; do mount --rbind "$1" "$root$1"; shift; done
        shift
        exec chroot "$root" env PATH="$1:/usr/bin:/bin:/usr/sbin:/sbin" bash -c "cd \"\$0\" && exec \"\$@\"" "$here" "${@:2}"
    ' - "$ROOT" "${shared[@]}" -- "$cargo/bin" "$@"
}

target=$1
shift
named=$#
[[ $named -gt 0 ]] || set -- "${ALL[@]}"
for version in "$@"; do
    run=(make "$target" "TEST=target/pythons/$version" WHEEL_TARGET=target/pythons/wheel
        "EXECUTABLE_TARGET=target/pythons/executable-$version")
    if python=$(find_python "$version"); then
        echo "== Python $version: $python"
        "${run[@]}" "PYTHON=$python"
    elif can_have_sid "$version"; then
        echo "== Python $version: from Debian sid"
        make_root
        in_root "${run[@]}" "PYTHON=/usr/bin/python$version" WHEEL_TARGET=target/pythons/wheel-sid
    elif [[ $named -gt 0 ]]; then
        echo "Python $version is not here: install it, so that python$version is on the path or among pyenv's" >&2
        exit 1
    else
        echo "== Python $version: not found, left out"
    fi
done
