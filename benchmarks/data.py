"""Speed of reading and preparing on this machine: `nox -s bench -- data --corpus adl`.

Ratios from one run mean more than the numbers.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import warnings
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from benchmarks.race import Row, race, repeat
from benchmarks.table import Output, command, present, records
from etude.runner.plan import find_corpus
from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.race import Lap
    from benchmarks.table import Record
    from replication.corpora.corpus import Corpus
    from replication.midi.piece import Piece

LENGTH = 66  # tokens of a window, as at the cpu scale


def bench(
    corpus: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help="corpora to prepare, from their packs")
    ] = (),
    sample: Annotated[int, tyro.conf.arg(metavar="N", help="files that parsers and encoders are compared on")] = 100,
    output: Output = None,
) -> None:
    """Measure reading and encoding files of the first corpus, and preparing all corpora from nothing."""
    from replication.corpora.corpus import located

    if sample < 1:
        raise UserError(f"--sample {sample}: at least one is needed")
    corpora = {name: find_corpus(name) for name in corpus}
    files = readable(islice(contents(next(iter(corpora.values()), None)), sample))
    if not files:
        raise UserError(f"--sample {sample}: muspy can read none of these files; take more")
    rows = reading_rows(files, length=LENGTH)
    result: dict[str, Record] = records(rows, race(rows))
    for name, whole in corpora.items():  # one after the other: each takes all cores
        row = prepare_row(f"prepare {name}", located(whole))
        result |= records([row], race([row], laps=2))
    present(result, output, corpus=list(corpus), sample=sample)


def reading_rows(files: Sequence[bytes], *, length: int) -> list[Row]:
    """Return the rows of what one process does with the same files: ours, and what people would use instead."""
    notes = sum(len(piece.notes) for piece in _pieces(files))
    row = partial(Row, unit="notes/s", threads=1)
    return [
        row(name="read MIDI", contender=partial(read, files=files, notes=notes), against="read MIDI, muspy"),
        row(name="read MIDI, muspy", contender=partial(muspy_reads, files=files, notes=notes)),
        row(
            name="read and encode",
            contender=partial(read_and_encode, files=files, notes=notes, length=length),
            against="read and encode, muspy",
        ),
        row(name="read and encode, muspy", contender=partial(muspy_encodes, files=files, notes=notes)),
        row(
            name="read and encode, MidiTok REMI",
            contender=partial(miditok_encodes, files=files, notes=notes),
            against="read and encode",
        ),
    ]


def readable(files: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the files that both we and muspy can read: nothing else compares."""
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for content in files:
            try:
                _pieces([content])
                _with_muspy(_written([content], Path(folder)))
            except Exception:  # noqa: BLE001, S112 - mido raises of all kinds
                continue
            kept.append(content)
    return tuple(kept)


def read(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Read files."""
    repeat(lambda: _pieces(files), notes, lap)


def read_and_encode(lap: Lap, *, files: Sequence[bytes], notes: int, length: int) -> None:
    """Read files and cut them into windows of tokens."""
    from replication.tokens.encodings import ENCODINGS

    encoding = ENCODINGS["paper"]
    repeat(lambda: [encoding.windows(piece.notes, length) for piece in _pieces(files)], notes, lap)


def muspy_reads(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Read files with muspy."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _written(files, Path(folder))
        repeat(lambda: _with_muspy(paths), notes, lap)


def muspy_encodes(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Read files with muspy and turn them into its event representation."""
    import muspy

    with tempfile.TemporaryDirectory() as folder:
        paths = _written(files, Path(folder))
        repeat(lambda: [muspy.to_event_representation(music) for music in _with_muspy(paths)], notes, lap)


def miditok_encodes(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Read files into tokens with MidiTok's REMI as it comes."""
    import miditok

    warnings.simplefilter("ignore")
    tokeniser = miditok.REMI()
    with tempfile.TemporaryDirectory() as folder:
        paths = _written(files, Path(folder))
        repeat(lambda: [tokeniser(path) for path in paths], notes, lap)


def _pieces(files: Sequence[bytes]) -> list[Piece]:
    from replication.midi.smf import read_midi

    return [read_midi(content, id="", group="") for content in files]


def _with_muspy(paths: Sequence[Path]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import muspy

        return [muspy.read_midi(path) for path in paths]


def _written(files: Sequence[bytes], folder: Path) -> list[Path]:
    paths = [folder / f"{number}.mid" for number in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    return paths


def contents(corpus: Corpus | None) -> Iterable[bytes]:
    """Yield the files of a corpus, or files with synthetic music."""
    from replication.corpora.catalogue import Published
    from replication.corpora.corpus import CORPORA, located
    from replication.midi.piece import PAPER_GRID, Piece
    from replication.midi.smf import write_midi

    source = located(corpus or CORPORA["synthetic"]).source
    assert not isinstance(source, Published)
    with tempfile.TemporaryDirectory() as folder:
        for item in source.items(PAPER_GRID):
            if isinstance(item, Piece):
                path = Path(folder) / "one.mid"
                write_midi(item, path)
                yield path.read_bytes()
            elif isinstance(item[1], bytes):
                yield item[1]


def write_many(corpus: Corpus | None, paths: dict[Path, int]) -> None:
    """Write tar archives of so many files: those of a corpus, again and again, each time with other notes changed."""
    from symusic import Score

    originals = list(contents(corpus))
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        archives = {stack.enter_context(tarfile.open(path, "w")): count for path, count in paths.items()}
        for number, content in enumerate(islice(cycle(originals), max(paths.values()))):
            changed = content if number < len(originals) else _changed(Score, content, rng)
            info = tarfile.TarInfo(f"{number % len(originals):06d}-{number // len(originals):03d}.mid")
            info.size = len(changed)
            for archive, count in archives.items():
                if number < count:
                    archive.addfile(info, io.BytesIO(changed))


def _changed(score_type: Any, content: bytes, rng: np.random.Generator) -> bytes:  # noqa: ANN401 - no types
    """Return a file in another key, with every tenth note moved by a step or two of the scale of semitones."""
    try:
        score = score_type.from_midi(content)
    except Exception:  # noqa: BLE001 - mido raises of all kinds
        return content
    shift = int(rng.integers(-5, 6))
    for track in score.tracks:
        columns = track.notes.numpy()
        moved = columns["pitch"].astype(int) + shift
        moved += rng.integers(-2, 3, len(moved)) * (rng.integers(10, size=len(moved)) == 0)
        columns["pitch"] = np.clip(moved, 0, 127).astype(columns["pitch"].dtype)
        track.notes = type(track.notes).from_numpy(*(columns[key] for key in ("time", "duration", "pitch", "velocity")))
    result: bytes = score.dumps_midi()
    return result


def prepare_row(name: str, corpus: Corpus, *, length: int = LENGTH) -> Row:
    """Return the row of preparing a corpus from nothing with all cores; its memory is without that of the readers."""
    contender = partial(prepare, corpus=corpus, length=length)
    return Row(name=name, unit="files/s", contender=contender, threads=os.cpu_count() or 1)


def prepare(lap: Lap, *, corpus: Corpus, length: int) -> None:
    """Read, deduplicate, split and cut a corpus, each time into another folder."""
    from replication.tokens.encodings import encoding_on
    from replication.windows.cutting import Cutting
    from replication.windows.prepared import prepare as prepare_all

    encoding = encoding_on("paper", corpus.reading.grid)
    while True:
        with tempfile.TemporaryDirectory() as folder:
            dataset = prepare_all(corpus, encoding, Cutting(length=length), cache=Path(folder))
            lap(dataset.counts["files"])


if __name__ == "__main__":
    command(bench)
