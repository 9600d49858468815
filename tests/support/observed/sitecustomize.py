"""Notes where a process of Python, and all that it starts, connects to: a line each in the file that OBSERVED names."""

import os
import sys

# Of each event, which of its words is the place: an address, or the name that one is looked up for.
EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def note(event: str, words: tuple[object, ...]) -> None:
    """Append the place that something of the network is at; sockets in the file system have no pair for it."""
    if event not in EVENTS:
        return
    place = words[EVENTS[event]]
    if isinstance(place, tuple):
        place = place[0]
    elif EVENTS[event]:
        return
    descriptor = os.open(os.environ["OBSERVED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{place}\n".encode())
    os.close(descriptor)


if "OBSERVED" in os.environ:
    sys.addaudithook(note)
