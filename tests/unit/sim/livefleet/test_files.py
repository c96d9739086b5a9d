"""What a fleet writes: state, events, container logs; and its metrics' text, cell by cell."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from argosy_sim.controlplane.host.processes import identify
from argosy_sim.livefleet.control import fleet_status
from argosy_sim.livefleet.errors import FleetNotRunningError, FleetRunningError
from argosy_sim.livefleet.event_log import EventLog, read_events
from argosy_sim.livefleet.kubelet.container_logs import ContainerLog, log_path, shown
from argosy_sim.livefleet.kubelet.kube_api import PodName
from argosy_sim.livefleet.launch import Launch, wait_until_up
from argosy_sim.livefleet.state import FleetLayout, FleetState
from argosy_sim.livefleet.vllm.metrics import Histogram, buckets_1_2_5


def state_of_this_process() -> FleetState:
    process = identify(os.getpid())
    assert process is not None
    return FleetState(process, 1.5, "127.10.0.0/16", 8000, None)


def test_a_running_fleets_directory_is_not_taken_over(tmp_path: Path) -> None:
    layout = FleetLayout(tmp_path)
    layout.save(state_of_this_process())
    assert layout.load() == state_of_this_process()
    with pytest.raises(FleetRunningError, match=rf"a live fleet \(pid {os.getpid()}\) runs in"):
        layout.prepare()


def test_what_a_killed_fleet_left_is_cleared(tmp_path: Path) -> None:
    layout = FleetLayout(tmp_path)
    dead = json.loads(json.dumps({"pid": os.getpid(), "start_ticks": 1, "boot_id": "another"}))
    state = {"process": dead, "started_at_s": 0, "network": "", "engine_port": 1, "kubelet_port": None}
    layout.state.write_text(json.dumps(state))
    assert layout.load() is None
    layout.prepare()
    assert not layout.state.exists()


def test_another_programs_state_is_left_alone(tmp_path: Path) -> None:
    layout = FleetLayout(tmp_path)
    layout.state.write_text('{"server_url": "https://127.0.0.1:6443"}')
    with pytest.raises(FleetRunningError, match="was not written by a live fleet"):
        layout.prepare()
    assert layout.state.exists()


def test_a_command_without_a_fleet_says_so(tmp_path: Path) -> None:
    with pytest.raises(FleetNotRunningError, match="no live fleet answers in"):
        fleet_status(tmp_path)


def test_waiting_for_a_fleet_that_ended_does_not_wait(tmp_path: Path) -> None:
    log = tmp_path / "fleet.log"
    with pytest.raises(FleetNotRunningError, match=f"ended before it was up; the cause is in {log}$"):
        wait_until_up(tmp_path, lambda: False, log)
    with pytest.raises(FleetNotRunningError, match=f"was not up after 0.1 s; the cause is in {log}$"):
        wait_until_up(tmp_path, lambda: True, log, timeout_s=0.1)


def test_a_launch_names_only_what_it_was_given() -> None:
    command = Launch(Path("k"), Path("s"), die_with_parent=False).command()
    assert command[1:] == ["-m", "argosy_sim.livefleet", "--kubeconfig", "k", "--state-dir", "s"]


def test_events_are_read_back_without_the_line_being_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("bound", pod="a/b")
    log.write("ready", pod="a/b", report_ms=4.2)
    log.close()
    with path.open("a") as file:
        file.write('{"at": 1')
    assert [(event["event"], event["pod"]) for event in read_events(path)] == [
        ("bound", "a/b"),
        ("ready", "a/b"),
    ]
    assert read_events(tmp_path / "none") == []


def test_a_container_log_keeps_times_and_shows_them_on_request(tmp_path: Path) -> None:
    path = log_path(tmp_path, PodName("prod", "chat-0", "u1"), "engine")
    log = ContainerLog(path)
    for line in ("one", "two words", "three"):
        log.write(line)
    log.close()
    lines = path.read_text().splitlines(keepends=True)
    assert shown(lines, tail=None, timestamps=False) == "one\ntwo words\nthree\n"
    assert shown(lines, tail=2, timestamps=False) == "two words\nthree\n"
    assert shown(lines, tail=0, timestamps=False) == ""
    assert shown(lines, tail=9, timestamps=True) == "".join(lines)
    assert lines[0].endswith("Z one\n")


def test_length_buckets_stop_at_the_context_limit() -> None:
    assert buckets_1_2_5(1000) == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    assert buckets_1_2_5(999)[-1] == 500


def test_a_histograms_buckets_are_cumulative_and_include_their_bound() -> None:
    histogram = Histogram("h", 'a="b"', (1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    out: list[str] = []
    histogram.render(out)
    assert "".join(out).splitlines() == [
        'h_bucket{a="b",le="1.0"} 2.0',
        'h_bucket{a="b",le="2.0"} 3.0',
        'h_bucket{a="b",le="+Inf"} 4.0',
        'h_count{a="b"} 4.0',
        'h_sum{a="b"} 12.0',
    ]
