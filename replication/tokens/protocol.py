"""The `Encoding` protocol between notes and tokens, and functions that all encodings share.

A window is a sequence of L token ids: `[CLS]`, the music, `[SEP]`, then `[PAD]` to the end.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from replication.util.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from replication.midi.piece import TimeGrid

# Part of every cache key. Raise it when a change encodes the same notes as other tokens.
EDITION = 1

# The first three tokens of every vocabulary.
PAD, CLS, SEP = 0, 1, 2
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The notes of a decoded token sequence.

    Attributes:
        notes: (n,) array of `NOTE`, in the order of `sorted_notes`.
        repairs: Number of tokens that the grammar does not allow at their positions; decoding skips them.
    """

    notes: NDArray[Any]
    repairs: int

    @property
    def valid(self) -> bool:
        """Whether the sequence follows the grammar and contains at least one note."""
        return self.repairs == 0 and len(self.notes) > 0


class Encoding(Protocol):
    """A reversible encoding of notes as token ids."""

    packages: ClassVar[tuple[str, ...]]  # installed packages whose versions may change the tokens

    @property
    def grid(self) -> TimeGrid:
        """Time grid of the encoded notes."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words by token id; the first three are `SPECIAL_TOKENS`."""

    def representable(self, notes: NDArray[Any]) -> NDArray[Any]:
        """Round (n,) notes to those that the encoding can express; notes from `decode` are returned unchanged."""

    def windows(self, notes: NDArray[Any], length: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Encode (n,) notes as windows, each of which can be decoded alone and holds as many whole notes as fit.

        Returns:
            (w, length) token ids, and the (w,) onsets of the windows' first notes, which `decode` places at step 0.

        Raises:
            UserError: If a window of this length cannot hold a note.
        """

    def decode(self, tokens: Iterable[int]) -> Decoded:
        """Decode fewer than half a million token ids. Any integers are accepted; never raises."""


def pack(
    onsets: NDArray[np.int32], slots: Sequence[tuple[ArrayLike, ArrayLike, int]], length: int
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Pack the tokens of notes into windows; a note that does not fit into a window begins the next one.

    Args:
        onsets: (n,) onsets of the notes.
        slots: Tokens that a note may need, in the order of writing. Each slot is a token id, how often it is written
            within a window (both (n,), or one value for all notes), and how often for the first note of a window.
        length: Tokens of a window, [CLS] and [SEP] included.

    Returns:
        See `Encoding.windows`.

    Raises:
        UserError: If a window of this length cannot hold a note.
    """
    shape = (len(onsets), len(slots))
    words, counts = np.empty(shape, dtype=np.uint16), np.empty(shape, dtype=np.int64)
    for column, (word, times, _) in enumerate(slots):
        words[:, column], counts[:, column] = word, times
    opening = [at_opening for *_, at_opening in slots]
    least, room = sum(opening), length - 2  # [CLS] and [SEP]
    if least > room:
        raise UserError(
            f"a window of {length} tokens cannot hold a note of this encoding; use at least {least + 2} tokens"
        )
    ends = counts.sum(axis=1).cumsum().tolist()
    firsts, sizes = [], []
    note = 0
    while note < len(ends):
        following = bisect_right(ends, ends[note] + room - least, lo=note)
        firsts.append(note)
        sizes.append(least + ends[following - 1] - ends[note])
        note = following
    opens, filled = np.array(firsts, dtype=np.intp), np.array(sizes, dtype=np.intp)
    counts[opens] = opening
    windows = np.full((len(opens), length), PAD, dtype=np.uint16)
    windows[:, 0] = CLS
    windows[:, 1:-1][np.arange(room) < filled[:, None]] = np.repeat(words.ravel(), counts.ravel())
    windows[np.arange(len(opens)), filled + 1] = SEP
    return windows, onsets[opens]


def strip_special(tokens: Iterable[int]) -> tuple[list[int], int]:
    """Return the token ids between [CLS] and [SEP], and the number of errors outside them.

    An error is a missing [CLS], a missing [SEP], or a token other than [PAD] after [SEP].

    >>> strip_special([CLS, 7, 8, SEP, PAD, PAD])
    ([7, 8], 0)
    """
    ids = [int(token) for token in tokens]
    repairs = 0
    if ids[:1] == [CLS]:
        ids = ids[1:]
    else:
        repairs += 1
    if SEP not in ids:
        return ids, repairs + 1
    end = ids.index(SEP)
    return ids[:end], repairs + sum(token != PAD for token in ids[end + 1 :])


def words_of(vocabulary: Sequence[str], tokens: Iterable[int]) -> list[str]:
    """Return the words of token ids, with `?` for integers that are not token ids."""
    return [vocabulary[token] if 0 <= token < len(vocabulary) else "?" for token in tokens]


def to_text(encoding: Encoding, tokens: Iterable[int]) -> str:
    """Return the words of a token sequence, separated by spaces, without padding."""
    return " ".join(words_of(encoding.vocabulary, (token for token in tokens if token != PAD)))


def from_text(encoding: Encoding, text: str) -> list[int]:
    """Return the token ids of words separated by whitespace; the inverse of `to_text`.

    Raises:
        UserError: If a word is not in the vocabulary.
    """
    ids = {word: index for index, word in enumerate(encoding.vocabulary)}
    try:
        return [ids[word] for word in text.split()]
    except KeyError as error:
        examples = " ".join(encoding.vocabulary[::40])
        raise UserError(f"{error.args[0]!r} is not a word of this encoding; its words look like {examples}") from None
