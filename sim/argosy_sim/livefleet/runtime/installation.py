"""Owns vLLM for CPUs as the live fleet's pods run it: its virtual environment and a tiny model.

Input: the hash-pinned list of its packages, and the user's cache. Output: a `VllmInstallation`, made where it
is absent. The environment is its own, for vLLM pins much that Argosy has in another version. The model is
random: nothing is downloaded but packages, and speed and memory do not depend on what weights say.

`python -m argosy_sim.livefleet.runtime.installation` makes it ready (`make test-vllm`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from argosy_sim.controlplane.errors import StartError

Say = Callable[[str], None]

LOCK = Path(__file__).parents[4] / "hack" / "requirements-vllm.lock.txt"
MODEL = "argosy/tiny-llama"
"""A folder below the one in which engines run, which vLLM takes for the name of a model."""
MODEL_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 4096,
    "max_position_embeddings": 8192,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 0,
    "eos_token_id": 1,
}
_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:",
}
# Run by the interpreter that has vLLM, and so `tokenizers`: a byte-level BPE over the text of its library.
_TRAIN = """
import sys
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
bytes_of = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=["<s>", "</s>"], initial_alphabet=bytes_of)
texts = sorted(Path(sys.base_prefix, "lib").glob("python3*/*.py"))[:200]
tokenizer.train([str(each) for each in texts], trainer)
tokenizer.save(sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class VllmInstallation:
    """Where vLLM is. folder: holds `bin/python` and `models`, in which engines run."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter that has vLLM."""
        return self.folder / "bin" / "python"

    @property
    def models(self) -> Path:
        """The folder in which engines run; a model's name is its path from here."""
        return self.folder / "models"

    @property
    def is_whole(self) -> bool:
        """Whether packages and model are all there."""
        return (self.models / MODEL / "config.json").is_file()


def find_vllm(environment: Mapping[str, str], say: Say) -> VllmInstallation:
    """The installation in the user's cache, made where it is absent. Raises StartError."""
    if not LOCK.is_file():
        raise StartError(
            f"vLLM's packages are pinned in {LOCK.name} of Argosy's repository, which is not here"
        )
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy"
    digest = hashlib.sha256(LOCK.read_bytes() + json.dumps(MODEL_CONFIG).encode()).hexdigest()[:12]
    found = VllmInstallation(cache / f"vllm-{digest}")
    if not found.is_whole:
        say(f"installing vLLM for CPUs in {found.folder} (once, 6 GB)")
        _install(found)
    return found


def _install(target: VllmInstallation) -> None:
    """Whole at the end only: the model's configuration, which tells it, is written last."""
    shutil.rmtree(target.folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(target.folder)])
    _run([*_installer(target), "--no-deps", "--require-hashes", "-r", str(LOCK)])
    model = target.models / MODEL
    model.mkdir(parents=True)
    _run([str(target.python), "-c", _TRAIN, str(model / "tokenizer.json")])
    (model / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG, indent=2))
    (model / "config.json").write_text(json.dumps(MODEL_CONFIG, indent=2))


def _installer(target: VllmInstallation) -> list[str]:
    """uv where it is beside this interpreter: minutes less."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--python", str(target.python)]
    return [str(target.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StartError(f"vLLM cannot be installed: {(done.stderr or done.stdout).strip()[-2000:]}")


if __name__ == "__main__":
    print(find_vllm(os.environ, print).folder)  # noqa: T201
