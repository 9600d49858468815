"""Other models on the same data: each a row of `BASELINES`.

A row's config builds its model from the module beside; that import waits until then, so that listing the rows does not
need torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replication.models.ablations import Experiment

if TYPE_CHECKING:
    from baselines.autoregressive import Autoregressive
    from baselines.ngram import NGram
    from baselines.replay import Replay
    from baselines.untrained import Untrained
    from replication.training.scales import Scale


@dataclass(frozen=True, kw_only=True)
class AutoregressiveConfig:
    """A causal language model with the backbone and the budget of the diffusion model."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Autoregressive:  # noqa: D102 - see ModelConfig
        from baselines.autoregressive import Autoregressive

        return Autoregressive(vocabulary=vocabulary, scale=scale)


@dataclass(frozen=True, kw_only=True)
class NGramConfig:
    """An n-gram of this order; order 1 draws every token from the same distribution, order 0 all words alike."""

    order: int
    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> NGram:  # noqa: D102 - see ModelConfig
        from baselines.ngram import NGram

        return NGram(order=self.order, vocabulary=vocabulary, length=scale.length)


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """The empirical distribution of the training windows."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Replay:  # noqa: ARG002, D102 - see ModelConfig
        from baselines.replay import Replay

        return Replay(length=scale.length)


@dataclass(frozen=True, kw_only=True)
class UntrainedConfig:
    """Diffusion-LM with the weights as initialised."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Untrained:  # noqa: D102 - see ModelConfig
        from baselines.untrained import Untrained

        return Untrained(vocabulary=vocabulary, scale=scale)


BASELINES: tuple[Experiment, ...] = (
    Experiment(
        name="autoregressive",
        label="Autoregressive",
        model=AutoregressiveConfig(),
        colour="#D55E00",
        note="The same Transformer, causal, with the same budget; sampled at temperature 1.",
    ),
    Experiment(
        name="ngram",
        label="5-gram",
        model=NGramConfig(order=5),
        colour="#CC79A7",
        note="A back-off n-gram (interpolated Witten-Bell): what counting alone can do.",
        network=False,
    ),
    Experiment(
        name="unigram",
        label="Unigram (control)",
        model=NGramConfig(order=1),
        colour="#8C564B",
        note="Control: every token drawn by itself. Whoever is no better has learnt no music.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="bigram",
        label="Bigram (control)",
        model=NGramConfig(order=2),
        colour="#7F6A93",
        note="Control: every token drawn given the one before. Local order, no music.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="uniform",
        label="Uniform (control)",
        model=NGramConfig(order=0),
        colour="#4D4D4D",
        note="Control: every word alike. The far end of every measure.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="untrained",
        label="Untrained (control)",
        model=UntrainedConfig(),
        colour="#6B6B47",
        note="Control: the paper's model before its first training step. What the sampler makes of nothing learnt.",
        kind="control",
        seeds=(0,),
    ),
    Experiment(
        name="replay",
        label="Replay (control)",
        model=ReplayConfig(),
        colour="#999999",
        note="Control: copies of training windows. Perfect by every distance to real music, and no music of its own.",
        kind="control",
        network=False,
        seeds=(0,),
    ),
    Experiment(
        name="autoregressive-triples",
        label="Autoregressive, triples",
        model=AutoregressiveConfig(),
        colour="#7A0019",
        note="The autoregressive baseline on another code: pitch, velocity and duration in full for every note.",
        encoding="triples",
    ),
    Experiment(
        name="autoregressive-remi",
        label="Autoregressive, REMI",
        model=AutoregressiveConfig(),
        colour="#A50F15",
        note="The autoregressive baseline on another code: REMI, with bars and positions.",
        encoding="remi",
    ),
)

# The judge of the samples' likelihood: no row of the comparison, and with a seed that none of its rows has.
TEACHER = Experiment(
    name="teacher",
    label="Teacher",
    model=AutoregressiveConfig(),
    colour="#5A5A5A",
    note="The autoregressive baseline with a seed of its own: how likely it finds the samples of the others.",
    kind="teacher",
    seeds=(1000,),
)
