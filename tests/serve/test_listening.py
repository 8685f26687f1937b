"""The sockets of the server."""

import socket

from segrid.serve import server


def test_answers_do_not_wait_for_acknowledgements():
    """A head and a body are two pieces; without this option the second one waits 40 ms."""
    with server._listening("127.0.0.1", 0) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
