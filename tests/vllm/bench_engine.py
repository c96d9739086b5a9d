"""`vllm bench serve` by its own module, for the package for CPUs has no `vllm` command that works.

Run by the interpreter that has vLLM: the arguments are the command's.
"""

from __future__ import annotations

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
