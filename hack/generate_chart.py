"""Writes what the chart has of other sources; with --check only compares, and names what differs.

- the custom resources, from the models in `argosy.api`;
- Envoy's bootstrap, as `argosy envoy bootstrap` writes it, with and without mutual TLS;
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
from argosy.manifests.envoy_bootstrap import EnvoyBootstrap, files
from argosy.settings import TlsFiles

CHART = Path(__file__).resolve().parent.parent / "charts" / "argosy"
CRDS = CHART / "charts" / "argosy-crds" / "files"
ADS_HOST = "argosy.argosy-system.svc"
"""The chart puts the release's namespace into it."""
SEEN_AT = Path("/etc/argosy")
CERTIFICATE = Path("/etc/argosy-tls")
TLS = TlsFiles(CERTIFICATE / "tls.crt", CERTIFICATE / "tls.key", CERTIFICATE / "ca.crt")
"""Where the chart mounts its ConfigMap and its Secret."""
TABLE_BEGINS = "<!-- generated from values.yaml by `make generate`; do not edit below -->\n"


def envoy_files(tls: TlsFiles | None) -> dict[str, str]:
    """The files of all Envoys of a release, by name: each pod's name replaces the node id."""
    ads, stats = ((ADS_HOST, 18000),), ("0.0.0.0", 9902)
    wanted = EnvoyBootstrap("argosy-envoy", ads, stats=stats, tls=tls, directory=SEEN_AT)
    return {name: yaml.safe_dump(content, sort_keys=False) for name, content in files(wanted).items()}


def generated() -> dict[Path, str]:
    """Every file that this writes, with its text."""
    values = chart_values.read((CHART / "values.yaml").read_text("utf-8"))
    readme = CHART / "README.md"
    by_hand, _, _ = readme.read_text("utf-8").partition(TABLE_BEGINS)
    found = {CRDS / file_name(kind): render(kind) for kind in KINDS}
    for folder, tls in (("envoy", None), ("envoy-tls", TLS)):
        for name, text in envoy_files(tls).items():
            found[CHART / "files" / folder / name] = text
    found[CHART / "values.schema.json"] = chart_values.schema_document(values, subcharts={"crds"})
    found[readme] = f"{by_hand}{TABLE_BEGINS}\n{chart_values.table(values)}"
    return found


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
