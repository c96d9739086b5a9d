"""`argosy perf import FILES`: the flags. The fit is shown by `screens.fitted`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli.completion import gpu_names, model_names
from argosy.cli.early import require_readable
from argosy.cli.options import AsJson, ImportOptions, PipelineParallel, TensorParallel, Weights
from argosy.cli.output import answering


def import_measurements(  # noqa: PLR0913 - one parameter per flag
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES",
            help="Reports of vllm bench serve, guidellm or aiperf; a CSV; tables of Mélange or AIBrix.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Model id; default: as in the reports.", autocompletion=model_names),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The config.json of a model that the catalogue does not have.",
            show_default=False,
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="GPU by catalogue name; default: as in the reports.", autocompletion=gpu_names),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Memory of a GPU that the catalogue does not have (nvidia-smi)."),
    ] = None,
    tp: TensorParallel = 1,
    pp: PipelineParallel = 1,
    dtype: Weights = None,
    max_num_seqs: Annotated[
        int, typer.Option(min=1, metavar="N", help="As the measured engine was started.")
    ] = 256,
    max_num_batched_tokens: Annotated[
        int, typer.Option(min=1, metavar="TOKENS", help="As the measured engine was started.")
    ] = 8192,
    max_model_len: Annotated[
        int, typer.Option(min=1, metavar="TOKENS", help="As the measured engine was started.")
    ] = 16384,
    out: Annotated[Path, typer.Option(help="File to write the profile to.")] = Path("profile.json"),
    as_json: AsJson = False,
) -> None:
    """Fit a profile to your own measurements, compare its error with the shipped one's, and write it.

    A ServedModel uses the file when spec.profiles names a ConfigMap that
    holds it: kubectl create configmap measured --from-file=profile.json
    """
    engine = (max_num_seqs, max_num_batched_tokens, max_model_len)
    asked = ImportOptions(tuple(files), out, model, gpu, tp, pp, dtype, *engine, gpu_memory, config)
    with answering("argosy perf import", as_json) as found:
        require_readable(files)
        from argosy.cli.screens import fitted  # imports the performance model

        fitted.show(asked, found)
