"""Read a corpus: each file gives a piece or is dropped for a stated reason, and the notes are written to disk."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from replication.corpora.archives import MIDI_ENDINGS
from replication.corpora.catalogue import Published
from replication.corpora.sandbox import Found, check_main_guard, read_guarded
from replication.corpora.sources import Folder
from replication.midi.piece import NOTE, Lost, Piece
from replication.midi.smf import Reason, read_midi
from replication.util.errors import UserError
from replication.util.files import DamagedError, atomic, digest, read_json, sha256, undamaged, write_json
from replication.util.locks import locked
from replication.util.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.corpora.corpus import Corpus
    from replication.corpora.sandbox import Batch, Batches, File
    from replication.corpora.sources import Item, Source
    from replication.midi.piece import TimeGrid
    from replication.midi.smf import Reading

# Part of every cache key. Raise it when the same content is read as different notes.
EDITION = 4
BATCH = 256  # files that are read together; an interruption loses a few batches
BLOCK = 1_000_000  # notes in memory at a time when iterating over a corpus


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A file that gave no piece, and the reason."""

    id: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A corpus that was read; its notes stay on disk.

    Attributes:
        folder: Folder of the notes.
        grid: Time grid of all pieces.
        ids: Ids of the pieces, sorted.
        groups: Song of each piece, as in `replication.midi.piece.Piece`.
        lengths: (n,) number of notes of each piece.
        seconds: (n,) playing time of each piece, 0 where it is unknown.
        lost: (n, 2) numbers of notes whose note-offs are missing in the files, as in `replication.midi.piece.Lost`.
        dropped: Files that gave no piece, sorted.
        digest: Hash of the pieces: ids, songs, grid and every note.
    """

    folder: Path
    grid: TimeGrid
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    lengths: NDArray[np.int64]
    seconds: NDArray[np.float64]
    lost: NDArray[np.int64]
    dropped: tuple[Dropped, ...]
    digest: str

    @property
    def pieces(self) -> Sequence[Piece]:
        """The pieces. Each access reads a piece from disk."""
        return _Pieces(self)

    @property
    def notes(self) -> int:
        """The number of notes."""
        return int(self.lengths.sum())

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[np.int32]]]:
        """Yield all notes and the index of the piece of each, as blocks of whole pieces and about `BLOCK` notes."""
        ends = np.cumsum(self.lengths)
        first = start = 0
        while first < len(ends):
            last = max(first + 1, int(np.searchsorted(ends, start + BLOCK, side="right")))
            end = int(ends[last - 1])
            numbers = np.repeat(np.arange(first, last, dtype=np.int32), self.lengths[first:last])
            yield self.between(start, end), numbers
            first, start = last, end

    def between(self, start: int, end: int) -> NDArray[Any]:
        """Return a range of all notes, counted from the first piece."""
        return np.fromfile(self.folder / "notes", NOTE, count=end - start, offset=start * NOTE.itemsize)


class _Pieces(Sequence[Piece]):
    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self._ends = loaded, np.cumsum(loaded.lengths)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> list[Piece]: ...
    def __getitem__(self, index: int | slice) -> Piece | list[Piece]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number, loaded = range(len(self))[index], self._loaded
        end = int(self._ends[number])
        return Piece(
            notes=loaded.between(end - int(loaded.lengths[number]), end),
            id=loaded.ids[number],
            group=loaded.groups[number],
            grid=loaded.grid,
            seconds=float(loaded.seconds[number]),
            lost=Lost(*loaded.lost[number].tolist()),
        )


def load(corpus: Corpus, cache: Path, *, batches: Batches = read_guarded) -> Loaded:
    """Read a corpus, or load it from the folder `cache` if an earlier call read the same content.

    Resumes after an interruption. `batches` reads the files, on this machine or on others.

    Raises:
        UserError: If the source cannot be read, or if no file gives a piece.
    """
    source, reading = corpus.source, corpus.reading
    if isinstance(source, Published):
        raise TypeError(f"{corpus.name} must be located first: see replication.corpora.corpus.located")
    check_main_guard()  # before the lock, which the parent process may hold
    folder = cache / f"pieces-{digest(EDITION, type(source).__name__, source.key(cache), reading)[:32]}"
    with locked(folder):
        if (folder / "about.json").exists():
            try:
                with undamaged():
                    return _restore(folder, reading.grid)
            except DamagedError as error:
                print(f"warning: {folder} is damaged ({error}); reading {corpus.name} again", file=sys.stderr)
                shutil.rmtree(folder)
        try:
            paths = _read(source.items(reading.grid), reading, folder / "shards", batches, title=corpus.name)
            _assemble(source, reading.grid, paths, folder)
        except UserError:  # the shards are useless
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return _restore(folder, reading.grid)


def _read(items: Iterator[Item], reading: Reading, shards: Path, batches: Batches, *, title: str) -> list[Path]:
    """Read the items into shards, except those that exist already; return the paths of all shards."""
    from tqdm import tqdm

    paths: list[Path] = []
    unread: deque[tuple[Path, list[Item]]] = deque()

    def files() -> Iterator[list[File]]:
        while batch := list(islice(items, BATCH)):
            paths.append(shards / f"{len(paths):06d}.npz")
            bar.update(len(batch))
            if not paths[-1].exists():
                unread.append((paths[-1], batch))
                yield [(item[0], item[1]) for item in batch if isinstance(item, tuple) and isinstance(item[1], bytes)]

    with tqdm(desc=f"reading {title}", unit=" files", disable=None, leave=False) as bar:
        for result in batches(files(), partial(_read_file, reading=reading)):
            _write_shard(*unread.popleft(), result)
    return paths


def _read_file(name: str, content: bytes, *, reading: Reading) -> Piece:
    return read_midi(content, id=name, group=name, reading=reading)


def _write_shard(path: Path, items: list[Item], read: Batch) -> None:
    """Write the result of a batch of items: pieces read from files, pieces of the source, and dropped files."""
    found = iter(read.found)
    notes, pieces, dropped, start = [np.empty(0, NOTE)], [], [], 0
    for item in items:
        if isinstance(item, Piece):
            notes.append(item.notes)
            pieces.append((item.id, item.group, *Found.of(item)))
            continue
        name, content = item
        result = content if isinstance(content, Reason) else next(found)
        if isinstance(result, Reason):
            dropped.append((name, result))
        else:
            notes.append(read.notes[start : start + result.notes])
            pieces.append((name, name, *result))  # a file is a song of its own
            start += result.notes
    # JSON keeps file names that are not valid Unicode; arrays of strings would need pickle.
    about = json.dumps({"pieces": pieces, "dropped": dropped}).encode()
    with atomic(path) as draft:
        np.savez(draft, notes=np.concatenate(notes), about=np.frombuffer(about, np.uint8))


def _assemble(source: Source, grid: TimeGrid, shards: list[Path], folder: Path) -> None:
    """Write all notes to one file, in the order of the pieces' ids, and then what they are."""
    pieces: list[tuple[str, str, int, float, int, int]] = []
    dropped: list[tuple[str, str]] = []
    for shard in shards:
        with shard.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
        pieces += about["pieces"]
        dropped += about["dropped"]
    if isinstance(source, Folder) and not pieces:
        if not dropped:
            others = listed(source.others(folder.parent))
            raise UserError(
                f"{source.path} holds no MIDI files{others and f' ({others})'}: give one with {', '.join(MIDI_ENDINGS)}"
                " files; inner archives and linked folders are not opened."
            )
        counts = ", ".join(f"{n} {reason}" for reason, n in Counter(reason for _, reason in dropped).most_common())
        raise UserError(f"{source.path} holds no MIDI file that gives a piece ({counts}): give one with music.")
    order = sorted(range(len(pieces)), key=lambda number: pieces[number][0])
    lengths = np.array([pieces[number][2] for number in order], np.int64)
    starts = np.empty(len(pieces), np.int64)
    starts[order] = np.cumsum(lengths) - lengths
    with atomic(folder / "notes") as draft:
        with draft.open("wb") as file:
            number = 0
            for shard in shards:
                with shard.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                    notes, about = arrays["notes"], json.loads(arrays["about"].tobytes())
                ends = np.cumsum([length for _, _, length, *_ in about["pieces"]], dtype=np.int64)
                for part in np.split(notes, ends)[:-1]:
                    file.seek(int(starts[number]) * NOTE.itemsize)
                    file.write(part.tobytes())
                    number += 1
        checksum = sha256(draft)
    ordered = [pieces[number] for number in order]
    write_json(
        folder / "about.json",
        {
            "ids": [name for name, *_ in ordered],
            "groups": [group for _, group, *_ in ordered],
            "lengths": lengths.tolist(),
            "seconds": [seconds for _, _, _, seconds, *_ in ordered],
            "lost": [lost for _, _, _, _, *lost in ordered],
            "dropped": sorted(dropped),
            "notes": checksum,
            "digest": digest(grid, [(name, group, length) for name, group, length, *_ in ordered], checksum),
        },
    )


def _restore(folder: Path, grid: TimeGrid) -> Loaded:
    about = read_json(folder / "about.json")
    if sha256(folder / "notes") != about["notes"]:
        raise ValueError("its notes do not match their checksum")
    shutil.rmtree(folder / "shards", ignore_errors=True)
    return Loaded(
        folder=folder,
        grid=grid,
        ids=tuple(about["ids"]),
        groups=tuple(about["groups"]),
        lengths=np.array(about["lengths"], np.int64),
        seconds=np.array(about["seconds"], np.float64),
        lost=np.array(about["lost"], np.int64).reshape(-1, 2),
        dropped=tuple(Dropped(id=name, reason=Reason(reason)) for name, reason in about["dropped"]),
        digest=about["digest"],
    )
