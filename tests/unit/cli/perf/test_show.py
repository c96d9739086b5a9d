"""`argosy perf` as a user types it: answers with units, refusals with a reason, files in and out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from perf_command import asked, misused, refused, run
from profile_files import a_profile_file

from argosy.api import ServedModel
from argosy.cli.screens.architecture import read_architecture
from argosy.control.candidates.variants import declared_architecture

DATA = Path(__file__).parents[3] / "data" / "perf"
REPORT = str(DATA / "vllm/c16.json")
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PROPOSING = ("--draft-tokens", "4", "--acceptance", "0.7")
FIELDS = [
    "model", "gpu", "tp", "pp", "dtype", "profile", "step_ms", "itl_ms", "ttft_ms",
    "throughput_tokens_per_s", "requests_per_s", "kv_capacity_tokens", "slots", "power_w", "joule_per_token",
    "usd_per_million_tokens", "uncertainty",
]  # fmt: skip


def test_the_object_has_every_field_and_they_agree_with_each_other() -> None:
    found = asked("show", LLAMA, "--gpu", "H100", "--prompt", "1024", "--output", "256", "--batch", "64")
    assert list(found) == FIELDS
    assert (found["model"], found["gpu"], found["tp"], found["dtype"]) == (LLAMA, "H100", 1, "bf16")
    assert found["profile"]["origin"] == "MeasuredTable"
    assert found["throughput_tokens_per_s"] == pytest.approx(256 * found["requests_per_s"], rel=1e-3)
    # Little's law: 64 requests are in flight, each for its TTFT and 255 gaps.
    in_flight = found["requests_per_s"] * (found["ttft_ms"] + 255 * found["itl_ms"]) / 1e3
    assert in_flight == pytest.approx(64, rel=0.03)
    # Prefills stand between tokens, so the mean gap is longer than a step that only decodes.
    assert found["step_ms"] < found["itl_ms"] < 2 * found["step_ms"]
    assert found["joule_per_token"] == pytest.approx(found["power_w"] * found["step_ms"] / 1e3 / 64, rel=0.05)
    assert 108 < found["power_w"] < 700
    assert found["slots"] == 256


def test_the_object_names_both_kinds_of_parallelism() -> None:
    found = asked("show", LLAMA, "--gpu", "H100", "--tp", "4", "--pp", "2")
    assert (found["tp"], found["pp"]) == (4, 2)


def test_kv_capacity_is_the_published_one_within_three_percent() -> None:
    found = asked("show", "meta-llama/Meta-Llama-3.1-8B", "--gpu", "H100")
    assert found["kv_capacity_tokens"] == pytest.approx(432_992, rel=0.03)


def test_a_rate_is_answered_in_closed_form_and_a_higher_one_is_slower() -> None:
    slow, fast = (asked("show", LLAMA, "--gpu", "H100", "--rate", rate) for rate in ("2", "10"))
    assert (slow["requests_per_s"], fast["requests_per_s"]) == (2, 10)
    assert slow["itl_ms"] < fast["itl_ms"]
    assert slow["ttft_ms"] < fast["ttft_ms"]


@pytest.mark.parametrize("load", [("--batch", "16"), ("--rate", "4")], ids=["batch", "rate"])
def test_a_prefix_cache_and_proposals_change_figures_and_no_field(load: tuple[str, ...]) -> None:
    plain, cached = asked("show", LLAMA, *load), asked("show", LLAMA, *load, "--cached", "0.5")
    both = asked("show", LLAMA, *load, "--cached", "0.5", *PROPOSING)
    assert list(cached) == list(both) == FIELDS
    assert cached["ttft_ms"] < plain["ttft_ms"]
    assert both["itl_ms"] < cached["itl_ms"] < plain["itl_ms"]
    assert asked("show", LLAMA, *load, "--cached", "0") == plain


def test_a_draft_costs_a_twentieth_of_a_step_by_default() -> None:
    said = {
        cost: asked("show", LLAMA, *PROPOSING, "--draft-cost", cost)["itl_ms"]
        for cost in ("0", "0.05", "0.2")
    }
    assert said["0"] < said["0.05"] < said["0.2"]
    assert asked("show", LLAMA, *PROPOSING)["itl_ms"] == said["0.05"]


def test_a_person_reads_what_is_cached_and_what_a_step_brings() -> None:
    code, output = run("show", LLAMA, "--cached", "0.5", "--batch", "1", *PROPOSING)
    words = " ".join(output.split())
    assert code == 0
    assert "1024 prompt (512 cached) and 256 output tokens" in words
    assert "verifying 5 tokens of 1 sequence" in words
    assert "tokens per step 2.77 mean" in words
    plain = run("show", LLAMA, "--batch", "1")[1]
    assert not any(word in plain for word in ("cached", "verif", "tokens per step"))


def test_adapters_take_time_and_kv_cache() -> None:
    plain, adapted = (asked("show", LLAMA, "--gpu", "H100", "--loras", loras) for loras in ("0", "4"))
    assert plain["step_ms"] < adapted["step_ms"] < 1.5 * plain["step_ms"]
    assert adapted["kv_capacity_tokens"] < plain["kv_capacity_tokens"]


def test_a_price_scales_the_cost_and_no_known_price_is_null() -> None:
    one, three = (asked("show", LLAMA, "--price", price)["usd_per_million_tokens"] for price in ("1", "3"))
    assert three == pytest.approx(3 * one, rel=1e-3)
    assert asked("show", LLAMA, "--gpu", "T4", "--dtype", "int8")["usd_per_million_tokens"] is None


def test_a_single_output_token_has_no_gap() -> None:
    assert asked("show", LLAMA, "--output", "1", "--batch", "4")["itl_ms"] is None


@pytest.mark.parametrize(
    ("args", "reason", "says", "nearest"),
    [
        ((LLAMA, "--gpu", "H1000"), "UnknownGpu", "H1000", "H100"),
        (("lama-3.1-8b",), "UnknownModel", "lama-3.1-8b", "llama-3.1-8b"),
        ((LLAMA, "--tp", "3"), "ImpossibleShape", "32 attention heads", "TP 2"),
        (("meta-llama/Llama-3.1-70B-Instruct", "--gpu", "L40S"), "TooLarge", "GB", "TP 4"),
        ((LLAMA, "--rate", "1e5"), "Saturated", "requests/s", "--rate"),
        ((LLAMA, "--prompt", "nan"), "InvalidValue", "--prompt", None),
        ((LLAMA, "--prompt", "0"), "InvalidValue", "--prompt", None),
        ((LLAMA, "--output", "-5"), "InvalidValue", "--output", None),
        ((LLAMA, "--batch", "1.5"), "InvalidValue", "--batch", None),
        ((LLAMA, "--rate", "inf"), "InvalidValue", "--rate", None),
        ((LLAMA, "--rate", "-1"), "InvalidValue", "--rate", None),
        ((LLAMA, "--price", "nan"), "InvalidValue", "--price", None),
        ((LLAMA, "--price", "-1"), "InvalidValue", "--price", None),
        ((LLAMA, "--cached", "nan"), "InvalidValue", "--cached", None),
        ((LLAMA, "--cached", "-0.1"), "InvalidValue", "--cached", None),
        ((LLAMA, "--cached", "1.1", "--rate", "1"), "InvalidValue", "--cached", None),
        ((LLAMA, *PROPOSING, "--draft-tokens", "0"), "InvalidValue", "--draft-tokens: must be", None),
        ((LLAMA, *PROPOSING, "--draft-tokens", "-4"), "InvalidValue", "--draft-tokens: must be", None),
        ((LLAMA, *PROPOSING, "--draft-tokens", "2.5"), "InvalidValue", "--draft-tokens: must be", None),
        ((LLAMA, *PROPOSING, "--draft-tokens", "nan"), "InvalidValue", "--draft-tokens: must be", None),
        ((LLAMA, *PROPOSING, "--draft-tokens", "200"), "InvalidValue", "8192", "--draft-tokens 127"),
        ((LLAMA, *PROPOSING, "--acceptance", "nan"), "InvalidValue", "--acceptance: must lie", None),
        ((LLAMA, *PROPOSING, "--acceptance", "-0.1"), "InvalidValue", "--acceptance: must lie", None),
        ((LLAMA, *PROPOSING, "--acceptance", "1.5"), "InvalidValue", "--acceptance: must lie", None),
        ((LLAMA, *PROPOSING, "--draft-cost", "-1"), "InvalidValue", "--draft-cost", None),
        ((LLAMA, *PROPOSING, "--draft-cost", "nan"), "InvalidValue", "--draft-cost", None),
        ((LLAMA, "--draft-tokens", "4"), "InvalidValue", "--draft-tokens, --acceptance", None),
        ((LLAMA, "--acceptance", "0.7", "--rate", "1"), "InvalidValue", "--draft-tokens, --acceptance", None),
        ((LLAMA, "--draft-cost", "0.1"), "InvalidValue", "without --draft-tokens and --acceptance", None),
        ((LLAMA, "--tp", "0"), "InvalidValue", "--tp", None),
        ((LLAMA, "--loras", "-1"), "InvalidValue", "--loras", None),
        ((LLAMA, "--vllm", "nightly"), "InvalidValue", "--vllm", None),
        ((LLAMA, "--batch", "8", "--rate", "1"), "InvalidValue", "--batch", None),
    ],
)
def test_no_answer_is_a_reason_and_exit_code_2(
    args: tuple[str, ...], reason: str, says: str, nearest: str | None
) -> None:
    error = refused("show", *args)
    assert error["reason"] == reason
    assert says in error["message"]
    assert nearest is None or any(nearest in near for near in error["nearest"])


def test_a_refusal_ends_with_what_could_be_asked_instead() -> None:
    code, output = run("show", LLAMA, "--tp", "3")
    assert code == 2
    assert output.endswith("tensor-parallel ranks; did you mean TP 2 or TP 4 or TP 1?\n")


def test_a_refusal_that_names_the_remedy_itself_does_not_repeat_it() -> None:
    code, output = run("show", "meta-llama/Llama-3.1-70B-Instruct", "--gpu", "L40S")
    assert code == 2
    assert output.endswith("TP 4 would fit\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        pytest.param((LLAMA, "--dtype", "fp7"), "'--dtype': Value error, 'fp7' is not one of", id="a type"),
        pytest.param((LLAMA, "--kv-dtype", "int4"), "'int4' is not one of 'bf16', 'fp8'", id="a KV type"),
        pytest.param((LLAMA, "--batch", "many"), "'--batch'", id="no number"),
        pytest.param((LLAMA, "--lora", "1"), "No such option: --lora", id="a flag that does not exist"),
    ],
)
def test_a_flag_that_cannot_be_parsed_is_named(args: tuple[str, ...], says: str) -> None:
    assert says in misused("show", *args)


def test_a_type_is_known_in_any_case() -> None:
    assert asked("show", LLAMA, "--dtype", "FP8", "--kv-dtype", "FP8")["dtype"] == "fp8"


def test_a_context_beyond_the_trained_one_is_refused_with_both_numbers() -> None:
    error = refused("show", LLAMA, "--prompt", "200000")
    assert "131072" in error["message"].replace(",", "")


def test_a_person_reads_units_origin_and_error() -> None:
    code, output = run("show", LLAMA, "--gpu", "L40S", "--tp", "2")
    assert code == 0
    for words in (
        "llama-3.1-8b bf16 on L40S TP2",
        "MeasuredTable",
        "tokens/s",
        " W ",
        "J/token",
        "per million tokens",
    ):
        assert words in output


def test_help_names_the_flags_and_what_writes_a_profile() -> None:
    code, output = run("show", "--help")
    assert code == 0
    assert "--rate" in output
    assert "as argosy perf import writes it" in " ".join(output.replace("│", " ").split())


def test_a_config_json_stands_for_a_model_outside_the_catalogue(tmp_path: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 5120,
        "intermediate_size": 13824, "num_attention_heads": 40, "num_key_value_heads": 40,
        "num_hidden_layers": 40, "vocab_size": 32000, "max_position_embeddings": 4096,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    found = asked("show", str(path), "--gpu", "H100")
    assert found["profile"]["origin"] == "MeasuredTable"
    assert "table of llama-2-13b, whose dimensions are the same" in found["profile"]["source"]
    path.write_text(json.dumps(config | {"intermediate_size": 14080}))
    assert asked("show", str(path), "--gpu", "H100")["profile"]["origin"] == "Roofline"
    path.write_text(json.dumps(config | {"num_hidden_layers": 0}))
    assert "num_hidden_layers" in refused("show", str(path))["message"]
    assert "cannot be read" in refused("show", str(tmp_path / "absent.json"))["message"]
    path.write_text("[" * 100_000)
    assert "cannot be read" in refused("show", str(path))["message"]


@pytest.mark.parametrize(
    ("slowness", "gpu", "says"),
    [
        pytest.param(
            100.0,
            "L40S",
            r"by this profile of llama-3.1-8b bf16 on L40S TP1, decode .* 77 times",
            id="a hundred times as slow",
        ),
        pytest.param(
            1.0,
            "H100",
            "none of the given profiles is of llama-3.1-8b bf16 on H100 TP1, so Argosy's own is used",
            id="of another GPU than the one asked about",
        ),
        pytest.param(1.0, "L40S", "", id="as slow as it may be"),
    ],
)
def test_an_odd_profile_is_used_with_a_remark(slowness: float, gpu: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(a_profile_file("llama-3.1-8b", "L40S", slowness=slowness))
    code, output = run("show", LLAMA, "--gpu", gpu, "--profile", str(file))
    assert code == 0, output
    assert re.search(says, output)
    assert ("argosy perf show: --profile:" in output) == bool(says)


def test_steps_are_those_of_the_version_that_is_asked_about() -> None:
    old, new, usual = (
        asked("show", LLAMA, "--gpu", "H100", *version)
        for version in (("--vllm", "0.12.0"), ("--vllm", "0.24.0"), ())
    )
    assert old["step_ms"] > new["step_ms"] == usual["step_ms"]
    _, text = run("show", LLAMA, "--gpu", "H100", "--vllm", "0.12.0")
    assert "host of vLLM 0.12.0, before the GPU; front end 10.3 ms" in " ".join(text.split())


def test_not_a_number_never_leaves_as_one() -> None:
    code, output = run("show", LLAMA, "--output", "1", "--json")
    assert code == 0
    assert not any(isinstance(v, float) and math.isnan(v) for v in json.loads(output).values())


@pytest.mark.filterwarnings("error")
def test_a_rate_beyond_every_engine_is_refused_without_a_warning() -> None:
    assert refused("show", LLAMA, "--rate", "1e300")["nearest"] == ["--rate 24.5"]


def test_a_file_that_is_absent_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    assert refused("show", str(file))["message"] == f"{file}: cannot be read: No such file or directory"


# --- a config.json ------------------------------------------------------------------------------

CONFIG = {
    "model_type": "qwen3_moe", "hidden_act": "silu", "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 4, "num_hidden_layers": 12, "vocab_size": 32000, "head_dim": 128,
    "max_position_embeddings": 32768, "num_experts": 32, "num_experts_per_tok": 4,
    "moe_intermediate_size": 768, "intermediate_size": 6144, "tie_word_embeddings": False,
    "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
}  # fmt: skip


def test_the_printed_architecture_can_be_pasted_and_gives_the_same_figures(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    code, output = run("show", "--config", str(path), "--yaml")
    assert code == 0, output
    written = {
        "metadata": {"name": "mine", "namespace": "default"},
        "spec": {"modelId": "acme/mine", "servedNames": ["mine"], **yaml.safe_load(output)["spec"]},
    }
    pasted = ServedModel.model_validate_json(json.dumps(written)).spec.architecture
    assert pasted is not None
    assert declared_architecture(pasted) == read_architecture(path)
    assert pasted.max_context == 65536


def test_a_config_may_be_named_by_its_folder_and_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    for folder, encoding in ((plain, "utf-8"), (marked, "utf-8-sig")):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIG), encoding)
    found = [run("show", str(folder), "--yaml") for folder in (plain, marked)]
    assert found[0] == found[1]
    assert found[0] == run("show", "--config", str(marked), "--yaml")
    assert found[0][0] == 0


def test_what_modelopt_writes_beside_the_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    _, output = run("show", str(tmp_path), "--yaml")
    assert yaml.safe_load(output)["spec"]["architecture"]["dtype"] == "fp8"


def test_a_model_of_the_catalogue_is_printed_too() -> None:
    code, output = run("show", LLAMA, "--yaml")
    assert code == 0
    assert yaml.safe_load(output)["spec"]["architecture"]["parameters"] == 8_030_261_248


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("[1]", "must hold a JSON object, not list", id="a list"),
        pytest.param("{", "cannot be read as JSON", id="half a file"),
        pytest.param(json.dumps(CONFIG | {"extra_experts": 3}), "extra_experts: 3 may decide", id="a field"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused_by_its_path(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "my.config"
    path.write_text(content)
    code, output = run("show", "--config", str(path), "--yaml")
    assert code != 0
    assert str(path) in output
    assert says in output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        pytest.param((), "MODEL: is missing: give a model id or the path of a config.json", id="neither"),
        pytest.param((LLAMA, "--config", "config.json"), "--config: stands for MODEL", id="both"),
    ],
)
def test_a_model_or_a_config_is_asked_about(args: tuple[str, ...], says: str) -> None:
    code, output = run("show", *args)
    assert code != 0
    assert says in output


@pytest.mark.parametrize("name", ["/models/llama-3.1-8b-tuned", "acme/Llama-3.1-8B-Instruct-fork", "zzz"])
def test_an_unknown_model_is_answered_with_the_command_that_describes_it(name: str) -> None:
    code, output = run("show", name)
    assert code != 0
    assert name in output
    assert "argosy perf show --config config.json --yaml" in output
    assert "spec.architecture" in output
    assert "did you mean" not in output
