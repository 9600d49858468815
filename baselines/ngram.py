"""A back-off n-gram: what counting alone can do, with an exact likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from replication.errors import UserError
from replication.files import atomic
from replication.model import Likelihood
from replication.randomness import generator
from replication.tokens import CLS, PAD, SEP
from replication.train import read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from replication.model import Job


class NGram:
    """Interpolated Witten-Bell smoothing (Witten and Bell 1991; Chen and Goodman 1999, section 2.5).

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)) with c counts, t(h) the number of different words after h, and
    h' the history without its oldest word; below order 1 the distribution is uniform over what may follow at all: all
    words but [PAD] and [CLS]. After [SEP] comes [PAD] for certain.
    """

    def __init__(self, *, order: int, vocabulary: int, length: int) -> None:
        self.order, self.vocabulary, self.length = order, vocabulary, length
        self.windows = torch.zeros(0, length, dtype=torch.int64)
        self._counts: dict[tuple[int, ...], Tensor] = {}

    def fit(self, job: Job) -> None:
        """Count the training windows."""
        self._count(job.train.cpu())

    def _count(self, windows: Tensor) -> None:
        self.windows, self._counts = windows, {}
        rows: dict[tuple[int, ...], dict[int, int]] = {}
        for window in windows.tolist():
            for position in range(1, len(window)):
                if window[position] == PAD:
                    break
                for size in range(min(self.order, position + 1)):
                    row = rows.setdefault(tuple(window[position - size : position]), {})
                    row[window[position]] = row.get(window[position], 0) + 1
        for history, row in rows.items():
            counts = torch.zeros(self.vocabulary, dtype=torch.float64)
            counts[list(row)] = torch.tensor(list(row.values()), dtype=torch.float64)
            self._counts[history] = counts

    def distribution(self, history: tuple[int, ...]) -> Tensor:
        """Return p(next) as (V,) double precision, given all tokens since and with [CLS]."""
        if history[-1] in (SEP, PAD):
            return torch.nn.functional.one_hot(torch.tensor(PAD), self.vocabulary).double()
        result = torch.full((self.vocabulary,), 1 / (self.vocabulary - 2), dtype=torch.float64)
        result[[PAD, CLS]] = 0
        for size in range(min(self.order, len(history) + 1)):
            counts = self._counts.get(history[len(history) - size :])
            if counts is None:
                break
            kinds = (counts > 0).sum()
            result = (counts + kinds * result) / (counts.sum() + kinds)
        return result

    def save(self, path: Path) -> None:
        """Write the training windows, of which the counts are a function."""
        with atomic(path) as draft:
            save_file({"windows": self.windows.to(torch.int32)}, draft)

    def load(self, path: Path) -> None:
        """Read and count the windows."""
        tensors, _ = read_tensors(path)
        if set(tensors) != {"windows"} or tensors["windows"].shape[1:] != (self.length,):
            raise UserError(f"{path} holds no training windows of {self.length} tokens; delete the trial's folder")
        self._count(tensors["windows"].long())

    def parameters_count(self) -> int:
        """Count the n-grams seen."""
        return sum(int((counts > 0).sum()) for counts in self._counts.values())

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        """Return -ln p(window); infinite for windows that the marks' grammar rules out."""
        nats = []
        for window in tokens.tolist():
            chances = [
                self.distribution(tuple(window[max(0, position - self.order) : position]))[window[position]]
                for position in range(1, len(window))
            ]
            nats.append(-torch.stack(chances).log().sum() if window[0] == CLS else torch.tensor(torch.inf).double())
        return Likelihood(terms={"nll": torch.stack(nats)}, exact=True)

    def sample(self, indices: range, *, seed: int) -> Tensor:
        """Draw windows token by token: (len(indices), L)."""
        windows = torch.full((len(indices), self.length), PAD)
        for row, index in enumerate(indices):
            uniform = torch.rand(self.length, generator=generator("sample", seed, index), dtype=torch.float64)
            window = [CLS]
            for position in range(1, self.length):
                cumulative = self.distribution(tuple(window[-self.order :])).cumsum(0)
                window.append(int(torch.searchsorted(cumulative, uniform[position] * cumulative[-1], right=True)))
            windows[row] = torch.tensor(window)
        return windows
