"""Whether an address is free to listen on."""

import errno
import socket


def is_busy(listen: str) -> bool:
    """Whether another process listens on HOST:PORT, on any address that HOST stands for.

    gRPC is content with one of several: a server on "localhost:7051" starts on ::1 alone when 127.0.0.1 is taken, and then
    clients of the one process reach the other. An address that this machine does not have is not busy.
    """
    host, port = listen.rsplit(":", 1)
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return False
    return any(_taken(family, address) for family, _, _, _, address in addresses)


def _taken(family: int, address: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: connections of a server that just stopped must not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
