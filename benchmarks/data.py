"""Benchmark reading and preparing corpora: `nox -s bench -- data --corpus adl`.

Ratios within one run mean more than absolute numbers.
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

LENGTH = 66  # tokens per window, as at the cpu scale


def bench(
    corpus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help="corpora to prepare")] = (),
    sample: Annotated[int, tyro.conf.arg(metavar="N", help="files that parsers and encoders are compared on")] = 100,
    output: Output = None,
) -> None:
    """Measure reading and encoding files of the first corpus, and preparing all corpora without a cache."""
    from replication.corpora.corpus import located

    if sample < 1:
        raise UserError(f"--sample {sample}: give a number of at least 1")
    corpora = {name: find_corpus(name) for name in corpus}
    files = readable(islice(contents(next(iter(corpora.values()), None)), sample))
    if not files:
        raise UserError(f"--sample {sample}: muspy cannot read any of these files; use a larger sample")
    rows = reading_rows(files, length=LENGTH)
    result: dict[str, Record] = records(rows, race(rows))
    for name, whole in corpora.items():  # one after the other, because each uses all cores
        row = prepare_row(f"prepare {name}", located(whole))
        result |= records([row], race([row], laps=2))
    present(result, output, corpus=list(corpus), sample=sample)


def reading_rows(files: Sequence[bytes], *, length: int) -> list[Row]:
    """Return rows for reading and encoding the same files in one process with Etude, muspy and MidiTok."""
    notes = sum(len(piece.notes) for piece in _pieces(files))
    row = partial(Row, unit="notes/s", threads=1)
    return [
        row(name="read MIDI", contender=partial(read, files=files, notes=notes), against="read MIDI, muspy"),
        row(name="read MIDI, muspy", contender=partial(read_with_muspy, files=files, notes=notes)),
        row(
            name="read and encode",
            contender=partial(read_and_encode, files=files, notes=notes, length=length),
            against="read and encode, muspy",
        ),
        row(name="read and encode, muspy", contender=partial(encode_with_muspy, files=files, notes=notes)),
        row(
            name="read and encode, MidiTok REMI",
            contender=partial(encode_with_miditok, files=files, notes=notes),
            against="read and encode",
        ),
    ]


def readable(files: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the files that both Etude and muspy can read, because only these can be compared."""
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for content in files:
            try:
                _pieces([content])
                _read_with_muspy(_write([content], Path(folder)))
            except Exception:  # noqa: BLE001, S112 - mido raises many types of exceptions
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


def read_with_muspy(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Read files with muspy."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _write(files, Path(folder))
        repeat(lambda: _read_with_muspy(paths), notes, lap)


def encode_with_muspy(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Read files with muspy and convert them to its event representation."""
    import muspy

    with tempfile.TemporaryDirectory() as folder:
        paths = _write(files, Path(folder))
        repeat(lambda: [muspy.to_event_representation(music) for music in _read_with_muspy(paths)], notes, lap)


def encode_with_miditok(lap: Lap, *, files: Sequence[bytes], notes: int) -> None:
    """Convert files to tokens with MidiTok's REMI and its default configuration."""
    import miditok

    warnings.simplefilter("ignore")
    tokeniser = miditok.REMI()
    with tempfile.TemporaryDirectory() as folder:
        paths = _write(files, Path(folder))
        repeat(lambda: [tokeniser(path) for path in paths], notes, lap)


def _pieces(files: Sequence[bytes]) -> list[Piece]:
    from replication.midi.smf import read_midi

    return [read_midi(content, id="", group="") for content in files]


def _read_with_muspy(paths: Sequence[Path]) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import muspy

        return [muspy.read_midi(path) for path in paths]


def _write(files: Sequence[bytes], folder: Path) -> list[Path]:
    paths = [folder / f"{number}.mid" for number in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content)
    return paths


def contents(corpus: Corpus | None) -> Iterable[bytes]:
    """Yield the contents of the files of a corpus; None stands for synthetic music."""
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
    """Write tar archives with given numbers of files.

    They hold the files of a corpus repeatedly, with other random changes to the notes in each repetition.
    """
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
    """Return a file transposed at random, with a tenth of its notes moved by up to two semitones."""
    try:
        score = score_type.from_midi(content)
    except Exception:  # noqa: BLE001 - mido raises many types of exceptions
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
    """Return the row for preparing a corpus without a cache on all cores; its memory excludes the reader processes."""
    contender = partial(prepare, corpus=corpus, length=length)
    return Row(name=name, unit="files/s", contender=contender, threads=os.cpu_count() or 1)


def prepare(lap: Lap, *, corpus: Corpus, length: int) -> None:
    """Read, deduplicate, split and cut a corpus, each time into a new folder."""
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
