"""The scales: one budget for every model of a comparison."""

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
    """How long and how to train; the defaults are Diffusion-LM's (Li et al. 2022, section 6.1 and README)."""

    steps: int = 200_000
    batch: int = 64  # windows per step
    accumulate: int = 1  # pieces that a batch is cut into, to fit into memory
    learning_rate: float = 1e-4  # falls linearly to 0
    anneal: int | None = None  # steps in which it would get there; None: all
    warmup: int = 0  # steps
    weight_decay: float = 0.0
    clip: float | None = None  # largest gradient norm
    ema: float = 0.9999
    ema_warmup: bool = False  # the average follows fast at first, for budgets that are short against its memory
    bfloat16: bool = False  # matrix products in bfloat16 where the processor has them
    compile: bool = False  # by torch.compile, where that works
    resident: bool = True  # training windows are kept on the device; if not, they are read from their file step by step
    log_every: int = 50
    validate_every: int = 2000
    checkpoint_every: int = 2000
    milestones: tuple[int, ...] = ()  # steps whose weights, not averaged, are kept


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where the embeddings of an arm lie, as factors of where they do without tuning.

    Attributes:
        dimension: of d.
        scale: of their size against the noise.
    """

    dimension: int = 1
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """All that the trials of a comparison share.

    Attributes:
        name: the row's name in `SCALES`.
        about: one line for people.
        corpus: the default corpus.
        length: L, tokens of a window, the two marks included.
        first_only: the first window of every piece and no other.
        keys: in which keys pieces are written.
        backbone: the Transformer of every neural model.
        dimension: d, of the diffused embeddings.
        timesteps: T, of the diffusion.
        schedule: the noise.
        budget: of training.
        sampler: how diffusion models draw samples.
        strata: timesteps drawn per window for the likelihood bound.
        seeds: trials of each experiment.
        samples: windows drawn from each trial.
        grid: where the embeddings of every arm are tried before the comparison; see `etude.runner.tuning`.
        held_out: the split that trials are compared with.
        tunes: the name of the scale whose arms are tuned at this one; None for the scale of a comparison.
        experiments: what `etude run` runs by default; all rows in the paper's encoding where empty.
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
    grid: tuple[Point, ...] = ()
    held_out: str = "test"
    tunes: str | None = None
    experiments: tuple[str, ...] = ()

    @property
    def cutting(self) -> Cutting:
        """How pieces become windows."""
        return Cutting(length=self.length, first_only=self.first_only, keys=self.keys)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a model has of its own instead of the scale's: the diffusion, dropout and budget.

    The defaults are those of Kasera, Liu and Li (2022), who adapted Diffusion-LM to music; the number of iterations is
    the last that they report.
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
        """Return the scale with the recipe in it; how the machine computes stays the scale's choice."""
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


# The smallest grid that tells both: larger embeddings are easier to denoise, in scale as in dimension.
_GRID = tuple(Point(dimension=dimension, scale=scale) for dimension in (1, 2) for scale in (1.0, 0.5))

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

# Chosen by measurement on Bach and two cores, at equal time: steps are worth more than width or batch. End-to-end, one
# seed, distance in floors: width 128, 1,500 x 32 windows 3.6; 96, 2,400 x 16 3.7; 64, 7,000 x 8 2.8; 64, 4,000 x 16
# 2.4. Sampler steps 25, 50, 100: 2.8, 2.6, 2.4; without clamping 3.4 and 3.5 at 50 and 100.
_CPU = Scale(
    name="cpu",
    about="25 minutes on two cores: a demonstration, its verdicts may be inconclusive",
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
    grid=_GRID,
    experiments=("e2e", "gaussian", "pretrained", "e2e-small", "recipe", "autoregressive", "ngram"),
)

_GPU = Scale(
    name="gpu",
    about="one datacentre GPU, minutes a trial: the scale that settles",
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
    grid=_GRID,
)

# Li et al. 2022, section 6.1 and appendix F, and their README: the defaults of Bert, Budget and Sqrt are theirs.
_PAPER = Scale(
    name="paper",
    about="to the letter, days: BERT-base, d 16, T 2000, batch 64, 200,000 steps; first windows only, in one key",
    first_only=True,
    keys=OneKey(),
    budget=Budget(bfloat16=True, compile=True),  # single precision and no compiler in theirs: rounding, and days
    sampler=Ancestral(steps=2000),
    samples=1024,
)

SCALES: Mapping[str, Scale] = {scale.name: scale for scale in (_SMOKE, _CPU, _GPU, _PAPER)}

SHARE = 4  # the tuning has one part in so many of the steps


FEWEST_SAMPLES = 32


def tuning_name(scale: str) -> str:
    """Return the name of the scale on which the arms of a scale are tuned."""
    return f"{scale}-tuning"


def tuning_scale(scale: Scale) -> Scale:
    """Return what the trials of a scale's grid share: a quarter of the steps, half of the samples, one seed."""
    budget = scale.budget
    return replace(
        scale,
        name=tuning_name(scale.name),
        about=f"the grid of scale {scale.name}",
        budget=replace(budget, steps=max(1, budget.steps // SHARE), warmup=budget.warmup // SHARE),
        seeds=1,
        samples=max(FEWEST_SAMPLES, scale.samples // 2),
        grid=(),
        held_out="validation",
        tunes=scale.name,
        experiments=(),
    )
