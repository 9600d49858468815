"""The noise floors of a comparison, which are those of all its trials: computed once for each measure and set size."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replication.util.errors import UserError
from replication.util.files import DamagedError, atomic, open_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

Floors = dict[str, "NDArray[np.float64]"]  # (draws,) noise floors of the halvings, by measure


@dataclass(frozen=True)
class FloorFiles:
    """Files of noise floors, one for each size of the sets that are compared.

    Attributes:
        path: Path of the files, without the size and the suffix.
    """

    path: Path

    @contextmanager
    def at(self, size: int) -> Iterator[Floors]:
        """Yield the floors that are known at a size; those that the block adds are written.

        Several processes may compute the same floors at the same time, and write equal numbers.

        Raises:
            UserError: If the file is damaged.
        """
        path = self.path.with_name(f"{self.path.name}-{size}.npz")
        floors = _read(path) if path.exists() else {}
        before = set(floors)
        yield floors
        if floors.keys() - before:
            with atomic(path) as draft:
                np.savez(draft, allow_pickle=False, **floors)


def _read(path: Path) -> Floors:
    try:
        with open_arrays(path) as arrays:
            return {name: arrays[name].astype(np.float64, casting="no") for name in arrays.files}
    except DamagedError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to compute the noise floors again") from None
