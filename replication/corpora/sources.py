"""Sources of a corpus: each yields whole pieces, or files that `replication.corpora.reading` turns into pieces."""

from __future__ import annotations

import importlib.util
import re
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from replication.corpora.archives import content_key, midi_files
from replication.midi.piece import Beats, Piece
from replication.midi.smf import Reason, on_grid
from replication.midi.synthetic import BEAT, compose
from replication.util.errors import UserError
from replication.util.files import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replication.midi.piece import TimeGrid

# A file by its id, with its content or why it has none; or what has been read already.
Item = tuple[str, bytes | Reason] | Piece


class Source(Protocol):
    """What a corpus is read from: a frozen dataclass."""

    def key(self, cache: Path) -> str:
        """Return a hash of the content and of what reads it; slow hashes may be noted in the folder `cache`."""

    def items(self, grid: TimeGrid) -> Iterator[Item]:
        """Yield pieces on the grid, or files, always in the same order."""


@dataclass(frozen=True)
class Music21Bach:
    """The Bach scores in MusicXML, most of them chorales, that ship with music21."""

    def key(self, cache: Path) -> str:  # noqa: ARG002 - as the other sources
        """Return a hash of what the scores are read from and with."""
        return digest(len(self._scores()), version("music21"), version("muspy"))

    def items(self, grid: TimeGrid) -> Iterator[Item]:
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
            except Exception:  # noqa: BLE001 - mido raises of all kinds
                yield path.stem, Reason.UNREADABLE
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
    """The MIDI files of a folder with its subfolders, or of an archive.

    Attributes:
        path: where they are.
        members: a regular expression with one group, of the files that belong and the ids they get; None for all.
    """

    path: Path
    members: str | None = None

    def key(self, cache: Path) -> str:
        """Return a hash of the content and of what reads it; the path is not part of it."""
        return digest(content_key(self.path, cache), self.members, version("symusic"))

    def items(self, grid: TimeGrid) -> Iterator[Item]:  # noqa: ARG002 - as the other sources
        """Yield every file; see `replication.corpora.archives.midi_files`."""
        return iter(midi_files(self.path, members=re.compile(self.members) if self.members else None))


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """Piano music by rule: needs neither files nor parsers.

    Attributes:
        count: how many pieces; the first ones do not depend on it.
        seed: of the whole corpus.
    """

    count: int
    seed: int

    def key(self, cache: Path) -> str:  # noqa: ARG002 - as the other sources
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


def _steps_per_beat(grid: TimeGrid) -> int:
    if not isinstance(grid, Beats):
        raise UserError(f"Scores have beats and no seconds: read them on a grid of Beats, not {grid}.")
    return grid.steps_per_beat
