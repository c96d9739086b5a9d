#!/usr/bin/env bash
# Run the tests with real servers in four processes, which mostly wait; tests/contract/conftest.py has their queue.
#
# Their waits have bounds in seconds, and another program on the machine can exceed one. So up to five tests
# that fail beside the others are tried once more, one after the other, and are named: one that then passes
# is a race to be mended, and its first failure stands above with the operators' logs.
set -uo pipefail
cd "$(dirname "$0")/.."
most=5
python=.venv/bin/python
memory=build/test_servers # of what failed: its own, which begins empty

rm -rf $memory
$python -m pytest -n 4 -o cache_dir=$memory "$@" tests/contract tests/e2e
result=$?
[ $result = 1 ] || exit $result # 1: tests failed; anything else is no matter of time

failed=$($python -c 'import json, sys; print(*json.load(sys.stdin), sep="\n")' <$memory/v/cache/lastfailed) || exit 1
if [ -z "$failed" ] || [ "$(wc -l <<<"$failed")" -gt $most ]; then
	exit 1
fi
echo "failed beside others, and tried once more by themselves:"
sed 's/^/  /' <<<"$failed"
mapfile -t tests <<<"$failed"
exec $python -m pytest "${tests[@]}"
