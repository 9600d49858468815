"""Cut the notes of a piece into windows of tokens."""

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
    """Options for cutting pieces into windows.

    Attributes:
        length: Tokens of a window.
        first_only: Whether to keep only the first window of each piece, as the paper does.
        keys: Keys in which pieces are encoded.
    """

    length: int
    first_only: bool = False
    keys: Keys = field(default_factory=AsWritten)


def cut(
    notes: NDArray[Any], encoding: Encoding, cutting: Cutting, *, train: bool
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.int32], NDArray[np.int32]]]:
    """Yield the windows of a piece in each of its keys.

    A last window that is less than half full is omitted: there is nothing to learn from padding.

    Args:
        notes: (n,) notes of the piece.
        encoding: Encoding of the windows.
        cutting: Options for cutting.
        train: Whether the piece is in the training split, which `EveryKey` transposes.

    Yields:
        (k, L) token ids, and for each window, (k,), its first grid step and the first one after it.
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
