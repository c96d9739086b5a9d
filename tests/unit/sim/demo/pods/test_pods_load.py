"""What the demo and the load's pod exchange: a file of requests one way, a log the other."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest
from demo_evidence import answered

from argosy.client.planned import PlannedRequest
from argosy.client.records import Outcome, read_records
from argosy.errors import SpecError
from argosy_sim.demo.drive import LoadChoice, class_loads
from argosy_sim.demo.pods import load
from argosy_sim.demo.pods.load import main, packed, read_log, unpacked
from argosy_sim.demo.pods.story import pods_story
from argosy_sim.replay.load import plan_load

REQUEST = PlannedRequest(
    "chat-1", "chat", 0.01, 20, 3, "/v1/chat/completions", (("x-argosy-class", "chat"),), "m", (4, 5)
)


def test_a_load_arrives_as_it_was_planned() -> None:
    story, _ = pods_story({"NVIDIA-L40S": [4]}, 1.0)
    planned = plan_load(class_loads(story, LoadChoice()))
    assert len(planned) > 500
    assert unpacked(packed([*planned, REQUEST])) == [*planned, REQUEST]


def test_a_load_that_no_config_map_holds_is_refused() -> None:
    blocks = tuple(random.Random(1).sample(range(10**9), 250_000))
    many = replace(REQUEST, prefix_blocks=blocks)
    with pytest.raises(SpecError, match=r"--rate: the load's 1 requests take \d+ bytes, a ConfigMap holds"):
        packed([many])


def test_a_log_is_read_up_to_the_line_that_is_still_written() -> None:
    record = answered("chat-0", 1.0).to_json()
    begun = read_log(f"act 1 begins at 1767225600.5\n{record}\n{record[:40]}")
    assert (begun.origin_s, len(begun.records), begun.num_sent) == (1767225600.5, 1, None)
    assert not begun.is_complete
    assert read_log("") == read_log("Traceback (most")
    assert read_log("").origin_s is None


@pytest.mark.parametrize(("num_sent", "is_complete"), [(1, True), (2, False), (0, False)])
def test_a_log_of_which_lines_were_rotated_away_is_not_complete(num_sent: int, is_complete: bool) -> None:
    log = read_log(f"{answered('chat-0', 1.0).to_json()}\nrequests sent: {num_sent}\n")
    assert log.is_complete == is_complete


def test_the_pod_prints_when_act_1_begins_each_request_and_how_many_it_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "LEAD_S", 0.05)
    file = tmp_path / "load.jsonl.gz"
    file.write_bytes(packed([REQUEST]))

    async def end_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def port() -> int:
        server = await asyncio.start_server(end_at_once, "127.0.0.1", 0)
        number: int = server.sockets[0].getsockname()[1]
        server.close()
        return number

    assert main([str(file), f"http://127.0.0.1:{asyncio.run(port())}"]) == 0
    log = read_log(capsys.readouterr().out)
    assert log.origin_s is not None
    assert log.is_complete
    [record] = read_records(log.records)
    assert (record.id, record.outcome, record.gaps_ms) == ("chat-1", Outcome.CONNECT_ERROR, ())
