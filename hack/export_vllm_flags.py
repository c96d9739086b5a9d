"""Writes the table of vLLM's flags by version, from unpacked source distributions.

    for v in 0.24.0 ...; do pip download --no-deps --no-binary :all: vllm==$v; done   (or fetch the files)
    python hack/export_vllm_flags.py 0.24.0=FOLDER 0.25.0=FOLDER ...

Owns how flags are found: by the syntax tree, as vLLM cannot be imported without its libraries. Output:
`operator/argosy/api/engine/vllm_flags.json`.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "operator/argosy/api/engine/vllm_flags.json"
ENGINE = "vllm/engine/arg_utils.py"
FRONTENDS = ("vllm/entrypoints/openai/cli_args.py", "vllm/entrypoints/launchers/cli_args.py")
"""Where `vllm serve` has its other flags: the second since 0.32."""
MADE_FROM_FIELDS = "FrontendArgs"
"""Classes whose names end so have a flag for each field."""
PARSER = ("-h", "--help", "--config")
"""Of the parser itself, and handled before it."""


def flags_of(sources: Path) -> frozenset[str]:
    """Every flag of `vllm serve`, with short forms."""
    files = [sources / name for name in (ENGINE, *FRONTENDS) if (sources / name).exists()]
    found = {flag for file in files for flag in _in_tree(ast.parse(file.read_text("utf-8")))}
    return frozenset(found | set(PARSER))


def _in_tree(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            words = [a.value for a in node.args if isinstance(a, ast.Constant)]
            yield from (w for w in words if isinstance(w, str) and w.startswith("-"))
        if isinstance(node, ast.ClassDef) and node.name.endswith(MADE_FROM_FIELDS):
            names = [
                n.target.id
                for n in node.body
                if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
            ]
            yield from (f"--{name.replace('_', '-')}" for name in names)


def table(folders: dict[str, Path]) -> tuple[list[str], dict[str, list[str]]]:
    """The versions (major.minor), and by flag the first and last that have it; raises ValueError on a gap."""
    by_version: dict[str, set[str]] = {}
    for version, folder in folders.items():
        by_version.setdefault(version.rpartition(".")[0], set()).update(flags_of(folder))
    versions = list(by_version)
    spans = {}
    for flag in sorted(set().union(*by_version.values())):
        having = [v for v in versions if flag in by_version[v]]
        span = versions[versions.index(having[0]) : versions.index(having[-1]) + 1]
        if span != having:
            raise ValueError(f"{flag} is in {having}, with a gap")
        spans[flag] = [having[0], having[-1]]
    return versions, spans


def main() -> int:
    """Exit code 0."""
    folders = {word.partition("=")[0]: Path(word.partition("=")[2]) for word in sys.argv[1:]}
    versions, spans = table(folders)
    source = "engine/arg_utils.py and cli_args.py in the source distributions of vLLM on PyPI: "
    rows = ",\n".join(f"    {json.dumps(flag)}: {json.dumps(span)}" for flag, span in spans.items())
    values = {"source": source + ", ".join(folders), "versions": versions}
    head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    TABLE.write_text(f'{{\n{head},\n  "flags": {{\n{rows}\n  }}\n}}\n', "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
