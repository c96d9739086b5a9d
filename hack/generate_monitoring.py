"""Writes the chart's rules and dashboards; with --check only compares, and names what differs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml
from alert_rules import groups
from dashboard import dashboard

FILES = Path(__file__).resolve().parent.parent / "charts" / "argosy" / "files"
NOTE = "# Generated from hack/alert_rules.py by make generate; do not edit.\n"


class _Blocks(yaml.SafeDumper):
    """Texts of several lines as blocks, so that queries can be read."""


_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def wanted() -> dict[Path, str]:
    """The text of every generated file."""
    rules = yaml.dump({"groups": groups()}, Dumper=_Blocks, sort_keys=False, width=1000, allow_unicode=True)
    return {
        FILES / "rules" / "argosy.yaml": NOTE + rules,
        FILES / "dashboards" / "argosy.json": json.dumps(dashboard(), indent=1) + "\n",
    }


def main() -> int:
    """Exit code 0, or 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where a file is out of date"
    )
    check = parser.parse_args().check
    differing = {p: text for p, text in wanted().items() if not p.exists() or p.read_text("utf-8") != text}
    for path, text in differing.items():
        shown = path.relative_to(FILES.parents[2])
        if check:
            print(f"{shown} is out of date; run: make generate", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {shown}")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
