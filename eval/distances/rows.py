"""Facts of windows as rows of arrays, which distances between sets compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Rows(NamedTuple):
    """Facts of windows.

    Attributes:
        values: (n, ...) facts, a row for each window.
        songs: (n,) song of each; a generated window is a song of its own.
    """

    values: NDArray[Any]
    songs: NDArray[np.int64]

    def take(self, indices: ArrayLike) -> Rows:
        """Return the rows with these numbers, which may come again, in this order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Rows(self.values[chosen], self.songs[chosen])
