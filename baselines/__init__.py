"""Other models of the same data, each a row of `BASELINES`, and the teacher.

A row's configuration imports the module of its model only to build it, so that the rows can be listed without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replication.models.ablations import Experiment
from replication.training.scales import BestValidation, Last

if TYPE_CHECKING:
    from baselines.autoregressive import Autoregressive
    from baselines.embeddings_only import EmbeddingsOnly
    from baselines.ngram import NGram
    from baselines.replay import Replay
    from baselines.untrained import Untrained
    from replication.training.scales import Keep, Scale


@dataclass(frozen=True, kw_only=True)
class AutoregressiveConfig:
    """The configuration of a causal language model with the backbone and the budget of the diffusion model.

    Attributes:
        masked: Whether the grammar of the special tokens is given; see `Autoregressive`.
        keep: Weights that training returns.
        needs: Always empty.
    """

    masked: bool = False
    keep: Keep = field(default_factory=Last)
    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Autoregressive:  # noqa: D102 - see ModelConfig
        from baselines.autoregressive import Autoregressive

        scale = replace(scale, budget=replace(scale.budget, keep=self.keep))
        return Autoregressive(vocabulary=vocabulary, scale=scale, masked=self.masked)


@dataclass(frozen=True, kw_only=True)
class NGramConfig:
    """The configuration of an n-gram model.

    Attributes:
        order: Order n. Order 1 draws every token from one distribution, and order 0 from the uniform distribution.
        masked: Whether the grammar of the special tokens is given; see `NGram`.
        needs: Always empty.
    """

    order: int
    masked: bool = False
    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> NGram:  # noqa: D102 - see ModelConfig
        from baselines.ngram import NGram

        return NGram(order=self.order, vocabulary=vocabulary, length=scale.length, masked=self.masked)


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """The configuration of the empirical distribution of the training windows."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Replay:  # noqa: ARG002, D102 - see ModelConfig
        from baselines.replay import Replay

        return Replay(length=scale.length)


@dataclass(frozen=True, kw_only=True)
class UntrainedConfig:
    """The configuration of an untrained Diffusion-LM."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Untrained:  # noqa: D102 - see ModelConfig
        from baselines.untrained import Untrained

        return Untrained(vocabulary=vocabulary, scale=scale)


@dataclass(frozen=True, kw_only=True)
class EmbeddingsOnlyConfig:
    """The configuration of embeddings and a rounding head that are trained without a denoiser."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> EmbeddingsOnly:  # noqa: D102 - see ModelConfig
        from baselines.embeddings_only import EmbeddingsOnly

        return EmbeddingsOnly(vocabulary=vocabulary, scale=scale)


BASELINES: tuple[Experiment, ...] = (
    Experiment(
        name="autoregressive",
        label="Autoregressive",
        model=AutoregressiveConfig(),
        colour="#D55E00",
        note="The same Transformer, causal, with the same steps and batch; sampled at temperature 1 from all words.",
    ),
    Experiment(
        name="autoregressive-best",
        label="Autoregressive, early stopping",
        model=AutoregressiveConfig(keep=BestValidation()),
        colour="#AA3377",
        note="The autoregressive baseline at its lowest validation loss instead of at the end of training.",
    ),
    Experiment(
        name="autoregressive-masked",
        label="Autoregressive, masked",
        model=AutoregressiveConfig(masked=True),
        colour="#7F3B08",
        note="The autoregressive baseline given the grammar of the special tokens, which diffusion has to learn.",
    ),
    Experiment(
        name="ngram",
        label="5-gram",
        model=NGramConfig(order=5),
        colour="#CC79A7",
        note="A back-off n-gram (interpolated Witten-Bell), which learns by counting alone.",
        network=False,
    ),
    Experiment(
        name="ngram-masked",
        label="5-gram, masked",
        model=NGramConfig(order=5, masked=True),
        colour="#882255",
        note="The 5-gram given the grammar of the special tokens.",
        network=False,
    ),
    Experiment(
        name="unigram",
        label="Unigram (control)",
        model=NGramConfig(order=1, masked=True),
        colour="#8C564B",
        note="Control: independently drawn tokens. A model that does not beat this control has learned nothing.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="bigram",
        label="Bigram (control)",
        model=NGramConfig(order=2, masked=True),
        colour="#7F6A93",
        note="Control: every token is drawn given the previous one. It has local order and no structure beyond.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="uniform",
        label="Uniform (control)",
        model=NGramConfig(order=0, masked=True),
        colour="#4D4D4D",
        note="Control: every token is drawn uniformly from the vocabulary. The far end of every measure.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="untrained",
        label="Untrained (control)",
        model=UntrainedConfig(),
        colour="#6B6B47",
        note="Control: the paper's model before its first training step, which shows the sampler without training.",
        kind="control",
        seeds=(0,),
    ),
    Experiment(
        name="embeddings-only",
        label="Embeddings only (control)",
        model=EmbeddingsOnlyConfig(),
        colour="#7D5A50",
        note="Control: embeddings and rounding head trained without a denoiser, which shows what bits per word need.",
        kind="control",
        embeddings=False,
        seeds=(0,),
    ),
    Experiment(
        name="replay",
        label="Replay (control)",
        model=ReplayConfig(),
        colour="#999999",
        note="Control: copies of training windows. Perfect by every distance to real music, and nothing new.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="autoregressive-triples",
        label="Autoregressive, triples",
        model=AutoregressiveConfig(),
        colour="#7A0019",
        note="The autoregressive baseline in another encoding: every note in full, as pitch, velocity and duration.",
        encoding="triples",
    ),
    Experiment(
        name="autoregressive-remi",
        label="Autoregressive, REMI",
        model=AutoregressiveConfig(),
        colour="#A50F15",
        note="The autoregressive baseline in another encoding: REMI, with bars and positions.",
        encoding="remi",
    ),
)

# Measures the likelihood of samples. It is not a row of the comparison, and no row has its seed.
TEACHER = Experiment(
    name="teacher",
    label="Teacher",
    model=AutoregressiveConfig(masked=True),  # a window that breaks the grammar is not music: probability 0
    colour="#5A5A5A",
    note="The masked autoregressive baseline with a seed of its own, which measures the likelihood of all samples.",
    kind="teacher",
    seeds=(1000,),
)
