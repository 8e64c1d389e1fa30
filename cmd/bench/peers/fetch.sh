#!/usr/bin/env bash
# Puts the collectors that bench compares with, as Debian packages them, into folders
# outside the tree, unpacked and not installed: no service is started, no file of the
# system is touched, and nobody has to be root. What is there already is left alone, so a
# second run needs no network.
#
#   fetch.sh [rsyslog|syslog-ng]...   both when none is named; prints the folders
set -euo pipefail

cache="${XDG_CACHE_HOME:-${HOME:?fetch.sh: neither XDG_CACHE_HOME nor HOME is set}/.cache}/logagent/peers"

need() { # program
  command -v "$1" >/dev/null || { echo "fetch.sh: no $1 on this machine: the peers are Debian's packages, on other systems they are left out" >&2; exit 1; }
}

packages() { # peer
  case "$1" in
    rsyslog) echo rsyslog rsyslog-kafka ;;
    syslog-ng) echo syslog-ng-core syslog-ng-mod-rdkafka ;;
    *) echo "fetch.sh: no peer $1; there are rsyslog and syslog-ng" >&2; exit 1 ;;
  esac
}

known() { # packages: whether apt has heard of all of them
  for p in "$@"; do
    [ -n "$(apt-cache policy "$p" | sed -n '/^  Candidate: [^(]/p')" ] || return 1
  done
}

fetch() { # peer
  local wanted
  wanted=$(packages "$1")
  need apt-get
  need apt-cache
  need dpkg-deb
  # shellcheck disable=SC2086 # these are lists
  if ! known $wanted && [ "$(id -u)" = 0 ]; then
    apt-get update -qq >&2
  fi
  # shellcheck disable=SC2086
  known $wanted || { echo "fetch.sh: apt knows no $wanted here: run apt-get update as root, on Debian 12 or later" >&2; exit 1; }
  mkdir -p "$cache"
  part=$(mktemp -d "$cache/fetching.XXXXXX")
  mkdir "$part/debs"
  (
    cd "$part/debs"
    # The libraries that an install would bring along. What the machine has is used from there.
    # shellcheck disable=SC2086
    missing=$(apt-get -s -qq --no-install-recommends install $wanted | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }')
    # shellcheck disable=SC2046,SC2086
    apt-get -qq -o APT::Sandbox::User="$(id -un)" download $(printf '%s\n' $wanted $missing | sort -u) >&2
    for deb in *.deb; do dpkg-deb -x "$deb" ..; done
    for deb in *.deb; do dpkg-deb -W --showformat='${Package} ${Version}\n' "$deb"; done >../complete
  )
  rm -rf "$part/debs"
  # Of two that fetch at once the second finds the folder there; its own copy is thrown away.
  mv -T "$part" "$cache/$1" 2>/dev/null || [ -e "$cache/$1/complete" ] || {
    rm -rf "${cache:?}/$1" # left incomplete by somebody
    mv -T "$part" "$cache/$1"
  }
}

[ $# -gt 0 ] || set -- rsyslog syslog-ng
if [ $# -gt 1 ]; then # one that cannot be fetched does not keep the others away
  rc=0
  for peer in "$@"; do "${BASH_SOURCE[0]}" "$peer" || rc=1; done
  exit "$rc"
fi
packages "$1" >/dev/null
part=
trap 'rm -rf ${part:+"$part"}' EXIT
[ -e "$cache/$1/complete" ] || fetch "$1"
echo "$cache/$1"
