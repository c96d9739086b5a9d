"""`argosy perf import`: reports in, a profile out, and the command that it answers."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path

import pytest
from perf_command import asked, misused, ran, refused, run

from argosy.perf.measurements import FittedProfile, profile_from_bytes

DATA = Path(__file__).parents[3] / "data" / "perf"
REPORT = str(DATA / "vllm/c16.json")
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_imported_measurements_win_over_the_shipped_profile(tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    code, output = run("import", REPORT, "--model", LLAMA, "--gpu", "H100", "--out", str(out))
    assert code == 0, output
    assert "the shipped profile" in output
    assert f"ask it with: argosy perf show {LLAMA} --gpu H100 --profile {out}\n" in output
    found = asked("show", LLAMA, "--gpu", "H100", "--profile", str(out))
    assert found["profile"]["origin"] == "UserMeasurements"
    # How much longer clients waited is printed for figures that no run has corrected.
    warning = "clients of measured runs waited"
    shipped, own = (run("show", LLAMA, *options)[1] for options in ((), ("--profile", str(out))))
    assert (warning in " ".join(shipped.split()), warning in " ".join(own.split())) == (True, False)
    out.write_text(out.read_text().replace('"uncertainty"', '"uncertainly"'))
    assert str(out) in refused("show", LLAMA, "--profile", str(out))["message"]
    assert "cannot be read" in refused("show", LLAMA, "--profile", str(tmp_path / "absent.json"))["message"]


def test_the_command_that_an_import_ends_with_is_answered_by_the_new_profile(tmp_path: Path) -> None:
    out = tmp_path / "my profile.json"
    shape = ("--tp", "2", "--dtype", "fp8")
    code, output = run("import", REPORT, "--model", LLAMA, "--gpu", "H100", *shape, "--out", str(out))
    assert code == 0, output
    said = shlex.split(output.split("ask it with: ")[1])
    assert said[:3] == ["argosy", "perf", "show"]
    assert asked(*said[2:])["profile"]["origin"] == "UserMeasurements"


def test_a_table_names_its_gpu_row_by_row(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    lines = [
        "prompt_tokens,output_tokens,concurrency,itl_ms,gpu",
        "512,128,4,8.2,H100",
        "512,128,16,9.5,H100",
    ]
    table.write_text("\n".join(lines))
    code, output = run("import", str(table), "--model", LLAMA, "--out", str(tmp_path / "profile.json"))
    assert code == 0, output
    assert "llama-3.1-8b bf16 on H100 TP1" in output
    table.write_text("\n".join([*lines, "512,128,4,20,L40S"]))
    error = refused("import", str(table), "--model", LLAMA)
    assert error["message"] == "--gpu: the reports name H100, L40S: give --gpu"


def test_rows_of_another_gpu_are_left_out_and_counted(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    lines = ["512,128,4,8.2,H100", "512,128,16,9.5,H100", "512,128,4,20,L40S"]
    table.write_text("\n".join(["prompt_tokens,output_tokens,concurrency,itl_ms,gpu", *lines]))
    args = ("import", str(table), "--model", LLAMA, "--out", str(tmp_path / "profile.json"))
    for name in ("H100", "h100_sxm"):
        code, output = run(*args, "--gpu", name)
        assert code == 0, output
        assert "rows: 2 kept, 0 marked, 1 left out" in output
        assert "line 4: measured on L40S" in " ".join(output.split())
    assert "runs.csv names H100, L40S, not A100" in refused(*args, "--gpu", "A100")["message"]


def test_a_report_of_another_model_is_taken_with_a_remark(tmp_path: Path) -> None:
    result = json.loads(Path(REPORT).read_text())
    report = tmp_path / "runs.jsonl"
    args = ("import", str(report), "--model", LLAMA, "--gpu", "H100", "--out", str(tmp_path / "profile.json"))
    for name, is_other in (("Qwen/Qwen3-8B", True), (LLAMA, False), ("meta-llama/Llama-3.1-8B", False)):
        report.write_text(json.dumps(result | {"model_id": name}))
        code, output = run(*args)
        assert code == 0, output
        assert (f"it names {name}, and is taken" in " ".join(output.split())) is is_other
    several = [json.dumps(result | {"model_id": name}) for name in (LLAMA, "Qwen/Qwen3-8B")]
    report.write_text("\n".join(several))
    assert f"several models ({LLAMA}, Qwen/Qwen3-8B)" in refused(*args)["message"]


def test_a_profile_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    out = tmp_path / "absent" / "profile.json"
    error = refused("import", REPORT, "--model", LLAMA, "--gpu", "H100", "--out", str(out))
    assert error["message"] == f"--out: {out} cannot be written: No such file or directory"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("absent.json",), "cannot be read"),
        ((str(DATA / "README.md"),), "vllm bench serve"),
    ],
)
def test_a_report_that_cannot_be_read_is_named(args: tuple[str, ...], says: str) -> None:
    assert says in refused("import", *args, "--model", LLAMA, "--gpu", "H100")["message"]


@pytest.mark.parametrize(
    ("args", "reason", "nearest"),
    [
        pytest.param((REPORT, "--model", "lama-3.1-8b"), "UnknownModel", "llama-3.1-8b", id="a model"),
        pytest.param((str(DATA / "README.md"), "--model", LLAMA), "UnknownFormat", None, id="a report"),
    ],
)
def test_import_gives_the_reason_of_the_refusal(
    args: tuple[str, ...], reason: str, nearest: str | None
) -> None:
    error = refused("import", *args, "--gpu", "H100")
    assert error["reason"] == reason
    assert nearest is None or nearest in error["nearest"]


def test_import_asks_for_what_no_report_says() -> None:
    assert refused("import", REPORT, "--model", LLAMA)["message"] == "--gpu: no report names one: give --gpu"


def test_the_document_names_the_file_its_errors_and_the_command(tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    found = ran("perf", "import", REPORT, "--model", LLAMA, "--gpu", "H100", "--out", str(out), "--json")
    document = json.loads(found.stdout)
    assert (found.code, found.stderr) == (0, "")
    assert (document["file"], document["gpu"], document["tp"]) == (str(out), "H100", 1)
    assert document["profile"]["origin"] == "UserMeasurements"
    assert document["covered"]["concurrency"] == [16, 16]
    assert (
        document["errors"]["itl"]["own"]["mean_absolute"]
        < document["errors"]["itl"]["shipped"]["mean_absolute"]
    )
    assert shlex.split(document["command"])[:4] == ["argosy", "perf", "show", LLAMA]
    (move,) = document["moves"]
    assert (move["name"], move["unit"], move["prior"], move["at_bound"]) == ("s", "", 1.0, None)
    # From the prior's factor to the fitted one; the prior's spread of its logarithm is 0.3.
    assert move["spreads"] == pytest.approx(math.log(move["value"]) / 0.3, rel=1e-3)
    assert abs(move["spreads"]) > 0.1


def test_how_far_the_fit_moved_is_printed(tmp_path: Path) -> None:
    out = str(tmp_path / "profile.json")
    code, output = run("import", str(DATA / "csv/runs.csv"), "--model", LLAMA, "--gpu", "H100", "--out", out)
    assert code == 0, output
    words = " ".join(output.split())
    moved = words.split("moved from the prior: ")[1]
    assert re.match(r"s 1 to [\d.]+ \([+-][\d.]+ spreads\); compute 1 to", moved)
    assert re.search(r"front_end_ms 5 to [\d.]+ ms \([+-][\d.]+ spreads", moved)


def test_a_flag_that_cannot_be_parsed_is_named() -> None:
    assert "'--dtype'" in misused("import", REPORT, "--dtype", "fp7")
    assert (
        "--tp: must be at least 1, got 0"
        in refused("import", REPORT, "--tp", "0", "--gpu", "H100", "--model", "m")["message"]
    )


def test_the_help_is_complete_on_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, text = run("import", "--help")
    lines = [line.strip() for line in text.splitlines()]
    assert (code, "\u2026" in text, "--max-num-batched-tokens" in text) == (0, False, True)
    assert "holds it: kubectl create configmap measured --from-file=profile.json" in lines
    assert "bf16, fp8, fp4, int8, int4" in " ".join(text.replace("\u2502", " ").split())


def test_a_profile_never_replaces_a_report(tmp_path: Path) -> None:
    report = tmp_path / "profile.json"
    report.write_bytes(Path(REPORT).read_bytes())
    out = tmp_path / "folder" / ".." / "profile.json"
    error = refused("import", str(report), "--model", LLAMA, "--gpu", "H100", "--out", str(out))
    assert error["message"] == f"--out: {out} is one of the reports and would be replaced; name another"
    assert report.read_bytes() == Path(REPORT).read_bytes()


@pytest.mark.parametrize(("num_rows", "is_predicted"), [(1, False), (3, True)])
def test_only_enough_rows_are_predicted_from_each_other(
    num_rows: int, is_predicted: bool, tmp_path: Path
) -> None:
    names = ("c4", "c16", "rate10")[:num_rows]
    files = [str(DATA / f"vllm/{name}.json") for name in names]
    code, output = run("import", *files, "--gpu", "H100", "--out", str(tmp_path / "profile.json"))
    assert (code, "each row predicted from the others" in output) == (0, is_predicted)


def test_the_summary_counts_rows_that_are_kept_marked_and_left_out(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    lines = [
        "prompt_tokens,output_tokens,concurrency,itl_ms,num_requests,num_failed",
        "512,128,4,8.2,100,0",
        "512,128,16,9.5,100,7",
        "512,128,32,10.5,3,97",
        "512,128,48,0.01,100,0",
    ]
    table.write_text("\n".join(lines))
    args = ("import", str(table), "--model", LLAMA, "--gpu", "H100", "--out", str(tmp_path / "profile.json"))
    code, output = run(*args)
    assert code == 0, output
    said = " ".join(output.split())
    assert "rows: 1 kept, 1 marked, 2 left out" in said
    assert "runs.csv: marked: line 3: 7 requests failed" in said
    assert "runs.csv: left out: line 4: 97 of 100 requests failed" in said
    assert "runs.csv: left out: line 5: ITL of 0.01 ms" in said
    assert asked(*args)["rows"] == {"kept": 1, "marked": 1, "left_out": 2}


def test_a_card_that_no_catalogue_lists_is_fitted_and_the_next_step_named(tmp_path: Path) -> None:
    table, out = tmp_path / "runs.csv", tmp_path / "profile.json"
    table.write_text("prompt_tokens,output_tokens,concurrency,itl_ms\n512,128,4,30.2\n512,128,16,33.5\n")
    args = ("import", str(table), "--model", LLAMA, "--gpu", "MTT-S4000", "--out", str(out))
    assert "of a card that the catalogue does not have, give --gpu-memory" in refused(*args)["message"]
    code, output = run(*args, "--gpu-memory", "48")
    assert code == 0, output
    assert "llama-3.1-8b bf16 on MTT-S4000 TP1" in output
    said = "declare the GPU in the GPUPool: spec.gpu MTT-S4000, spec.gpuSpec.memoryGib 48"
    assert said in " ".join(output.split())
    read = profile_from_bytes(out.read_bytes(), "profile.json")
    assert isinstance(read, FittedProfile)
    assert read.profile.key.gpu == "MTT-S4000"
    assert read.error.itl is not None
    assert read.error.itl.mean_absolute < 0.1


@pytest.mark.parametrize(
    ("gpu", "memory", "says"),
    [("H100", "80", "is in the catalogue as H100"), ("MTT-S4000", "0", "must be a positive number of GiB")],
)
def test_a_memory_that_cannot_be_is_refused(gpu: str, memory: str, says: str) -> None:
    error = refused("import", REPORT, "--model", LLAMA, "--gpu", gpu, "--gpu-memory", memory)
    assert says in error["message"]


def test_a_profile_far_from_a_data_sheet_is_taken_with_a_remark(tmp_path: Path) -> None:
    table, out = tmp_path / "runs.csv", tmp_path / "profile.json"
    table.write_text("prompt_tokens,output_tokens,concurrency,itl_ms\n512,128,4,36\n")
    code, output = run("import", str(table), "--model", LLAMA, "--gpu", "H20", "--out", str(out))
    assert code == 0, output
    assert "times slower than what the data sheet of H20 gives; check model" in " ".join(output.split())


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def test_a_model_that_no_catalogue_lists_is_fitted_by_its_config(tmp_path: Path) -> None:
    config, out = tmp_path / "config.json", tmp_path / "profile.json"
    config.write_text(json.dumps(CONFIG))
    args = ("import", REPORT, "--model", "acme/own-8b", "--gpu", "H100", "--out", str(out))
    assert refused(*args)["message"] == (
        'the model "acme/own-8b" is not in the catalogue; set spec.architecture of its ServedModel to what'
        " `argosy perf show --config config.json --yaml` prints from the model's config.json, and give that"
        " file here by --config"
    )
    code, output = run(*args, "--config", str(config))
    assert code == 0, output
    assert "acme/own-8b bf16 on H100 TP1" in output
    assert "name it in spec.profiles of the ServedModel, beside its spec.architecture" in output
    shown = asked("show", "--config", str(config), "--gpu", "H100", "--batch", "16")
    assert shown["profile"]["origin"] != "UserMeasurements"  # of another name
    known = refused("import", REPORT, "--model", LLAMA, "--gpu", "H100", "--config", str(config))
    assert known["message"].endswith("is in the catalogue as llama-3.1-8b: leave the file out")
