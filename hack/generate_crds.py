"""Writes `crds/` from the models in `argosy.api`; with --check only compares, and names what differs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from argosy.api import KINDS
from argosy.api.crd.crdgen import file_name, render

CRDS = Path(__file__).resolve().parent.parent / "crds"


def main() -> int:
    """Exit code 0, or 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where crds/ is out of date"
    )
    check = parser.parse_args().check
    wanted = {CRDS / file_name(kind): render(kind) for kind in KINDS}
    stale = sorted(set(CRDS.glob("*.yaml")) - set(wanted))
    differing = [
        path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text
    ]
    if check:
        for path in [*differing, *stale]:
            print(f"crds/{path.name} is out of date; run: make generate", file=sys.stderr)
        return 1 if differing or stale else 0
    CRDS.mkdir(exist_ok=True)
    for path in differing:
        path.write_text(wanted[path], "utf-8")
        print(f"wrote crds/{path.name}")
    for path in stale:
        path.unlink()
        print(f"removed crds/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
