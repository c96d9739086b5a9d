#!/usr/bin/env bash
# Run the tests with real servers in four processes, which mostly wait; tests/contract/conftest.py has their queue.
#
# Their waits have bounds in seconds, and another program on the machine can exceed one. So up to three tests
# that fail beside the others are tried once more, one after the other, and are named: one that then passes
# is a race to be mended, and its first failure stands above with the operators' logs.
set -uo pipefail
cd "$(dirname "$0")/.."
most=3
python=.venv/bin/python

$python -m pytest -n 4 "$@" tests/contract tests/e2e
result=$?
[ $result = 1 ] || exit $result # 1: tests failed; anything else is no matter of time

failed=$($python - <<'PYTHON'
import json, pathlib
print(*json.loads(pathlib.Path(".pytest_cache/v/cache/lastfailed").read_text()), sep="\n")
PYTHON
) || exit 1
failed=$(grep -E '^tests/(contract|e2e)/' <<<"$failed")
if [ -z "$failed" ] || [ "$(wc -l <<<"$failed")" -gt $most ]; then
	exit 1
fi
echo "failed beside others, and tried once more by themselves:"
sed 's/^/  /' <<<"$failed"
mapfile -t tests <<<"$failed"
exec $python -m pytest "${tests[@]}"
