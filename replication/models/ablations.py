"""The paper's model and its ablations: each row differs from the first in one thing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from replication.models.embeddings import Embedding, FromAutoregressive, Gaussian, Learned, Pretrained, SkipGram
from replication.training.backbones import Smaller
from replication.training.scales import Recipe

if TYPE_CHECKING:
    from replication.models.diffusion_lm import DiffusionLM
    from replication.training.model import ModelConfig
    from replication.training.scales import Budget, Point, Scale


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Diffusion-LM with one of the arms' embeddings, and with what else it has of its own: None is the scale's.

    Attributes:
        dimension: d, of the embeddings.
        backbone: what becomes of the scale's Transformer.
        recipe: the diffusion and its training.
    """

    embedding: Embedding = field(default_factory=Learned)
    dimension: int | None = None
    backbone: Smaller | None = None
    recipe: Recipe | None = None

    @property
    def needs(self) -> tuple[str, ...]:  # noqa: D102 - see FromTest
        source = self.embedding.source if isinstance(self.embedding, Pretrained) else None
        return (source.experiment,) if isinstance(source, FromAutoregressive) else ()

    def build(self, *, vocabulary: int, scale: Scale) -> DiffusionLM:  # noqa: D102 - see ModelConfig
        from replication.models.diffusion_lm import DiffusionLM

        if self.recipe:
            scale = self.recipe(scale)
        if self.backbone:
            scale = replace(scale, backbone=self.backbone(scale.backbone))
        if self.dimension:
            scale = replace(scale, dimension=self.dimension)
        return DiffusionLM(self.embedding, vocabulary=vocabulary, scale=scale)


Kind = Literal["trial", "control", "teacher", "audit", "tuning"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One row of the comparison.

    Attributes:
        name: for the command line, folders and tags; in another encoding than the paper's it ends with the encoding.
        label: for tables and figures.
        model: what to build.
        colour: the same in every figure and in MLflow; distinct to colour-blind readers, dark enough for text.
        note: one sentence on what the row is for.
        encoding: a row of `ENCODINGS`.
        kind: the purpose of its trials: "trial" for a competitor, "control" to show what the measures can and cannot
            see, "teacher" to judge the samples of the others, "audit" to check a published number, "tuning" to try an
            arm at one point before the comparison.
        arm: the name of the arm whose tuning point it takes; None if it is not tuned.
        point: the tuning point that its model is at; None where the scale decides alone.
        embeddings: whether the report shows its embeddings, if it has any; False for a row that differs from another in
            something else.
        network: whether a network is trained for it; without one its results have the same bits on every machine.
        budget: the training budget that it has instead of the scale's.
        seeds: its own seeds, instead of the scale's.
    """

    name: str
    label: str
    model: ModelConfig
    colour: str
    note: str
    encoding: str = "paper"
    kind: Kind = "trial"
    arm: str | None = None
    point: Point | None = None
    embeddings: bool = True
    network: bool = True
    budget: Budget | None = None
    seeds: tuple[int, ...] | None = None


_RECIPE = Recipe()

ABLATIONS: tuple[Experiment, ...] = (
    Experiment(
        name="e2e",
        label="Diffusion-LM, end-to-end",
        model=Diffusion(embedding=Learned()),
        colour="#0072B2",
        note="The paper's model: embeddings trained with the diffusion.",
        arm="e2e",
    ),
    Experiment(
        name="gaussian",
        label="Diffusion-LM, Gaussian",
        model=Diffusion(embedding=Gaussian()),
        colour="#E69F00",
        note="Ablation: frozen random embeddings.",
        arm="gaussian",
    ),
    Experiment(
        name="pretrained",
        label="Diffusion-LM, skip-gram",
        model=Diffusion(embedding=Pretrained(SkipGram())),
        colour="#009E73",
        note="Ablation: frozen embeddings, pretrained with skip-gram on the training split.",
        arm="pretrained",
    ),
    Experiment(
        name="pretrained-ar",
        label="Diffusion-LM, from AR",
        model=Diffusion(embedding=Pretrained(FromAutoregressive())),
        colour="#56B4E9",
        note="Ablation: frozen embeddings, taken from the autoregressive baseline.",
        arm="pretrained-ar",
    ),
    Experiment(
        name="e2e-small",
        label="Diffusion-LM, smaller backbone",
        model=Diffusion(embedding=Learned(), backbone=Smaller()),
        colour="#8A6D00",
        note="Ablation: about a third of the heads and of the width, as ELECTRA-small; one head of four at scale cpu.",
        arm="e2e",
        embeddings=False,
    ),
    Experiment(
        name="recipe",
        label="Diffusion-LM, the report's recipe",
        model=Diffusion(embedding=Learned(), dimension=128, recipe=_RECIPE),
        colour="#5B4B8A",
        note="Audit: 2,000 iterations as the music report trains, on whose loss its bits per word are read off.",
        seeds=(0, 1),
        kind="audit",
        budget=_RECIPE.budget,
        embeddings=False,
    ),
    Experiment(
        name="e2e-triples",
        label="Diffusion-LM, triples",
        model=Diffusion(embedding=Learned()),
        colour="#003366",
        note="The paper's model on another code: pitch, velocity and duration in full for every note.",
        encoding="triples",
    ),
    Experiment(
        name="e2e-remi",
        label="Diffusion-LM, REMI",
        model=Diffusion(embedding=Learned()),
        colour="#4B0082",
        note="The paper's model on another code: REMI, with bars and positions.",
        encoding="remi",
    ),
)
