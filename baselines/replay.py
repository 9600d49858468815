"""Replay: copies windows of the training split, to show how perfect memory without invention scores."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from replication.training.model import Likelihood
from replication.util.checkpoint import read_tensors
from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from replication.training.model import Job


class Replay:
    """The empirical distribution of the training windows; samples are drawn without replacement while windows last.

    Args:
        length: Tokens L of a window.
    """

    def __init__(self, *, length: int) -> None:
        self.windows = torch.zeros(0, length, dtype=torch.int16)

    def fit(self, job: Job) -> None:
        """Keep the training windows."""
        self.windows = job.train

    def save(self, path: Path) -> None:
        """Write the windows."""
        with atomic(path) as draft:
            save_file({"windows": self.windows}, draft)

    def load(self, path: Path) -> None:
        """Read the windows.

        Raises:
            UserError: If the file is damaged or its windows have another length.
        """
        tensors, _ = read_tensors(path)
        if set(tensors) != {"windows"} or tensors["windows"].shape[1:] != self.windows.shape[1:]:
            raise UserError(
                f"{path} does not hold training windows of {self.windows.shape[1]} tokens; delete the trial's folder"
            )
        self.windows = tensors["windows"]

    def parameters_count(self) -> int:
        """Return the number of stored tokens."""
        return self.windows.numel()

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        """Return -ln p(window), infinite for windows that do not occur in the training split."""
        asked = [row.tobytes() for row in tokens.cpu().to(self.windows.dtype).numpy()]
        wanted = set(asked)
        counts = Counter(key for row in self.windows.numpy() if (key := row.tobytes()) in wanted)
        shares = [counts[key] / len(self.windows) for key in asked]
        nats = [-math.log(share) if share else math.inf for share in shares]
        return Likelihood(terms={"nll": torch.tensor(nats, dtype=torch.float64)}, exact=True)

    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Return the samples with these indices, (len(indices), L): the training windows in repeated random orders."""
        size = len(self.windows)
        orders = {
            turn: torch.randperm(size, generator=generator("sample", seed, turn))
            for turn in {index // size for index in indices}
        }
        return self.windows[torch.stack([orders[index // size][index % size] for index in indices])].long()
