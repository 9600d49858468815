"""The paper's model and its ablations: each row differs from the first in one choice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from replication.models.embeddings import Embedding, FromAutoregressive, Gaussian, Learned, Pretrained, SkipGram
from replication.training.backbones import BackboneChange, Larger, Smaller

if TYPE_CHECKING:
    from replication.models.diffusion_lm import DiffusionLM
    from replication.training.model import ModelConfig
    from replication.training.scales import Scale, TuningPoint


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """The configuration of Diffusion-LM. Choices that are None are those of the scale.

    Attributes:
        embedding: Choice of the embeddings.
        dimension: Dimension d of the embeddings.
        backbone: Change of the scale's Transformer.
        clean_start: Whether the chain starts from the clean embeddings, with neither noise of x_0 nor a rounding term,
            as the official code trains frozen ones.
    """

    embedding: Embedding = field(default_factory=Learned)
    dimension: int | None = None
    backbone: BackboneChange | None = None
    clean_start: bool = False

    @property
    def needs(self) -> tuple[str, ...]:  # noqa: D102 - see ModelConfig
        source = self.embedding.source if isinstance(self.embedding, Pretrained) else None
        return (source.experiment,) if isinstance(source, FromAutoregressive) else ()

    def build(self, *, vocabulary: int, scale: Scale) -> DiffusionLM:  # noqa: D102 - see ModelConfig
        from replication.models.diffusion_lm import DiffusionLM

        if self.dimension:
            scale = replace(scale, dimension=self.dimension)
        if self.backbone:
            scale = replace(scale, backbone=self.backbone(scale.backbone, dimension=scale.dimension))
        return DiffusionLM(self.embedding, vocabulary=vocabulary, scale=scale, clean_start=self.clean_start)


Kind = Literal["trial", "control", "teacher", "tuning"]


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
        kind: Purpose of its trials: "trial" for a competitor, "control" to show what the measures can and cannot
            detect, "teacher" to judge the samples of the others, "tuning" to try an arm at one point before the
            comparison.
        arm: Name of the arm whose tuning point it takes; None if it is not tuned.
        point: Tuning point that its model is at; None if the scale alone decides.
        embeddings: Whether the report shows its embeddings, if it has any; False for a row that differs from another in
            something else.
        network: Whether a network is trained for it. Without one its results have the same bits on every machine.
        seeds: Seeds of the row; None for those of the scale.
        first_seed_only: Whether only the first of these seeds is run, as for a control that needs the weights of a
            trial of the scale.
    """

    name: str
    label: str
    model: ModelConfig
    colour: str
    note: str
    encoding: str = "paper"
    kind: Kind = "trial"
    arm: str | None = None
    point: TuningPoint | None = None
    embeddings: bool = True
    network: bool = True
    seeds: tuple[int, ...] | None = None
    first_seed_only: bool = False

    def seeds_at(self, scale: Scale) -> tuple[int, ...]:
        """Return the seeds of its trials at a scale."""
        seeds = scale.seeds if self.seeds is None else self.seeds
        return seeds[:1] if self.first_seed_only else seeds

    def note_at(self, scale: Scale) -> str:
        """Return the note; for a row that changes the backbone of the scale, with the sizes."""
        change = self.model.backbone if isinstance(self.model, Diffusion) else None
        return f"{self.note} {change.comparison(scale.backbone)}" if change else self.note


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
        name="gaussian-official",
        label="Diffusion-LM, Gaussian, official loss",
        model=Diffusion(embedding=Gaussian(), clean_start=True),
        colour="#A0522D",
        note="The Gaussian arm with the official loss of frozen embeddings: no noise of x_0, no rounding term.",
        arm="gaussian",
        embeddings=False,
    ),
    Experiment(
        name="pretrained-official",
        label="Diffusion-LM, skip-gram, official loss",
        model=Diffusion(embedding=Pretrained(SkipGram()), clean_start=True),
        colour="#117733",
        note="The skip-gram arm with the official loss of frozen embeddings: no noise of x_0, no rounding term.",
        arm="pretrained",
        embeddings=False,
    ),
    Experiment(
        name="e2e-large",
        label="Diffusion-LM, larger backbone",
        model=Diffusion(embedding=Learned(), backbone=Larger()),
        colour="#44546A",
        note="Ablation: a larger backbone, which is to the smaller one what BERT-base is to ELECTRA-small.",
        arm="e2e",
        embeddings=False,
    ),
    Experiment(
        name="e2e-small",
        label="Diffusion-LM, smaller backbone",
        model=Diffusion(embedding=Learned(), backbone=Smaller()),
        colour="#8A6D00",
        note="Ablation: a smaller backbone, with a third of the heads and of the width of the larger one.",
        arm="e2e",
        embeddings=False,
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
