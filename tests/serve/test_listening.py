"""The sockets of the server."""

import socket

import pytest
from segrid.serve import Settings, server


def test_answers_do_not_wait_for_acknowledgements():
    """A head and a body are two pieces; without this option the second one waits 40 ms."""
    with server._listening("127.0.0.1", 0) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_second_port_without_a_service_is_refused():
    with pytest.raises(ValueError, match="compat-port: needs compat"):
        server.run(Settings(compat=()), "127.0.0.1", 0, compat_port=0)
