"""The ablated axis: where the embeddings come from, and whether training moves them.

Every arm starts at unit RMS per dimension (times its scale) over the words that the training split has, because the
ratio of embedding size to noise decides how hard denoising is: without it the arms would differ in two things. Torch is
imported where it is used, so that tables of experiments can be read without it.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from replication.tokens.protocol import PAD

if TYPE_CHECKING:
    from torch import Tensor

    from replication.training.model import Job

ROWS = 4096  # windows that are looked at together, so that a large split never is in memory as a whole


@dataclass(frozen=True)
class Learned:
    """Trained end to end with the diffusion, from a Gaussian start (the paper's proposal)."""

    scale: float = 1.0
    trainable: bool = field(default=True, init=False)

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:  # noqa: D102 - see Embedding
        return _gaussian(job, vocabulary, dimension) * self.scale


@dataclass(frozen=True)
class Gaussian:
    """Frozen random vectors: the start of `Learned`, left where it is."""

    scale: float = 1.0
    trainable: bool = field(default=False, init=False)

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:  # noqa: D102 - see Embedding
        return _gaussian(job, vocabulary, dimension) * self.scale


@dataclass(frozen=True)
class SkipGram:
    """Word2vec's skip-gram with negative sampling (Mikolov et al. 2013) on the training split.

    The vocabulary is so small that the expected objective can be followed itself, without sampling: with counts #(w, c)
    of words within `window` tokens, maximise
        sum_wc #(w, c) ln sigma(u_w . v_c) + negatives #(w) #(c) / #() ln sigma(-u_w . v_c)
    (Levy and Goldberg 2014, equations 1 to 5).
    """

    window: int = 5
    negatives: int = 5
    steps: int = 500
    learning_rate: float = 0.05

    def vectors(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        """Return (V, d) word vectors; words that the training split lacks keep their random start."""
        import torch
        from torch.nn.functional import logsigmoid

        from replication.util.generators import generator

        counts = torch.zeros(vocabulary * vocabulary)
        for distance in range(1, self.window + 1):
            counts += sum(_pairs(part.long(), distance, vocabulary) for part in torch.split(job.train, ROWS))
        counts = counts.view(vocabulary, vocabulary)
        counts = counts + counts.T
        share = counts / counts.sum()
        chance = self.negatives * share.sum(1, keepdim=True) * share.sum(0, keepdim=True)
        random = generator("skip-gram", job.seed)
        words = (torch.randn(vocabulary, dimension, generator=random) / dimension**0.5).requires_grad_()
        contexts = (torch.randn(vocabulary, dimension, generator=random) / dimension**0.5).requires_grad_()
        optimiser = torch.optim.Adam([words, contexts], lr=self.learning_rate)
        for _ in range(self.steps):
            scores = words @ contexts.T
            loss = -(share * logsigmoid(scores) + chance * logsigmoid(-scores)).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimiser.step()
        vectors: Tensor = words.detach()
        return vectors


@dataclass(frozen=True)
class FromAutoregressive:
    """The input embeddings of the autoregressive baseline of the same seed, reduced to d dimensions by PCA."""

    experiment: str = "autoregressive"

    def vectors(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        """Return (V, d) principal components of the baseline's table, 0 beyond those that it has."""
        import torch
        from safetensors.torch import load_file

        table = load_file(job.sibling(self.experiment))["embedding.weight"].float()
        if table.shape[0] != vocabulary:
            raise ValueError(f"a table of shape {tuple(table.shape)} cannot give {vocabulary} vectors")
        used = table[used_words(job)]  # the others have learnt nothing
        _, _, axes = torch.linalg.svd(used - used.mean(0), full_matrices=False)
        components: Tensor = (table - used.mean(0)) @ axes[:dimension].T
        return torch.nn.functional.pad(components, (0, dimension - components.shape[1]))


@dataclass(frozen=True)
class Pretrained:
    """Frozen vectors that something else has learnt from the training split.

    They are centred and each is given the norm sqrt(d), as Strudel et al. (2022) do with theirs: rare words would
    otherwise have vectors so long that at unit RMS the frequent ones lie within the noise of each other. Then they are
    rotated so that all dimensions have the same RMS, 1, which keeps every distance: the principal axes, whose powers
    add up to d, are spread by a Hadamard matrix, whose squares are all 1/d.
    """

    source: SkipGram | FromAutoregressive
    scale: float = 1.0
    trainable: bool = field(default=False, init=False)

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:  # noqa: D102 - see Embedding
        import torch

        vectors = self.source.vectors(job, vocabulary=vocabulary, dimension=dimension)
        used = used_words(job)
        centred = vectors - vectors[used].mean(0)
        table = centred / centred.norm(dim=1, keepdim=True) * dimension**0.5
        _, _, axes = torch.linalg.svd(table[used])
        hadamard = torch.ones(1, 1)
        while len(hadamard) < dimension:
            hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
        if len(hadamard) != dimension:
            raise ValueError(f"dimension {dimension} is no power of 2, which pretrained vectors need")
        rotated: Tensor = table @ axes.T @ hadamard / dimension**0.5
        return rotated * self.scale


class Embedding(Protocol):
    """One arm of the ablation, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def scale(self) -> float:
        """The RMS per dimension that the table starts with."""

    @property
    def trainable(self) -> bool:
        """Whether training moves the table."""

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        """Return the (V, d) table that training starts from."""


def used_words(job: Job) -> Tensor:
    """Return the ids (u,) that the training split has, ascending."""
    import torch

    used: Tensor = torch.unique(torch.cat([torch.unique(part) for part in torch.split(job.train, ROWS)])).long()
    return used


def _pairs(tokens: Tensor, distance: int, vocabulary: int) -> Tensor:
    """Count how often each word stands this far before each other one in (B, L) windows: (V * V,)."""
    import torch

    left, right = tokens[:, :-distance], tokens[:, distance:]
    both = (left != PAD) & (right != PAD)
    return torch.bincount(left[both] * vocabulary + right[both], minlength=vocabulary * vocabulary)


def _gaussian(job: Job, vocabulary: int, dimension: int) -> Tensor:
    import torch

    from replication.util.generators import generator

    table = torch.randn(vocabulary, dimension, generator=generator("embedding", job.seed))
    scaled: Tensor = table / table[used_words(job)].pow(2).mean(0).sqrt()
    return scaled
