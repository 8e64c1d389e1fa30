#!/bin/sh
# Compares the Go benchmarks of the tree with those of a revision: both are built first, then
# run in turn (A B A B …), so that a machine that grows slower slows both, and benchstat says
# which differences are more than noise.
#
#   internal/benchcompare.sh BASE [PACKAGE…]      e.g. internal/benchcompare.sh HEAD~3 ./agent
#
# COUNT is how many times each is run (10), BENCH a regular expression of benchmarks (.),
# BENCHTIME what go test's -benchtime takes (200ms), OUT where the figures stay (bin/bench-compare).
# Benchmarks that only one side has are printed without a difference.
set -eu
base=${1:?which revision is the tree compared with?}
shift
[ $# -gt 0 ] || set -- ./agent ./kafkaout ./ui ./ui/store
go=${GO:-go}
top=$(git rev-parse --show-toplevel)
cd "$top"
git rev-parse --verify --quiet "$base^{commit}" >/dev/null || { echo "no such revision: $base" >&2; exit 2; }
out=${OUT:-bin/bench-compare}
mkdir -p "$out"
out=$(cd "$out" && pwd)
old=$(mktemp -d)
trap 'git worktree remove --force "$old/tree" 2>/dev/null || true; rm -rf "$old"' EXIT
trap 'exit 1' HUP INT TERM # and so the line above
git worktree add --quiet --detach "$old/tree" "$base"

built() { # side, folder of the tree, package
	name=$(echo "$3" | sed 's|^\./||; s|/|-|g')
	[ -d "$2/$3" ] || return 0
	(cd "$2" && "$go" test -c -o "$old/$1-$name.test" "$3")
}
for pkg in "$@"; do
	built base "$old/tree" "$pkg"
	built tree "$top" "$pkg"
done

: >"$out/base.txt"
: >"$out/tree.txt"
n=0
while [ $n -lt "${COUNT:-10}" ]; do
	n=$((n + 1))
	echo "round $n of ${COUNT:-10}" >&2
	for pkg in "$@"; do
		name=$(echo "$pkg" | sed 's|^\./||; s|/|-|g')
		for side in base tree; do
			[ -x "$old/$side-$name.test" ] || continue
			where=$top
			[ $side = tree ] || where=$old/tree
			(cd "$where/$pkg" && "$old/$side-$name.test" -test.run '^$' -test.bench "${BENCH:-.}" -test.benchtime "${BENCHTIME:-200ms}") >>"$out/$side.txt"
		done
	done
done
"$go" tool benchstat "base=$out/base.txt" "tree=$out/tree.txt"
