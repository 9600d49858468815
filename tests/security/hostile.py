"""Hostile files by number: `python tests/security/hostile.py 20000` reads them and prints what came of it.

A number stands for the same file at all times. They are small, but for the last of every `RARE`.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replication.midi.piece import Seconds
from replication.midi.smf import DEFAULT_READING, MAX_STEPS, First, MidiError, Named, Reading, read_midi
from tests.security.damage import HUGE, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

SEED = 9
RARE = 2_000

# Of the process that reads: far more than a file of music takes.
MEMORY = 4 * 2**30
SECONDS = 10.0

# Every branch of reading, once.
READINGS = (
    DEFAULT_READING,
    Reading(grid=Seconds(steps_per_second=50.0), pedal=True, drums=True),
    Reading(tracks=First(), programs=(0, 7), shortest=3, aligned=0.5),
    Reading(tracks=Named(("", "Piano")), pedal=True),
)


def hostile(number: int) -> tuple[str, bytes]:
    """Return the kind and the content of a file."""
    rng = np.random.default_rng([SEED, number])
    kinds, turn = (HUGE, number // RARE) if number % RARE == RARE - 1 else (KINDS, number)
    kind = list(kinds)[turn % len(kinds)]
    return kind, kinds[kind](rng)


def outcome(content: bytes, reading: Reading) -> str:
    """Return "piece", a sound one, or the reason why there is none; whatever else happens is raised."""
    try:
        notes = read_midi(content, id="a", group="a", reading=reading).notes
    except MidiError as error:
        return error.reason.value
    place = notes["onset"].astype(int) * 128 + notes["pitch"]
    assert (np.diff(place) > 0).all()
    assert len(notes) >= reading.shortest
    assert notes["onset"][0] >= 0
    assert notes["duration"].min() >= 1
    assert (notes["onset"] + notes["duration"]).max() <= MAX_STEPS
    assert notes["pitch"].max() <= 127
    assert 1 <= notes["velocity"].min() <= notes["velocity"].max() <= 127
    return "piece"


class Result(NamedTuple):
    """What came of a file, and the seconds that all readings of it took together."""

    number: int
    kind: str
    outcome: str
    seconds: float


def _read(results: Connection, numbers: range) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        kind, content = hostile(number)
        begin = time.perf_counter()
        try:
            came, *_ = [outcome(content, reading) for reading in READINGS]
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            came = f"ESCAPED {error!r}"
        results.send(Result(number, kind, came, time.perf_counter() - begin))


def survey(count: int) -> Iterator[Result]:
    """Yield what comes of files 0 to `count` - 1, each read in every way, by a process that may die or hang."""
    number = 0
    while number < count:
        here, there = multiprocessing.Pipe(duplex=False)
        reader = multiprocessing.Process(target=_read, args=(there, range(number, count)))
        reader.start()
        there.close()
        with suppress(EOFError):
            while here.poll(SECONDS):
                yield here.recv()
                number += 1
        reader.join(timeout=1)
        came = "HUNG" if reader.is_alive() else "CRASHED"
        reader.kill()
        reader.join()
        if number < count:
            yield Result(number, hostile(number)[0], came, SECONDS)
            number += 1


if __name__ == "__main__":
    found = list(survey(int(sys.argv[1])))
    for (kind, came), files in sorted(Counter((result.kind, result.outcome) for result in found).items()):
        print(f"{kind:25}{came:25}{files:6}")
    slowest = max(found, key=lambda result: result.seconds)
    print(f"slowest: file {slowest.number} ({slowest.kind}), {slowest.seconds:.3f} s for {len(READINGS)} readings")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB")
    bad = [result for result in found if result.outcome[0].isupper()]
    print(f"{len(found)} files, {len(bad)} of them neither piece nor reason", *bad, sep="\n")
