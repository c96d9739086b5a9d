"""`argosy perf links FILES`: the flags. The block is printed by `screens.links`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.early import require_readable
from argosy.cli.options import AsJson
from argosy.cli.output import answering


def links(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES", help="Output of all_reduce_perf (nccl-tests), one number of GPUs each."
        ),
    ],
    gpus: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="GPUs of the run; default: the ranks that the output lists."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the spec.interconnect of a GPUPool that measured all-reduces give, to paste.

    Measure on a node of the pool, once per number of GPUs: all_reduce_perf -b 8K -e 128M -f 2 -g 4
    """
    with answering("argosy perf links", as_json) as found:
        require_readable(files)
        from argosy.cli.screens import links as screen  # imports the performance model

        screen.show(files, gpus, found)
