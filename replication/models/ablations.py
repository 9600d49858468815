"""The paper's model and its ablations: each row differs from the first in one choice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replication.models.embeddings import Embedding, FromAutoregressive, Gaussian, Learned, Pretrained, SkipGram
from replication.training.backbones import Smaller
from replication.training.scales import Recipe

if TYPE_CHECKING:
    from replication.models.diffusion_lm import DiffusionLM
    from replication.training.model import ModelConfig
    from replication.training.scales import Scale


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """The configuration of Diffusion-LM. Choices that are None are those of the scale.

    Attributes:
        embedding: Choice of the embeddings.
        dimension: Dimension d of the embeddings.
        backbone: Change of the scale's Transformer.
        recipe: Diffusion process and training budget that replace the scale's.
    """

    embedding: Embedding = field(default_factory=Learned)
    dimension: int | None = None
    backbone: Smaller | None = None
    recipe: Recipe | None = None

    @property
    def needs(self) -> tuple[str, ...]:  # noqa: D102 - see ModelConfig
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


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One row of the comparison.

    Attributes:
        name: Name on the command line, in folders and in tags. It ends with the encoding, unless that is the paper's.
        label: Name in tables and figures.
        model: Configuration of the model.
        colour: Colour in every figure and in MLflow, distinct to colour-blind readers and dark enough for text.
        note: One sentence that describes the row.
        encoding: Name of a row of `ENCODINGS`.
        control: Whether the row is a control, which shows what the measures can detect and does not compete.
        seeds: Seeds of the row; None for those of the scale.
    """

    name: str
    label: str
    model: ModelConfig
    colour: str
    note: str
    encoding: str = "paper"
    control: bool = False
    seeds: tuple[int, ...] | None = None


ABLATIONS: tuple[Experiment, ...] = (
    Experiment(
        name="e2e",
        label="Diffusion-LM, end-to-end",
        model=Diffusion(embedding=Learned()),
        colour="#0072B2",
        note="The paper's model: embeddings trained with the diffusion.",
    ),
    Experiment(
        name="gaussian",
        label="Diffusion-LM, Gaussian",
        model=Diffusion(embedding=Gaussian()),
        colour="#E69F00",
        note="Ablation: frozen random embeddings.",
    ),
    Experiment(
        name="pretrained",
        label="Diffusion-LM, skip-gram",
        model=Diffusion(embedding=Pretrained(SkipGram())),
        colour="#009E73",
        note="Ablation: frozen embeddings, pretrained with skip-gram on the training split.",
    ),
    Experiment(
        name="pretrained-ar",
        label="Diffusion-LM, from AR",
        model=Diffusion(embedding=Pretrained(FromAutoregressive())),
        colour="#56B4E9",
        note="Ablation: frozen embeddings, taken from the autoregressive baseline.",
    ),
    Experiment(
        name="e2e-small",
        label="Diffusion-LM, smaller backbone",
        model=Diffusion(embedding=Learned(), backbone=Smaller()),
        colour="#8A6D00",
        note="Ablation: a third of the heads and of the width, as in ELECTRA-small; at scale cpu, one head of four.",
    ),
    Experiment(
        name="recipe",
        label="Diffusion-LM, the report's recipe",
        model=Diffusion(embedding=Learned(), dimension=128, recipe=Recipe()),
        colour="#5B4B8A",
        note="Audit: 2,000 iterations trained as in the music report, to check its bits per word, read off the loss.",
        seeds=(0, 1),
    ),
    Experiment(
        name="e2e-triples",
        label="Diffusion-LM, triples",
        model=Diffusion(embedding=Learned()),
        colour="#003366",
        note="The paper's model in another encoding: every note in full, as pitch, velocity and duration.",
        encoding="triples",
    ),
    Experiment(
        name="e2e-remi",
        label="Diffusion-LM, REMI",
        model=Diffusion(embedding=Learned()),
        colour="#4B0082",
        note="The paper's model in another encoding: REMI, with bars and positions.",
        encoding="remi",
    ),
)
