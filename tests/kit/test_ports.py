"""Which ports a stack takes."""

import multiprocessing
import socket

import pytest

from sandbox.ports import PREFERRED, ClaimedPorts, NoPort, listening_socket


def test_two_stacks_never_take_the_same_port_even_before_they_listen() -> None:
    one, other = ClaimedPorts({}), ClaimedPorts({})
    try:
        claimed = [claims.claim(role) for claims in (one, other) for role in PREFERRED]
        assert len(set(claimed)) == len(claimed)
    finally:
        one.release()
        other.release()


def test_another_process_passes_a_claimed_port_over() -> None:
    mine = ClaimedPorts({})
    try:
        port = mine.claim("sap")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(_claimed_elsewhere) != port
    finally:
        mine.release()


def _claimed_elsewhere() -> int:
    return ClaimedPorts({}).claim("sap")


def test_a_port_that_somebody_listens_at_is_passed_over() -> None:
    first = ClaimedPorts({})
    port = first.claim("commerce")
    first.release()
    with listening_socket(port):
        assert ClaimedPorts({}).claim("commerce") != port


def test_a_port_that_the_environment_names_is_taken_or_refused_by_name() -> None:
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        port = somebody.getsockname()[1]
        named = ClaimedPorts({"CONCORD_SAP_PORT": str(port)})
        with pytest.raises(NoPort, match=f"sap: {port} is taken"):
            named.claim("sap")
    assert named.claim("sap") == port


@pytest.mark.parametrize("nonsense", ["", "x", "-1", "0", "65536", "７０８１"])
def test_a_port_that_is_none_is_refused(nonsense: str) -> None:
    with pytest.raises(NoPort, match="CONCORD_SAP_PORT"):
        ClaimedPorts({"CONCORD_SAP_PORT": nonsense}).claim("sap")
