"""From pieces to windows: deduplicated, split by song, cached by content."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.corpora import Corpus, load
from replication.errors import UserError
from replication.files import atomic, digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from replication.piece import Piece
    from replication.tokens import Encoding

# The test split is large because the distances to it, and the noise floor between its halves, need pieces.
SHARES = {"train": 0.75, "validation": 0.05, "test": 0.20}
# Part of every cache key: raise it when the same pieces come to give other windows.
EDITION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """One split.

    Attributes:
        tokens: (n, L) uint16 token ids.
        groups: (n,) the song that each window was cut from.
    """

    tokens: NDArray[np.uint16]
    groups: NDArray[np.str_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """The windows of a corpus in an encoding.

    Attributes:
        splits: by the names of `SHARES`; no song is in two of them.
        counts: what became of the corpus: files, dropped, duplicates, short (for a window), pieces, notes.
        dropped: the files that gave no piece, and why.
        digest: names the content of all splits.
    """

    splits: dict[str, Windows]
    counts: dict[str, int]
    dropped: dict[str, str]
    digest: str


def prepare(corpus: Corpus, encoding: Encoding, *, length: int, cache: Path) -> Dataset:
    """Return the windows of a corpus, from the cache if they are there.

    Raises:
        UserError: if the corpus is too small for a window in every split.
    """
    loaded = load(corpus, cache)
    dropped = {item.id: str(item.reason) for item in loaded.dropped}
    key = digest(EDITION, loaded.digest, dropped, encoding, length, SHARES)
    path = cache / f"windows-{key[:32]}.npz"
    if path.exists() and (cached := _read(path)):
        return cached
    pieces = deduplicate(loaded.pieces)
    cut = {piece.id: _cut(encoding, piece, length) for piece in pieces}
    usable = [piece for piece in pieces if cut[piece.id]]
    if len({piece.group for piece in usable}) < len(SHARES):
        raise UserError(
            f"corpus {corpus.name} is too small: only {len(usable)} of its {len(pieces)} different pieces fill a window"
            f" of {length} tokens, and each split needs one; add music or choose a scale with shorter windows"
        )
    splits = {}
    for name, groups in split([piece.group for piece in usable]).items():
        windows = [(window, piece.group) for piece in usable if piece.group in groups for window in cut[piece.id]]
        tokens, songs = zip(*windows, strict=True)
        splits[name] = Windows(tokens=np.stack(tokens), groups=np.array(songs))
    counts = {
        "files": len(loaded.pieces) + len(loaded.dropped),
        "dropped": len(loaded.dropped),
        "duplicates": len(loaded.pieces) - len(pieces),
        "short": len(pieces) - len(usable),
        "pieces": len(usable),
        "notes": sum(len(piece.notes) for piece in usable),
    }
    dataset = Dataset(splits=splits, counts=counts, dropped=dropped, digest=_content_digest(splits))
    _write(path, dataset)
    return dataset


def deduplicate(pieces: Sequence[Piece]) -> list[Piece]:
    """Keep the first of all pieces that are equal up to transposition, loudness and starting time."""
    seen: set[bytes] = set()
    kept = []
    for piece in pieces:
        notes = piece.notes
        if not len(notes):
            continue
        shape = np.stack(
            (notes["onset"] - notes["onset"][0], notes["duration"], notes["pitch"].astype(int) - int(notes["pitch"][0]))
        )
        mark = hashlib.sha256(shape.astype("<i8").tobytes()).digest()
        if mark not in seen:
            seen.add(mark)
            kept.append(piece)
    return kept


def split(groups: Sequence[str]) -> dict[str, set[str]]:
    """Deal groups to the splits by `SHARES`, in an order that depends on their names alone; each split gets one."""
    order = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest())
    test = max(1, round(SHARES["test"] * len(order)))
    validation = max(1, round(SHARES["validation"] * len(order)))
    return {
        "train": set(order[test + validation :]),
        "validation": set(order[test : test + validation]),
        "test": set(order[:test]),
    }


def _cut(encoding: Encoding, piece: Piece, length: int) -> list[NDArray[np.uint16]]:
    """Return the piece's windows; a last one that is less than half full is left out, as padding teaches nothing."""
    windows = encoding.windows(piece.notes, length)
    return [window for window in windows if np.count_nonzero(window) >= length // 2]


def _content_digest(splits: dict[str, Windows]) -> str:
    content = hashlib.sha256()
    for name, windows in sorted(splits.items()):
        content.update(f"{name} {windows.tokens.shape}".encode())
        content.update(windows.tokens.astype("<u2").tobytes())
        content.update("\0".join(windows.groups.tolist()).encode(errors="surrogateescape"))
    return content.hexdigest()


def _write(path: Path, dataset: Dataset) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, windows in dataset.splits.items():
        arrays |= {f"{name}.tokens": windows.tokens, f"{name}.groups": windows.groups}
    header = json.dumps({"counts": dataset.counts, "dropped": dataset.dropped, "digest": dataset.digest})
    with atomic(path) as draft:
        np.savez_compressed(draft, header=np.array(header), **arrays)  # type: ignore[arg-type]  # stub lacks **arrays


def _read(path: Path) -> Dataset | None:
    """Return the cached windows, or None if the file is damaged: then they are made again."""
    try:
        # Opened here, because numpy leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            splits = {name: Windows(tokens=file[f"{name}.tokens"], groups=file[f"{name}.groups"]) for name in SHARES}
        if _content_digest(splits) != header["digest"]:
            raise ValueError("its windows do not match their digest")  # noqa: TRY301 - one place for all damage
        return Dataset(splits=splits, **header)
    except Exception as error:  # noqa: BLE001 - flipped bits surface anywhere between zip, zlib, npy and JSON
        print(f"warning: {path} is damaged ({error}); cutting the windows again", file=sys.stderr)
        return None
