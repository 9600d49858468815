"""Music as words: what an encoding does, the marks, and what the encodings share.

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

    from replication.midi.piece import Grid

# Part of every cache key: raise it when the same notes come to be written as other tokens.
EDITION = 1

# Every encoding begins its vocabulary with these.
PAD, CLS, SEP = 0, 1, 2
MARKS = ("[PAD]", "[CLS]", "[SEP]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What a sequence of tokens says.

    Attributes:
        notes: (n,) array of `NOTE`, in a piece's order.
        repairs: tokens that the grammar does not allow where they stood; decoding passed over them.
    """

    notes: NDArray[Any]
    repairs: int

    @property
    def valid(self) -> bool:
        """Whether the sequence follows the grammar to the letter and plays at least one note."""
        return self.repairs == 0 and len(self.notes) > 0


class Encoding(Protocol):
    """A reversible code between notes and token ids."""

    packages: ClassVar[tuple[str, ...]]  # what else decides the tokens, by the versions of what is installed

    @property
    def grid(self) -> Grid:
        """The length of the time step that the code counts in."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words by token id; the first three are `MARKS`."""

    def representable(self, notes: NDArray[Any]) -> NDArray[Any]:
        """Return the notes as the code can write them; the identity on what `decode` returns."""

    def windows(self, notes: NDArray[Any], length: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Cut (n,) notes between notes into windows that are each readable alone and as full as whole notes make them.

        Returns:
            (w, length) token ids, and (w,) the onset of each window's first note, which `decode` puts at step 0.

        Raises:
            UserError: for a length that holds no note.
        """

    def decode(self, tokens: Iterable[int]) -> Decoded:
        """Read fewer than half a million token ids; never raises, whatever integers they are."""


def pack(
    onsets: NDArray[np.int32], slots: Sequence[tuple[ArrayLike, ArrayLike, int]], length: int
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Write notes into windows; a note that does not fit into the rest of one opens the next.

    Args:
        onsets: (n,) of the notes.
        slots: what a note may need in the order of writing, each a token id, how often it is written in the course of
            a window, both (n,) or one for all notes, and how often where a note opens a window.
        length: of a window, with its marks.

    Returns:
        What `Encoding.windows` does.

    Raises:
        UserError: for a length that holds no note.
    """
    shape = (len(onsets), len(slots))
    words, counts = np.empty(shape, dtype=np.uint16), np.empty(shape, dtype=np.int64)
    for column, (word, times, _) in enumerate(slots):
        words[:, column], counts[:, column] = word, times
    opening = [at_opening for *_, at_opening in slots]
    least, room = sum(opening), length - 2  # the marks
    if least > room:
        raise UserError(f"a window of {length} tokens holds no note of this encoding; give it at least {least + 2}")
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


def unframe(tokens: Iterable[int]) -> tuple[list[int], int]:
    """Return the ids between the marks, and how many marks are missing or followed by what should not be there."""
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


def spell(vocabulary: Sequence[str], tokens: Iterable[int]) -> list[str]:
    """Return the words of token ids; `?` for a number that is no id."""
    return [vocabulary[token] if 0 <= token < len(vocabulary) else "?" for token in tokens]


def to_text(encoding: Encoding, tokens: Iterable[int]) -> str:
    """Return the words of a sequence, separated by blanks, without padding."""
    return " ".join(spell(encoding.vocabulary, (token for token in tokens if token != PAD)))


def from_text(encoding: Encoding, text: str) -> list[int]:
    """Return the token ids of words separated by white space.

    Raises:
        UserError: for a word that the vocabulary does not have.
    """
    ids = {word: index for index, word in enumerate(encoding.vocabulary)}
    try:
        return [ids[word] for word in text.split()]
    except KeyError as error:
        examples = " ".join(encoding.vocabulary[::40])
        raise UserError(f"{error.args[0]!r} is no word of this encoding; its words look like {examples}") from None
