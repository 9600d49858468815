"""A back-off n-gram model with an exact likelihood: a model that only counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file

from replication.models.embeddings import WINDOWS_AT_ONCE
from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.model import Likelihood
from replication.util.checkpoint import read_tensors
from replication.util.errors import UserError
from replication.util.files import atomic
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from replication.training.model import Job


class NGram:
    """An n-gram model with interpolated Witten-Bell smoothing (Witten and Bell 1991; Chen and Goodman 1999, 2.5).

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)), with counts c, the number t(h) of different words after h, and
    the history h' without its oldest word. Order 0 is the uniform distribution over all words. Every token after the
    first is predicted, padding included.

    Args:
        order: Order n, which is the number of words of an n-gram.
        vocabulary: Number of words V.
        length: Tokens L of a window.
        masked: Whether the grammar of the special tokens is given: after [SEP], [PAD] is certain, and nowhere else is
            there [PAD] or [CLS]. Padding is then neither counted nor does it cost anything.
    """

    def __init__(self, *, order: int, vocabulary: int, length: int, masked: bool = False) -> None:
        self.order, self.vocabulary, self.length, self.masked = order, vocabulary, length, masked
        self._reach = max(1, order)  # preceding tokens that matter; at least one, which may be [SEP]
        self._count(torch.zeros(0, length, dtype=torch.int16))

    def fit(self, job: Job) -> None:
        """Count the training windows."""
        self._count(job.train)

    def _count(self, windows: Tensor) -> None:
        self.windows = windows
        # For each size of the history: the n-grams seen, as ascending numbers, and their counts.
        self._seen: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for size in range(min(self.order, self.length)):
            parts = [self._numbers(part.long(), size) for part in torch.split(windows, WINDOWS_AT_ONCE)]
            self._seen.append(np.unique(torch.cat(parts).numpy(), return_counts=True))

    def _numbers(self, windows: Tensor, size: int) -> Tensor:
        """Return the n-grams (m,) of windows (B, L): each token together with its history of this size.

        An n-gram is a number in base V whose last digit is the last token, so that the n-grams with one history are a
        range of numbers.
        """
        grams = windows[:, 0 if size else 1 :].unfold(1, size + 1, 1).flatten(0, 1)
        if self.masked:
            grams = grams[grams[:, -1] != PAD]
        return (grams * self.vocabulary ** torch.arange(size, -1, -1)).sum(1)

    def distribution(self, history: tuple[int, ...]) -> Tensor:
        """Return p(next token) (V,) in double precision, given the last `order` - 1 tokens or all since [CLS]."""
        result = np.zeros(self.vocabulary)
        if self.masked and history[-1] in (SEP, PAD):
            result[PAD] = 1
            return torch.from_numpy(result)
        possible = result[SEP:] if self.masked else result
        possible[:] = 1 / len(possible)
        first = 0  # number of the n-gram of the history and word 0
        for size, (numbers, times) in zip(range(len(history) + 1), self._seen, strict=False):
            first += history[-size] * self.vocabulary**size if size else 0
            start, stop = np.searchsorted(numbers, (first, first + self.vocabulary))
            if start == stop:
                break
            counts = np.zeros(self.vocabulary)
            counts[numbers[start:stop] - first] = times[start:stop]
            result = (counts + (stop - start) * result) / (counts.sum() + (stop - start))
        return torch.from_numpy(result)

    def save(self, path: Path) -> None:
        """Write the training windows, from which `load` counts again."""
        with atomic(path) as draft:
            save_file({"windows": self.windows}, draft)

    def load(self, path: Path) -> None:
        """Read the training windows and count them.

        Raises:
            UserError: If the file is damaged or its windows have another length.
        """
        tensors, _ = read_tensors(path)
        if set(tensors) != {"windows"} or tensors["windows"].shape[1:] != (self.length,):
            raise UserError(f"{path} does not hold training windows of {self.length} tokens; delete the trial's folder")
        self._count(tensors["windows"])

    def parameters_count(self) -> int:
        """Return the number of different n-grams in the training windows."""
        return sum(len(numbers) for numbers, _ in self._seen)

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        """Return -ln p(window), infinite without [CLS] in front; if masked, for all windows that break the grammar."""
        nats = []
        for window in tokens.tolist():
            chances = [
                self.distribution(tuple(window[max(0, position - self._reach) : position]))[window[position]]
                for position in range(1, len(window))
            ]
            nats.append(-torch.stack(chances).log().sum() if window[0] == CLS else torch.tensor(torch.inf).double())
        return Likelihood(terms={"nll": torch.stack(nats)}, exact=True)

    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:
        """Return the samples with these indices, (len(indices), L), drawn token by token."""
        windows = torch.full((len(indices), self.length), PAD)
        for row, index in enumerate(indices):
            uniform = torch.rand(self.length, generator=generator("sample", seed, index), dtype=torch.float64)
            window = [CLS]
            for position in range(1, self.length):
                cumulative = self.distribution(tuple(window[-self._reach :])).cumsum(0)
                window.append(int(torch.searchsorted(cumulative, uniform[position] * cumulative[-1], right=True)))
            windows[row] = torch.tensor(window)
        return windows
