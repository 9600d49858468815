"""How the notes of a piece become windows: how long, how many, in which keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from replication.midi.keys import AsWritten, EveryKey, Keys, OneKey, in_one_key, transposed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from replication.tokens.protocol import Encoding


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How pieces become windows.

    Attributes:
        length: tokens of a window.
        first_only: the first window of every piece and no other, as in the paper.
        keys: in which keys pieces are written.
    """

    length: int
    first_only: bool = False
    keys: Keys = field(default_factory=AsWritten)


def cut(
    notes: NDArray[Any], encoding: Encoding, cutting: Cutting, *, train: bool
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int32]]]:
    """Yield, for each key that a piece is written in, (k, L) windows and the (k,) steps that they are from and before.

    A last window that is less than half full is left out: padding teaches nothing.

    Args:
        notes: (n,) notes of the piece.
        encoding: how they are written.
        cutting: how they are cut.
        train: whether they are for training, which `EveryKey` is about.
    """
    for version in _versions(notes, cutting.keys, train=train):
        tokens, begins = encoding.windows(version, cutting.length)
        ends = np.append(begins[1:], np.int32(2**31 - 1))
        if cutting.first_only:
            tokens, begins, ends = tokens[:1], begins[:1], ends[:1]
        full = np.count_nonzero(tokens, axis=1) >= cutting.length // 2
        yield tokens[full], begins[full], ends[full]


def _versions(notes: NDArray[Any], keys: Keys, *, train: bool) -> list[NDArray[Any]]:
    match keys:
        case OneKey():
            return [in_one_key(notes)]
        case EveryKey(semitones=semitones) if train:
            return [transposed(notes, by) for by in semitones]
        case _:
            return [notes]
