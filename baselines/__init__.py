"""Other models on the same data: each a row of `BASELINES`.

A row's config builds its model from the module beside; that import waits until then, so that listing the rows does not
need torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replication.ablations import Experiment

if TYPE_CHECKING:
    from baselines.autoregressive import Autoregressive
    from baselines.ngram import NGram
    from baselines.replay import Replay
    from replication.scales import Scale


@dataclass(frozen=True, kw_only=True)
class AutoregressiveConfig:
    """A causal language model with the backbone and the budget of the diffusion model."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Autoregressive:  # noqa: D102 - see ModelConfig
        from baselines.autoregressive import Autoregressive

        return Autoregressive(vocabulary=vocabulary, scale=scale)


@dataclass(frozen=True, kw_only=True)
class NGramConfig:
    """An n-gram of this order; order 1 draws every token from the same distribution."""

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
    ),
    Experiment(
        name="unigram",
        label="Unigram (control)",
        model=NGramConfig(order=1),
        colour="#8C564B",
        note="Control: every token drawn by itself. Whoever is no better has learnt no music.",
    ),
    Experiment(
        name="replay",
        label="Replay (control)",
        model=ReplayConfig(),
        colour="#999999",
        note="Control: copies of training windows. Perfect by every distance to real music, and no music of its own.",
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
