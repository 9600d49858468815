"""Corpora: where pieces come from, read once and cached by content."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from replication.archives import check_container, content_key, midi_files
from replication.errors import UserError
from replication.files import atomic, digest
from replication.midi import MidiError, Reason, on_grid, read_midi
from replication.piece import NOTE, PAPER_GRID, Beats, Piece
from replication.synthetic import BEAT, compose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replication.piece import Grid

# Part of every cache key: raise it when a source here comes to read the same content as other notes.
EDITION = 1


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A file that gave no piece, and why."""

    id: str
    reason: Reason


@dataclass(frozen=True)
class Music21Bach:
    """The Bach scores in MusicXML, most of them chorales, that ship with music21."""

    def key(self) -> str:
        """Return a hash of what the scores are read from and with."""
        return digest(len(self._scores()), version("music21"), version("muspy"))

    def pieces(self, grid: Grid) -> Iterator[Piece | Dropped]:
        """Yield every score in the order of its name, all voices merged, at velocity 64."""
        steps_per_beat = _steps_per_beat(grid)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from muspy import read

        for path in self._scores():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    music = read(path)
            except Exception:  # noqa: BLE001 - muspy's readers raise whatever the file leads them into
                yield Dropped(id=path.stem, reason=Reason.UNREADABLE)
                continue
            notes = [note for track in music.tracks for note in track.notes]
            columns = np.array([(note.time, note.end, note.pitch, note.velocity) for note in notes]).reshape(-1, 4).T
            yield Piece(
                notes=on_grid(*columns, steps=steps_per_beat / music.resolution),
                id=path.stem,
                group=path.stem,
                grid=grid,
            )

    def _scores(self) -> list[Path]:
        spec = importlib.util.find_spec("music21")  # which does not import it: that takes seconds
        if spec is None or spec.origin is None:
            raise UserError("The Bach scores come with music21, which is missing: pip install 'etude[suite]'.")
        files = (Path(spec.origin).parent / "corpus" / "bach").rglob("*")
        return sorted(file for file in files if file.suffix in {".mxl", ".xml", ".musicxml"})


@dataclass(frozen=True)
class Folder:
    """The MIDI files of a folder with its subfolders, or of an archive."""

    path: Path

    def key(self) -> str:
        """Return a hash of the content and of what reads it; the path is not part of it."""
        return digest(content_key(self.path), version("symusic"))

    def pieces(self, grid: Grid) -> Iterator[Piece | Dropped]:
        """Yield every file, as a piece or as dropped, in the order of its relative path, which is its id.

        Raises:
            UserError: there is no MIDI file, or none that can be read.
        """
        found = {id_: self._read(id_, content, grid) for id_, content in midi_files(self.path)}
        if not found:
            raise UserError(f"{self.path} holds no MIDI files: give one with .mid or .midi files.")
        if not any(isinstance(item, Piece) for item in found.values()):
            reasons = Counter(item.reason for item in found.values() if isinstance(item, Dropped))
            counts = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
            raise UserError(f"{self.path} holds no MIDI file that gives a piece ({counts}): give one with music.")
        for id_ in sorted(found):
            yield found[id_]

    def _read(self, id_: str, content: bytes | Reason, grid: Grid) -> Piece | Dropped:
        if isinstance(content, Reason):
            return Dropped(id=id_, reason=content)
        try:
            return read_midi(content, id=id_, group=id_, grid=grid)
        except MidiError as error:
            return Dropped(id=id_, reason=error.reason)


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Piano music by rule: needs neither files nor parsers.

    Attributes:
        count: how many pieces; the first ones do not depend on it.
        seed: of the whole corpus.
    """

    count: int
    seed: int

    def key(self) -> str:
        """Return a hash of the two numbers that determine the pieces."""
        return digest(self)

    def pieces(self, grid: Grid) -> Iterator[Piece | Dropped]:
        """Yield the pieces in order."""
        steps = _steps_per_beat(grid) / BEAT
        for index in range(self.count):
            notes = compose(np.random.default_rng([self.seed, index]))
            end = notes["onset"] + notes["duration"]
            name = f"{index:04d}"
            notes = on_grid(notes["onset"], end, notes["pitch"], notes["velocity"], steps=steps)
            yield Piece(notes=notes, id=name, group=name, grid=grid)


def _steps_per_beat(grid: Grid) -> int:
    if not isinstance(grid, Beats):
        raise UserError(f"Scores have beats and no seconds: read them on a grid of Beats, not {grid}.")
    return grid.steps_per_beat


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Pieces and where they come from.

    Attributes:
        name: what tables call it.
        title: what it is, in words.
        licence: what one may do with the notes, as far as is known.
        citation: whom to thank.
        source: where the pieces are read from.
        grid: the length of a time step.
    """

    name: str
    title: str
    licence: str
    citation: str
    source: Music21Bach | Folder | Synthetic
    grid: Grid = PAPER_GRID


CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="bach",
            title="410 scores by J. S. Bach, most of them four-part chorales, from the corpus of music21",
            licence="works in the public domain; encodings distributed with music21, some not for commercial use",
            citation="M. S. Cuthbert and C. Ariza, music21: a toolkit for computer-aided musicology, ISMIR 2010",
            source=Music21Bach(),
        ),
        Corpus(
            name="synthetic",
            title="40 piano pieces by rule, for tests and smoke runs",
            licence="Apache-2.0",
            citation="made here, by replication/synthetic.py",
            source=Synthetic(count=40, seed=0),
        ),
    )
}


def folder_corpus(path: Path) -> Corpus:
    """Return the corpus of the MIDI files in a folder or an archive.

    Raises:
        UserError: `path` does not exist, or is neither.
    """
    check_container(path)
    return Corpus(
        name=path.resolve().name,
        title=f"MIDI files of {path.resolve().name}",
        licence="not stated",
        citation="not stated",
        source=Folder(path),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A corpus that was read.

    Attributes:
        pieces: in a fixed order, that of the source.
        dropped: the files that gave no piece.
        digest: a hash of the pieces: ids, groups, grids and every note.
    """

    pieces: tuple[Piece, ...]
    dropped: tuple[Dropped, ...]
    digest: str


def load(corpus: Corpus, cache: Path) -> Loaded:
    """Read a corpus, or what an earlier call kept in the folder `cache` of the same content.

    Raises:
        UserError: the source cannot be read.
    """
    file = cache / f"{digest(EDITION, type(corpus.source).__name__, corpus.source.key(), corpus.grid)}.npz"
    if file.exists():
        try:
            return _restore(file, corpus.grid)
        except Exception as error:  # noqa: BLE001 - flipped bits surface anywhere between zip, zlib, npy and JSON
            print(f"warning: {file} is damaged ({error}); reading {corpus.name} again", file=sys.stderr)
    found = list(corpus.source.pieces(corpus.grid))
    pieces = tuple(item for item in found if isinstance(item, Piece))
    dropped = tuple(item for item in found if isinstance(item, Dropped))
    loaded = Loaded(pieces=pieces, dropped=dropped, digest=_digest(pieces))
    _keep(loaded, file)
    return loaded


def _digest(pieces: tuple[Piece, ...]) -> str:
    content = hashlib.sha256(
        digest(*((piece.id, piece.group, piece.grid, len(piece.notes)) for piece in pieces)).encode()
    )
    for piece in pieces:
        content.update(piece.notes.tobytes())
    return content.hexdigest()


def _keep(loaded: Loaded, file: Path) -> None:
    # JSON, for it keeps even the file names that are no valid Unicode, and arrays of strings would need pickle.
    about = {
        "pieces": [(piece.id, piece.group, len(piece.notes)) for piece in loaded.pieces],
        "dropped": [(item.id, item.reason) for item in loaded.dropped],
        "digest": loaded.digest,
    }
    notes = np.concatenate([np.empty(0, NOTE), *(piece.notes for piece in loaded.pieces)])
    with atomic(file) as draft:
        np.savez_compressed(draft, notes=notes, about=np.frombuffer(json.dumps(about).encode(), np.uint8))


def _restore(file: Path, grid: Grid) -> Loaded:
    # Opened here, for numpy leaves a file open that it finds damaged.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        notes, about = arrays["notes"], json.loads(arrays["about"].tobytes())
    parts = np.split(notes, np.cumsum([length for _, _, length in about["pieces"]], dtype=int))[:-1]
    pieces = tuple(
        Piece(notes=part, id=id_, group=group, grid=grid)
        for part, (id_, group, _) in zip(parts, about["pieces"], strict=True)
    )
    if _digest(pieces) != about["digest"]:
        raise ValueError("its notes do not match their digest")
    dropped = tuple(Dropped(id=id_, reason=Reason(reason)) for id_, reason in about["dropped"])
    return Loaded(pieces=pieces, dropped=dropped, digest=about["digest"])
