"""Sources of a corpus. Each yields pieces, or files that `replication.corpora.reading` turns into pieces."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from replication.corpora.archives import content_key, midi_files, other_files
from replication.midi.piece import Beats, Piece
from replication.midi.smf import Reason, on_grid
from replication.midi.synthetic import BEAT, compose
from replication.util.errors import UserError
from replication.util.files import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replication.midi.piece import TimeGrid

# The id of a file with its content, or with the reason why that cannot be read; or a piece.
Item = tuple[str, bytes | Reason] | Piece


class Source(Protocol):
    """The source of a corpus; a frozen dataclass."""

    def key(self, cache: Path) -> str:
        """Return a hash of the content and of the parser's version; the folder `cache` may keep slow hashes."""

    def items(self, grid: TimeGrid) -> Iterator[Item]:
        """Yield pieces on the grid, or files, always in the same order."""


@dataclass(frozen=True)
class Music21Bach:
    """The Bach scores in MusicXML, most of them chorales, that come with music21."""

    def key(self, cache: Path) -> str:  # noqa: ARG002 - part of the protocol
        """Return a hash of the number of scores and the versions of the libraries that hold and read them."""
        return digest(len(self._scores()), version("music21"), version("muspy"))

    def items(self, grid: TimeGrid) -> Iterator[Item]:
        """Yield every score in the order of its name, all voices merged, at velocity 64.

        The group of a chorale is its title in music21's list of chorales, so that settings of one hymn are one song.
        """
        steps_per_beat = _steps_per_beat(grid)
        songs = _chorale_titles()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from muspy import read

        for path in self._scores():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    music = read(path)
            except Exception:  # noqa: BLE001 - mido raises exceptions of all kinds
                yield path.stem, Reason.UNREADABLE
                continue
            notes = [note for track in music.tracks for note in track.notes]
            columns = np.array([(note.time, note.end, note.pitch, note.velocity) for note in notes]).reshape(-1, 4).T
            yield Piece(
                notes=on_grid(*columns, steps=steps_per_beat / music.resolution),
                id=path.stem,
                group=songs.get(path.stem) or songs.get(_movement(path.stem)) or _movement(path.stem),
                grid=grid,
            )

    def _scores(self) -> list[Path]:
        spec = importlib.util.find_spec("music21")  # without importing it, which takes seconds
        if spec is None or spec.origin is None:
            raise UserError("The Bach scores come with music21, which is missing: pip install 'etude[suite]'.")
        files = (Path(spec.origin).parent / "corpus" / "bach").rglob("*")
        return sorted(file for file in files if file.suffix in {".mxl", ".xml", ".musicxml"})


@dataclass(frozen=True)
class Folder:
    """The MIDI files of a folder with its subfolders, or of an archive.

    Attributes:
        path: Folder or archive.
        members: Regular expression with one group that matches the names of the files of the corpus; the group is the
            id. None for all files.
    """

    path: Path
    members: str | None = None

    def key(self, cache: Path) -> str:
        """Return a hash of the content and of the parser's version, but not of the path."""
        return digest(content_key(self.path, cache), self.members, version("symusic"))

    def items(self, grid: TimeGrid) -> Iterator[Item]:  # noqa: ARG002 - part of the protocol
        """Yield every file; see `replication.corpora.archives.midi_files`."""
        return iter(midi_files(self.path, self._pattern()))

    def others(self, cache: Path) -> dict[str, int]:
        """Count by kind what is not read; see `replication.corpora.archives.other_files`."""
        return other_files(self.path, cache, self._pattern())

    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile(self.members) if self.members else None


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Piano music by rule, without files and parsers.

    Attributes:
        count: Number of pieces. The first pieces do not depend on it.
        seed: Seed of the whole corpus.
    """

    count: int
    seed: int

    def key(self, cache: Path) -> str:  # noqa: ARG002 - part of the protocol
        """Return a hash of the two numbers that determine the pieces."""
        return digest(self)

    def items(self, grid: TimeGrid) -> Iterator[Item]:
        """Yield the pieces in order."""
        steps = _steps_per_beat(grid) / BEAT
        for index in range(self.count):
            notes = compose(np.random.default_rng([self.seed, index]))
            end = notes["onset"] + notes["duration"]
            name = f"{index:04d}"
            notes = on_grid(notes["onset"], end, notes["pitch"], notes["velocity"], steps=steps)
            yield Piece(notes=notes, id=name, group=name, grid=grid)


def _chorale_titles() -> dict[str, str]:
    """Return the titles of Bach's chorales, without case, accents and punctuation, by file name and by movement."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21.corpus.chorales import ChoraleListRKBWV

    titles: dict[str, str] = {}
    for number, row in ChoraleListRKBWV().byBWV.items():  # type: ignore[no-untyped-call]  # partly typed
        title = "".join(filter(str.isalnum, unicodedata.normalize("NFKD", row["title"].casefold())))
        titles[f"bwv{number}"] = title
        titles.setdefault(_movement(f"bwv{number}"), title)
    return titles


def _movement(name: str) -> str:
    """Return a file name without the suffix that tells versions of a movement apart: bwv248.9-s is of bwv248.9."""
    return name.partition("-")[0]


def _steps_per_beat(grid: TimeGrid) -> int:
    if not isinstance(grid, Beats):
        raise UserError(f"Scores have beats and no seconds: read them on a grid of Beats, not {grid}.")
    return grid.steps_per_beat
