from __future__ import annotations

import socket

import pytest

from argosy_sim.controlplane.errors import PortTakenError
from argosy_sim.controlplane.ports import LOOPBACK, free_ports, require_free


def test_free_ports_are_different_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as listener:
            listener.bind((LOOPBACK, port))


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
