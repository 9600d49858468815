"""The ablated choice: where the embeddings come from, and whether training updates them.

Every arm starts at unit RMS per dimension (times its scale), over the words that occur in the training split. The ratio
of embedding size to noise decides how hard denoising is; without this normalisation the arms would differ in two ways.
Torch is imported inside functions, so that the tables of experiments can be read without it.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from replication.tokens.protocol import PAD

if TYPE_CHECKING:
    from torch import Tensor

    from replication.training.model import Job

WINDOWS_AT_ONCE = 4096  # windows read at a time, so that a large split never has to fit into memory


@dataclass(frozen=True)
class Learned:
    """Train the embeddings end to end with the diffusion, starting from Gaussian vectors (the paper's proposal).

    Attributes:
        scale: RMS per dimension at the start.
        trainable: Always true.
    """

    scale: float = 1.0
    trainable: bool = field(default=True, init=False)

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:  # noqa: D102 - see Embedding
        return _gaussian(job, vocabulary, dimension) * self.scale


@dataclass(frozen=True)
class Gaussian:
    """Keep random Gaussian vectors frozen: the ones from which `Learned` starts.

    Attributes:
        scale: RMS per dimension.
        trainable: Always false.
    """

    scale: float = 1.0
    trainable: bool = field(default=False, init=False)

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:  # noqa: D102 - see Embedding
        return _gaussian(job, vocabulary, dimension) * self.scale


@dataclass(frozen=True)
class SkipGram:
    """Word2vec's skip-gram with negative sampling (Mikolov et al. 2013) on the training split.

    The vocabulary is small enough to optimise the expected objective without sampling. With counts #(w, c) of words
    within `window` tokens, it is to maximise
        sum_wc #(w, c) ln sigma(u_w . v_c) + negatives #(w) #(c) / #() ln sigma(-u_w . v_c)
    (Levy and Goldberg 2014, equations 1 to 5).

    Attributes:
        window: Largest distance between a word and its context, in tokens.
        negatives: Negative samples per word.
        steps: Steps of Adam.
        learning_rate: Learning rate of Adam.
    """

    window: int = 5
    negatives: int = 5
    steps: int = 500
    learning_rate: float = 0.05

    def vectors(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        """Return (V, d) word vectors; words that do not occur in the training split keep their random start."""
        import torch
        from torch.nn.functional import logsigmoid

        from replication.util.generators import generator

        counts = torch.zeros(vocabulary * vocabulary)
        for distance in range(1, self.window + 1):
            counts += sum(_pairs(part.long(), distance, vocabulary) for part in torch.split(job.train, WINDOWS_AT_ONCE))
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
    """The input embeddings of the autoregressive baseline with the same seed, reduced to d dimensions by PCA.

    Attributes:
        experiment: Name of the baseline's experiment.
    """

    experiment: str = "autoregressive"

    def vectors(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        """Return (V, d) principal components of the baseline's table, padded with zeros if it has fewer than d.

        Raises:
            ValueError: If the table has another vocabulary.
        """
        import torch
        from safetensors.torch import load_file

        table = load_file(job.sibling(self.experiment))["embedding.weight"].float()
        if table.shape[0] != vocabulary:
            raise ValueError(f"a table of shape {tuple(table.shape)} cannot give {vocabulary} vectors")
        used = table[used_tokens(job)]  # the other words were never trained
        _, _, axes = torch.linalg.svd(used - used.mean(0), full_matrices=False)
        components: Tensor = (table - used.mean(0)) @ axes[:dimension].T
        return torch.nn.functional.pad(components, (0, dimension - components.shape[1]))


@dataclass(frozen=True)
class Pretrained:
    """Frozen vectors that another model has learned from the training split.

    The vectors are centred, and each is scaled to the norm sqrt(d), as Strudel et al. (2022) do. Otherwise the vectors
    of rare words would be so long that, at unit RMS, those of frequent words would lie within the noise of each other.
    They are then rotated, which keeps all distances, so that every dimension has an RMS of 1: a Hadamard matrix, whose
    squared entries are all 1/d, spreads the principal axes, whose powers add up to d.

    Attributes:
        source: Model that learns the vectors.
        scale: RMS per dimension.
        trainable: Always false.
    """

    source: SkipGram | FromAutoregressive
    scale: float = 1.0
    trainable: bool = field(default=False, init=False)

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:  # noqa: D102 - see Embedding
        import torch

        vectors = self.source.vectors(job, vocabulary=vocabulary, dimension=dimension)
        used = used_tokens(job)
        centred = vectors - vectors[used].mean(0)
        table = centred / centred.norm(dim=1, keepdim=True) * dimension**0.5
        _, _, axes = torch.linalg.svd(table[used])
        hadamard = torch.ones(1, 1)
        while len(hadamard) < dimension:
            hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
        if len(hadamard) != dimension:
            raise ValueError(f"dimension {dimension} is not a power of 2, which pretrained vectors need")
        rotated: Tensor = table @ axes.T @ hadamard / dimension**0.5
        return rotated * self.scale


class Embedding(Protocol):
    """One arm of the ablation: a frozen dataclass that initialises the embeddings."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def scale(self) -> float:
        """RMS per dimension of the initial table."""

    @property
    def trainable(self) -> bool:
        """Whether training updates the table."""

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        """Return the initial (V, d) table.

        Args:
            job: Job of the training run.
            vocabulary: Number of words V.
            dimension: Dimension d of the embeddings.
        """


def used_tokens(job: Job) -> Tensor:
    """Return the ids (u,) of the tokens that occur in the training split, ascending."""
    import torch

    used: Tensor = torch.unique(
        torch.cat([torch.unique(part) for part in torch.split(job.train, WINDOWS_AT_ONCE)])
    ).long()
    return used


def _pairs(tokens: Tensor, distance: int, vocabulary: int) -> Tensor:
    """Count how often each word precedes each other one at this distance in (B, L) windows; returns (V * V,)."""
    import torch

    left, right = tokens[:, :-distance], tokens[:, distance:]
    both = (left != PAD) & (right != PAD)
    return torch.bincount(left[both] * vocabulary + right[both], minlength=vocabulary * vocabulary)


def _gaussian(job: Job, vocabulary: int, dimension: int) -> Tensor:
    """Return a Gaussian (V, d) table with unit RMS per dimension over the tokens of the training split."""
    import torch

    from replication.util.generators import generator

    table = torch.randn(vocabulary, dimension, generator=generator("embedding", job.seed))
    scaled: Tensor = table / table[used_tokens(job)].pow(2).mean(0).sqrt()
    return scaled
