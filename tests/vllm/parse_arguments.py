"""Judge command lines by vLLM's own parser: lists of words come in as JSON, sentences of refusal go out.

Run by the interpreter that has vLLM, never by Argosy's. An accepted line is an empty sentence.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())


def judged(words: list[str]) -> str:
    """What vLLM says against these words."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            AsyncEngineArgs.from_cli_args(parser.parse_args(words))
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


sys.stdout.write("\n" + json.dumps([judged(words) for words in json.load(sys.stdin)]) + "\n")
