"""Writes what the chart has of other sources; with --check only compares, and names what differs.

- the custom resources, from the models in `argosy.api`;
- Envoy's bootstrap, as `argosy envoy bootstrap` prints it;
- values.schema.json and the README's table, from values.yaml.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import chart_values
import yaml

from argosy.api import KINDS
from argosy.api.crd.crdgen import file_name, render
from argosy.manifests.envoy_bootstrap import EnvoyBootstrap, bootstrap

CHART = Path(__file__).resolve().parent.parent / "charts" / "argosy"
CRDS = CHART / "charts" / "argosy-crds" / "files"
ADS_HOST = "argosy.argosy-system.svc"
"""The chart puts the release's namespace into it."""
TABLE_BEGINS = "<!-- generated from values.yaml by `make generate`; do not edit below -->\n"


def envoy_bootstrap() -> str:
    """The bootstrap of all Envoys of a release: each pod's name replaces the node id."""
    wanted = EnvoyBootstrap(node_id="argosy-envoy", ads=((ADS_HOST, 18000),), stats=("0.0.0.0", 9902))
    return yaml.safe_dump(bootstrap(wanted), sort_keys=False)


def generated() -> dict[Path, str]:
    """Every file that this writes, with its text."""
    values = chart_values.read((CHART / "values.yaml").read_text("utf-8"))
    readme = CHART / "README.md"
    written, _, _ = readme.read_text("utf-8").partition(TABLE_BEGINS)
    files = {CRDS / file_name(kind): render(kind) for kind in KINDS}
    files[CHART / "files" / "envoy-bootstrap.yaml"] = envoy_bootstrap()
    files[CHART / "values.schema.json"] = chart_values.schema_document(values, subcharts={"crds"})
    files[readme] = f"{written}{TABLE_BEGINS}\n{chart_values.table(values)}"
    return files


def main() -> int:
    """Exit code 0, or 1 where --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where a file is out of date"
    )
    check = parser.parse_args().check
    try:
        wanted = generated()
    except chart_values.UndocumentedValueError as error:
        print(error, file=sys.stderr)
        return 1
    stale = sorted(set(CRDS.glob("*.yaml")) - set(wanted))
    differing = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in [*differing, *stale]:
        name = path.relative_to(CHART.parent.parent)
        if check:
            print(f"{name} is out of date; run: make generate", file=sys.stderr)
        elif path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
            print(f"wrote {name}")
        else:
            path.unlink()
            print(f"removed {name}")
    return 1 if check and (differing or stale) else 0


if __name__ == "__main__":
    sys.exit(main())
