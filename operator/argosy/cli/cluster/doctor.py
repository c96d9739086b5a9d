"""`argosy doctor`: what is wrong with an installation, each finding with its remedy.

Input: the cluster, by kubeconfig. Output: the findings of `control.survey` as text or JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.cli.cluster.connection import OPERATOR_NAMESPACE, Kubeconfig, Namespace, asked
from argosy.cli.options import AsJson
from argosy.cli.output import Output, answering

if TYPE_CHECKING:
    from argosy.control.survey.installation import Finding, Installation
    from argosy.kube.api import ApiServer


def doctor(
    kubeconfig: Kubeconfig = None, namespace: Namespace = OPERATOR_NAMESPACE, as_json: AsJson = False
) -> None:
    """Tell what is wrong with an installation, each finding with its remedy.

    Exit code 3 where something is broken, 0 where there are only warnings and hints.
    """
    with answering("argosy doctor", as_json) as output:
        found = asked(kubeconfig, output, lambda api: _look(api, namespace))
        from argosy.control.survey.findings import findings

        show(found, findings(found), output)


async def _look(api: ApiServer, namespace: str) -> Installation:
    from argosy.cli.cluster.reader import read_installation

    return await read_installation(api, namespace)


def show(found: Installation, listed: tuple[Finding, ...], output: Output) -> None:
    """Print the findings. Raises typer.Exit with code 3 where one of them is broken."""
    import typer

    from argosy.control.survey.installation import Severity
    from argosy.exit_codes import exit_code

    if output.as_json:
        output.document(document(found, listed))
    else:
        for line in lines(found, listed):
            output.console.print(line, soft_wrap=True)
    raise typer.Exit(exit_code(all(each.severity is not Severity.BROKEN for each in listed)))


def document(found: Installation, listed: tuple[Finding, ...]) -> dict[str, object]:
    """What --json prints."""
    return {
        "leader": found.lease.holder if found.lease is not None and found.has_leader else None,
        "envoys": len(found.snapshot.routing.envoys),
        "findings": [
            {
                "severity": str(each.severity),
                "about": each.about,
                "message": each.message,
                "remedy": each.remedy,
            }
            for each in listed
        ],
    }


def lines(found: Installation, listed: tuple[Finding, ...]) -> list[str]:
    """The findings as text, and what was looked at in one line."""
    snapshot = found.snapshot
    leader = found.lease.holder if found.lease is not None and found.has_leader else "none"
    looked = (
        f"leader: {leader} · Envoys: {len(snapshot.routing.envoys)} · pools: {len(snapshot.pools)}"
        f" · models: {len(snapshot.models)} · classes: {len(snapshot.classes)}"
    )
    text = [looked]
    for each in listed:
        text += [
            "",
            f"{each.severity.upper()}  {each.about}",
            f"  {each.message}",
            f"  remedy: {each.remedy}",
        ]
    return text if listed else [*text, "nothing is wrong"]
