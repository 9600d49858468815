"""Prepare the windows of a corpus: remove duplicates, split by family, cut, remove copies, and cache on disk."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.corpora.reading import load
from replication.corpora.sandbox import read_guarded
from replication.tokens.protocol import EDITION as TOKENS_EDITION
from replication.util.errors import UserError
from replication.util.files import DamagedError, atomic, digest, read_json, sha256, undamaged, write_json
from replication.util.locks import locked
from replication.windows import duplicates
from replication.windows.cutting import cut
from replication.windows.splits import SHARES, SPLITS, Leak, Spans, assign_splits, find_families, measure_leak

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.corpora.corpus import Corpus
    from replication.corpora.reading import Loaded
    from replication.corpora.sandbox import Batches
    from replication.tokens.protocol import Encoding
    from replication.windows.cutting import Cutting
    from replication.windows.splits import Families

# Part of every cache key. Raise it when a change gives other windows, counts or leaks for the same pieces.
EDITION = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """The windows of one split.

    Attributes:
        tokens: (n, L) uint16 token ids, in a memory-mapped file.
        groups: (n,) int32, the family of the piece of each window; the same numbers in every encoding.
    """

    tokens: NDArray[np.uint16]
    groups: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """The windows of a corpus in one encoding.

    Attributes:
        folder: Folder of the files.
        splits: Windows by the names in `SPLITS`. No family is in two splits.
        counts: Numbers of files, dropped files, duplicates, pieces too short for a window, used pieces, their families
            and notes, and copied windows: training windows omitted because they contain a run of another split.
        leaks: Overlap of the test split with the training split if the pieces without duplicates were assigned one by
            one ("pieces"), with assignment by family ("families"), and without the copied windows ("cleaned").
        dropped: Reason for each file that was rejected.
        digest: Hash of the content of all splits.
    """

    folder: Path
    splits: dict[str, Windows]
    counts: dict[str, int]
    leaks: dict[str, Leak]
    dropped: dict[str, str]
    digest: str

    @property
    def songs(self) -> dict[str, int]:
        """Number of families of each split."""
        return {name: len(np.unique(part.groups)) for name, part in self.splits.items()}


def prepare(
    corpus: Corpus, encoding: Encoding, cutting: Cutting, *, cache: Path, batches: Batches = read_guarded
) -> Dataset:
    """Return the windows of a corpus; prepare them unless they are in the cache.

    An interrupted call is resumed by the next one.

    Args:
        corpus: Row of the corpus.
        encoding: Encoding of the windows.
        cutting: Options for cutting pieces into windows.
        cache: Folder for prepared data.
        batches: Function that reads the files; see `replication.corpora.reading.load`.

    Raises:
        UserError: If the corpus cannot be read, or is too small for a window in every split.
    """
    loaded = load(corpus, cache, batches=batches)
    dropped = {item.id: str(item.reason) for item in loaded.dropped}
    tools = {package: metadata.version(package) for package in encoding.packages}
    editions = (EDITION, duplicates.EDITION, TOKENS_EDITION)
    key = digest(editions, loaded.digest, dropped, encoding, tools, cutting, SHARES)
    folder = cache / f"windows-{key[:32]}"
    with locked(folder):
        if (folder / "about.json").exists():
            try:
                with undamaged():
                    return _open_checked(folder)
            except DamagedError as error:
                print(f"warning: {folder} is damaged ({error}); cutting the windows again", file=sys.stderr)
                shutil.rmtree(folder)
        families = find_families(loaded)
        long_enough = families.unique & (loaded.lengths >= cutting.length // 4)
        splits = np.where(families.unique, assign_splits(loaded.ids, families.family, long_enough), -1).astype(np.int8)
        parts = _cut(loaded, splits, encoding, cutting, folder / "parts")
        _select(corpus, loaded, families, splits, parts, folder, dropped=dropped, length=cutting.length)
        return _open_checked(folder)


def open_windows(folder: Path) -> Dataset:
    """Open the windows that `prepare` has written to a folder."""
    about = read_json(folder / "about.json")
    splits = {
        # Copy on write: torch needs writable arrays, and writes must not reach the file.
        name: Windows(
            tokens=np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False),
            groups=np.load(folder / f"{name}-groups.npy", allow_pickle=False),
        )
        for name in SPLITS
    }
    return Dataset(
        folder=folder,
        splits=splits,
        counts=about["counts"],
        leaks={name: Leak(**values) for name, values in about["leaks"].items()},
        dropped=about["dropped"],
        digest=about["digest"],
    )


def _open_checked(folder: Path) -> Dataset:
    """Open prepared windows after comparing all files with their checksums.

    Raises:
        ValueError: If a file does not match.
    """
    about = read_json(folder / "about.json")
    for name, checksum in about["files"].items():
        if sha256(folder / name) != checksum:
            raise ValueError(f"{name} does not match its checksum")
    shutil.rmtree(folder / "parts", ignore_errors=True)
    return open_windows(folder)


def _cut(loaded: Loaded, splits: NDArray[np.int8], encoding: Encoding, cutting: Cutting, folder: Path) -> list[Path]:
    """Write the windows of all pieces block by block, except blocks that exist already; return the files."""
    from tqdm import tqdm

    paths: list[Path] = []
    with tqdm(total=loaded.notes, desc="cutting", unit=" notes", unit_scale=True, disable=None, leave=False) as bar:
        for notes, pieces in loaded.blocks():
            paths.append(folder / f"{len(paths):06d}.npz")
            if not paths[-1].exists():
                windows = list(_windows(notes, pieces, splits, encoding, cutting))
                tokens = np.concatenate([np.empty((0, cutting.length), np.uint16), *(part[0] for part in windows)])
                spans = np.concatenate([np.empty((0, 3), np.int32), *(part[1] for part in windows)])
                with atomic(paths[-1]) as draft:
                    np.savez(draft, tokens=tokens, spans=spans)
            bar.update(len(notes))
    return paths


def _windows(
    notes: NDArray[Any], pieces: NDArray[np.int32], splits: NDArray[np.int8], encoding: Encoding, cutting: Cutting
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.int32]]]:
    """Yield the windows of each piece, (k, L), and their origins, (k, 3): piece, first step, step after the last."""
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    for number, own in zip(pieces[starts].tolist(), np.split(notes, starts[1:]), strict=True):
        if splits[number] < 0:
            continue
        for tokens, begins, ends in cut(own, encoding, cutting, train=splits[number] == SPLITS.index("train")):
            yield tokens, np.stack((np.full_like(begins, number), begins, ends), axis=1).astype(np.int32)


def _select(  # noqa: PLR0917 - a step of `prepare`
    corpus: Corpus,
    loaded: Loaded,
    families: Families,
    splits: NDArray[np.int8],
    parts: list[Path],
    folder: Path,
    *,
    dropped: dict[str, str],
    length: int,
) -> None:
    """Write a file of windows per split, the training split without copied windows, and about.json."""
    spans = np.concatenate([_array(part, "spans") for part in parts]) if parts else np.empty((0, 3), np.int32)
    windows = Spans(pieces=spans[:, 0], begins=spans[:, 1], ends=spans[:, 2])
    of_window = splits[windows.pieces]
    trained = of_window == SPLITS.index("train")
    copied = trained & _copied(loaded, splits, windows)
    used = np.unique(windows.pieces)
    chosen = {name: (of_window == number) & ~copied for number, name in enumerate(SPLITS)}
    if not all(mask.any() for mask in chosen.values()):
        shutil.rmtree(folder, ignore_errors=True)
        count = len(np.unique(families.family[used]))
        raise UserError(
            f"corpus {corpus.name} is too small: only {len(used)} of its {int(families.unique.sum())} different pieces"
            f" fill a window of {length} tokens, in {count} families, and each split needs a family of its own; add"
            " music or choose a scale with shorter windows"
        )
    files: dict[str, str] = {}
    for name, mask in chosen.items():
        files |= _write(folder, name, parts, mask, length=length, groups=families.family[windows.pieces[mask]])
    counts = {
        "files": len(loaded.ids) + len(dropped),
        "dropped": len(dropped),
        "duplicates": int(len(loaded.ids) - families.unique.sum()),
        "short": int(families.unique.sum() - len(used)),
        "pieces": len(used),
        "families": len(np.unique(families.family[used])),
        "notes": int(loaded.lengths[used].sum()),
        "copied": int(copied.sum()),
    }
    write_json(
        folder / "about.json",
        {
            "counts": counts,
            "leaks": _leaks(loaded, families, splits, windows, trained & ~copied),
            "dropped": dropped,
            "files": files,
            "digest": digest(files),
        },
    )


def _leaks(
    loaded: Loaded, families: Families, splits: NDArray[np.int8], windows: Spans, trained: NDArray[np.bool_]
) -> dict[str, dict[str, float]]:
    """Return the leaks of a `Dataset`."""
    kinds = (duplicates.onset_runs, duplicates.note_runs)
    runs, notes = (duplicates.collect_ngrams(loaded.blocks(), kind, notes=loaded.notes) for kind in kinds)
    own = np.arange(len(splits), dtype=np.int32)  # each piece as a family of its own
    alone = np.where(families.unique, assign_splits(loaded.ids, own, families.unique), -1).astype(np.int8)
    return {
        "pieces": asdict(measure_leak(windows, runs, notes, alone)),
        "families": asdict(measure_leak(windows, runs, notes, splits)),
        "cleaned": asdict(measure_leak(windows, runs, notes, splits, trained)),
    }


def _copied(loaded: Loaded, splits: NDArray[np.int8], windows: Spans) -> NDArray[np.bool_]:
    """Return for each window whether a run begins in it that a training piece shares with another split.

    All runs are compared, not a sample: those of the smaller splits fit into memory, and those of training are read
    block by block.
    """
    held, pieces, onsets = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for block in loaded.blocks():
        runs = duplicates.onset_runs(*block)
        held.append(runs.hashes[splits[runs.pieces] > 0])
    others = duplicates.sorted_unique(np.concatenate(held))
    for block in loaded.blocks():
        runs = duplicates.onset_runs(*block)
        shared = duplicates.contained(runs.hashes, others) & (splits[runs.pieces] == SPLITS.index("train"))
        pieces.append(runs.pieces[shared])
        onsets.append(runs.onsets[shared])
    return windows.containing(np.concatenate(pieces), np.concatenate(onsets))


def _write(
    folder: Path, name: str, parts: list[Path], mask: NDArray[np.bool_], *, length: int, groups: NDArray[np.int32]
) -> dict[str, str]:
    """Write the selected windows of all parts one after another; return the checksums of the files by name."""
    with atomic(folder / f"{name}.npy") as draft, draft.open("wb") as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": (int(mask.sum()), length)}
        np.lib.format.write_array_header_1_0(file, header)
        start = 0
        for part in parts:
            tokens = _array(part, "tokens")
            file.write(tokens[mask[start : start + len(tokens)]].tobytes())
            start += len(tokens)
    with atomic(folder / f"{name}-groups.npy") as draft:
        np.save(draft, groups)
    return {file: sha256(folder / file) for file in (f"{name}.npy", f"{name}-groups.npy")}


def _array(path: Path, name: str) -> NDArray[Any]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        array: NDArray[Any] = arrays[name]
        return array
