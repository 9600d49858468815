"""Log every host that this process and its children look up or connect to, one per line, to the file $CONNECTIONS."""

import os
import sys

# The index of the argument of each audit event that holds the address or host name.
EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def log(event: str, arguments: tuple[object, ...]) -> None:
    """Append the host of a network event. Unix domain sockets, whose address is not a pair, are skipped."""
    if event not in EVENTS:
        return
    host = arguments[EVENTS[event]]
    if isinstance(host, tuple):
        host = host[0]
    elif EVENTS[event]:
        return
    descriptor = os.open(os.environ["CONNECTIONS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{host}\n".encode())
    os.close(descriptor)


if "CONNECTIONS" in os.environ:
    sys.addaudithook(log)
