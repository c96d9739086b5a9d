from __future__ import annotations

import socket
from pathlib import Path

import pytest

from argosy.errors import SpecError
from argosy_sim.controlplane.errors import PortTakenError
from argosy_sim.controlplane.host import ports
from argosy_sim.controlplane.host.ports import LOOPBACK, PORTS_VARIABLE, free_ports, is_free, require_free

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_free_ports_are_different_and_can_be_bound() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as listener:
            listener.bind((LOOPBACK, port))


def test_free_ports_are_none_that_the_kernel_gives_away() -> None:
    with socket.socket() as given:
        given.bind((LOOPBACK, 0))
        first, last = (int(each) for each in EPHEMERAL.read_text().split())
        assert first <= given.getsockname()[1] <= last
    assert not [port for port in free_ports(20) if first <= port <= last]


def test_ports_are_found_also_where_all_may_be_given_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(PORTS_VARIABLE, raising=False)
    (tmp_path / "range").write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", tmp_path / "range")
    assert len(set(free_ports(20))) == 20


def test_ports_come_from_the_range_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, "30000-30099")
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(30000 <= port <= 30099 for port in found)


def test_a_port_is_chosen_once_as_long_as_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, "30200-30219")
    monkeypatch.setattr(ports, "_CHOSEN", set())
    found = [port for _ in range(4) for port in free_ports(4)]
    assert len(set(found)) == 16, "none of them listens yet"
    assert all(30200 <= port <= 30219 for _ in range(3) for port in free_ports(3))


@pytest.mark.parametrize("text", ["20000", "high-low", "30000-20000", "20000-70000"])
def test_a_range_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, text)
    with pytest.raises(SpecError, match=f"ARGOSY_PORTS: '{text}' is not FIRST-LAST, such as 20000-24999"):
        free_ports(1)


def test_a_taken_port_is_refused_with_a_sentence_that_names_the_option() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError) as caught:
            require_free(port, "--api-port")
    assert caught.value.port == port
    assert str(caught.value) == (
        f"--api-port: port {port} on 127.0.0.1 is in use by another process; "
        "free it, or name no port and a free one is chosen"
    )


def test_a_port_taken_on_all_addresses_is_taken_on_loopback() -> None:
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        with pytest.raises(PortTakenError):
            require_free(listener.getsockname()[1])


def test_a_port_whose_last_connection_just_closed_is_free() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            server_side, _ = listener.accept()
            server_side.close()  # the side that closes first waits in TIME_WAIT
    assert require_free(port) == port


def test_a_port_that_a_server_has_on_every_address_is_free_on_none() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port, "127.77.255.254")
        assert not is_free(port)
    assert is_free(port, "127.77.255.254")
