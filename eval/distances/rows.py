"""Arrays of facts (precomputed values) of windows, which distances between sets compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Rows(NamedTuple):
    """Facts of windows.

    Attributes:
        values: (n, ...) facts, one row per window.
        songs: (n,) song of each window; a generated window is a song of its own.
    """

    values: NDArray[Any]
    songs: NDArray[np.int64]

    def take(self, indices: ArrayLike) -> Rows:
        """Return the rows with these indices, in this order; indices may repeat."""
        chosen = np.asarray(indices, dtype=np.int64)
        return Rows(self.values[chosen], self.songs[chosen])
