"""Finds ports for servers that tests start; must not be used where port 0 does."""

import socket


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
