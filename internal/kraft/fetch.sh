#!/usr/bin/env bash
# Puts the jars of the Apache Kafka that pom.xml names into a folder outside the tree and
# prints its name. What is there already is left alone, so a second run needs no network.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's:.*<kafka\.version>\(.*\)</kafka\.version>.*:\1:p' "$here/pom.xml")
[ -n "$version" ] || { echo "fetch.sh: $here/pom.xml names no kafka.version" >&2; exit 1; }
cache="${XDG_CACHE_HOME:-${HOME:?fetch.sh: neither XDG_CACHE_HOME nor HOME is set}/.cache}/logagent"
home="$cache/kafka-$version"

need() { # program, what brings it
  command -v "$1" >/dev/null || { echo "fetch.sh: no $1 on this machine: Kafka $version needs $2" >&2; exit 1; }
}
need java "a Java runtime of version 17 or later (Debian: openjdk-17-jre-headless)"
java=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${java:-0}" -ge 17 ] || { echo "fetch.sh: java is of version ${java:-unknown}: Kafka $version needs 17 or later" >&2; exit 1; }

if [ ! -e "$home/complete" ]; then
  need mvn "Maven to be fetched with (Debian: maven)"
  mkdir -p "$cache"
  part=$(mktemp -d "$cache/fetching.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part/lib" >&2
  touch "$part/complete"
  # Of two that fetch at once the second finds the folder there; its own copy is thrown away.
  mv -T "$part" "$home" 2>/dev/null || [ -e "$home/complete" ] || {
    rm -rf "$home" # left incomplete by somebody
    mv -T "$part" "$home"
  }
fi
echo "$home"
