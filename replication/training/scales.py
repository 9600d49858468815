"""Scales: the sizes and the budget that all models of a comparison share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replication.diffusion.samplers import Ancestral, Sampler
from replication.diffusion.schedule import Schedule, Sqrt
from replication.midi.keys import AsWritten, Keys, OneKey
from replication.training.backbones import Backbone, Bert, PreNorm
from replication.windows.cutting import Cutting

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The training budget; the defaults are those of Diffusion-LM (Li et al. 2022, section 6.1 and README)."""

    steps: int = 200_000
    batch: int = 64  # windows per step
    accumulate: int = 1  # parts that a batch is split into, to fit into memory
    learning_rate: float = 1e-4  # decays linearly to 0
    anneal: int | None = None  # steps after which it would reach 0; None: all steps
    warmup: int = 0  # steps
    weight_decay: float = 0.0
    clip: float | None = None  # maximum gradient norm
    ema: float = 0.9999  # decay of the average of the weights, per step
    ema_warmup: bool = False  # smaller decay at first, for budgets that are short compared with the average's memory
    bfloat16: bool = False  # matrix products in bfloat16, where the device supports them
    compile: bool = False  # torch.compile, where it works
    resident: bool = True  # training windows are kept on the device; otherwise each batch is read from the file
    log_every: int = 50
    validate_every: int = 2000
    checkpoint_every: int = 2000
    milestones: tuple[int, ...] = ()  # steps whose weights, not averaged, are saved


@dataclass(frozen=True, kw_only=True)
class TuningPoint:
    """A point of the tuning grid: factors of the dimension and the size of an arm's embeddings.

    Attributes:
        dimension: Factor of the dimension d.
        scale: Factor of the size of the embeddings relative to the noise.
    """

    dimension: int = 1
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes, the budget and the settings that all trials of a comparison share.

    Attributes:
        name: Name of the row in `SCALES`.
        about: Description in one line.
        corpus: Name of the default corpus.
        length: Tokens L of a window, [CLS] and [SEP] included.
        first_only: Whether to use only the first window of each piece.
        keys: Keys in which pieces are encoded.
        backbone: Transformer of every neural model.
        dimension: Dimension d of the diffused embeddings.
        timesteps: Timesteps T of the diffusion.
        schedule: Noise schedule.
        budget: Training budget.
        sampler: Sampler of the diffusion models.
        strata: Timesteps drawn per window for the likelihood bound, two from each of half as many strata.
        seeds: Number of trials of each experiment.
        samples: Number of windows drawn from each trial.
        tuning_grid: Points at which the embeddings of every arm are tried first; see `etude.runner.tuning`.
        held_out: Name of the split with which trials are compared.
        tunes: Name of the scale whose arms are tuned at this one; None for the scale of a comparison.
        experiments: Names of the experiments that `etude run` runs by default; if empty, all rows in the paper's
            encoding.
    """

    name: str
    about: str
    corpus: str = "bach"
    length: int = 130
    first_only: bool = False
    keys: Keys = field(default_factory=AsWritten)
    backbone: Backbone = field(default_factory=Bert)
    dimension: int = 16
    timesteps: int = 2000
    schedule: Schedule = field(default_factory=Sqrt)
    budget: Budget = field(default_factory=Budget)
    sampler: Sampler = field(default_factory=lambda: Ancestral(steps=200))
    strata: int = 64
    seeds: int = 3
    samples: int = 256
    tuning_grid: tuple[TuningPoint, ...] = ()
    held_out: str = "test"
    tunes: str | None = None
    experiments: tuple[str, ...] = ()

    @property
    def cutting(self) -> Cutting:
        """Options for cutting pieces into windows."""
        return Cutting(length=self.length, first_only=self.first_only, keys=self.keys)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A diffusion process, dropout and budget that replace those of a scale for one model.

    The defaults are those of Kasera, Liu and Li (2022), who adapted Diffusion-LM to music; the number of steps is the
    last that they report.

    Attributes:
        timesteps: Timesteps T of the diffusion.
        schedule: Noise schedule.
        dropout: Dropout probability of the backbone.
        budget: Training budget.
    """

    timesteps: int = 2000
    schedule: Schedule = field(default_factory=Sqrt)
    dropout: float = 0.1
    budget: Budget = field(
        default_factory=lambda: Budget(
            steps=2000,
            batch=32,
            learning_rate=1e-4,
            anneal=5000,
            ema=0.0,
            validate_every=500,
            checkpoint_every=500,
            milestones=(0, 200, 400, 800, 1000, 1500, 2000),
        )
    )

    def __call__(self, scale: Scale) -> Scale:
        """Return the scale with this recipe; bfloat16, compile, resident and accumulate stay those of the scale."""
        return replace(
            scale,
            backbone=replace(scale.backbone, dropout=self.dropout),
            timesteps=self.timesteps,
            schedule=self.schedule,
            budget=replace(
                self.budget,
                bfloat16=scale.budget.bfloat16,
                compile=scale.budget.compile,
                resident=scale.budget.resident,
                accumulate=scale.budget.accumulate,
            ),
        )


# The smallest grid that varies both; embeddings with a larger scale or more dimensions are easier to denoise.
_TUNING_GRID = tuple(TuningPoint(dimension=dimension, scale=scale) for dimension in (1, 2) for scale in (1.0, 0.5))

_SMOKE = Scale(
    name="smoke",
    about="seconds; for tests, its numbers mean nothing",
    corpus="synthetic",
    length=34,
    backbone=PreNorm(layers=1, width=32, heads=2, feedforward=64),
    dimension=8,
    timesteps=100,
    budget=Budget(steps=60, batch=8, learning_rate=1e-3, ema=0.9, log_every=5, validate_every=10, checkpoint_every=10),
    sampler=Ancestral(steps=5),
    strata=4,
    seeds=2,
    samples=32,
    experiments=("e2e", "gaussian", "pretrained", "pretrained-ar", "e2e-small", "autoregressive", "ngram"),
)

# Chosen by measurement on Bach and two cores, at equal time: steps are worth more than width or batch. Distances in
# noise floors, end-to-end, one seed: width 128, 1,500 steps of 32 windows 3.6; 96, 2,400 of 16, 3.7; 64, 7,000 of 8,
# 2.8; 64, 4,000 of 16, 2.4. Sampler steps 25, 50, 100: 2.8, 2.6, 2.4; without clamping 3.4 and 3.5 at 50 and 100.
_CPU = Scale(
    name="cpu",
    about="25 minutes on two cores: a demonstration; verdicts may be inconclusive",
    length=66,
    backbone=PreNorm(layers=4, width=64, heads=4, feedforward=256),
    budget=Budget(
        steps=2500,
        batch=16,
        learning_rate=2.5e-3,
        warmup=100,
        clip=1.0,
        ema=0.995,
        ema_warmup=True,
        bfloat16=True,
        compile=True,
        log_every=25,
        validate_every=250,
        checkpoint_every=500,
    ),
    sampler=Ancestral(steps=50),
    strata=32,
    samples=256,
    tuning_grid=_TUNING_GRID,
    experiments=("e2e", "gaussian", "pretrained", "e2e-small", "recipe", "autoregressive", "ngram"),
)

_GPU = Scale(
    name="gpu",
    about="one datacentre GPU, minutes per trial: the full-size run",
    length=258,
    backbone=PreNorm(layers=8, width=512, heads=8, feedforward=2048, dropout=0.1),
    budget=Budget(
        steps=10_000,
        batch=128,
        learning_rate=6e-4,
        warmup=1000,
        clip=1.0,
        ema=0.999,
        ema_warmup=True,
        bfloat16=True,
        compile=True,
        log_every=100,
        validate_every=1000,
        checkpoint_every=1000,
    ),
    seeds=5,
    samples=1024,
    tuning_grid=_TUNING_GRID,
)

# Li et al. 2022, section 6.1 and appendix F, and their README, from which the defaults of Bert, Budget and Sqrt are.
_PAPER = Scale(
    name="paper",
    about="the paper's settings, days: BERT-base, d 16, T 2000, batch 64, 200,000 steps; first windows, in one key",
    first_only=True,
    keys=OneKey(),
    budget=Budget(
        bfloat16=True, compile=True
    ),  # theirs is in single precision without a compiler, which differs by rounding and takes days longer
    sampler=Ancestral(steps=2000),
    samples=1024,
)

SCALES: Mapping[str, Scale] = {scale.name: scale for scale in (_SMOKE, _CPU, _GPU, _PAPER)}

TUNING_SHARE = 4  # a tuning trial has one part in so many of the steps
MIN_TUNING_SAMPLES = 32


def tuning_name(scale: str) -> str:
    """Return the name of the scale of the tuning trials of a scale."""
    return f"{scale}-tuning"


def tuning_scale(scale: Scale) -> Scale:
    """Return the scale of the tuning trials: a quarter of the steps, half of the samples, one seed."""
    budget = scale.budget
    return replace(
        scale,
        name=tuning_name(scale.name),
        about=f"the tuning grid of scale {scale.name}",
        budget=replace(budget, steps=max(1, budget.steps // TUNING_SHARE), warmup=budget.warmup // TUNING_SHARE),
        seeds=1,
        samples=max(MIN_TUNING_SAMPLES, scale.samples // 2),
        tuning_grid=(),
        held_out="validation",
        tunes=scale.name,
        experiments=(),
    )
