"""What MLflow says beside the numbers, in Markdown: what the experiment is, and what each run is."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from eval.claims.claims import CLAIMS, Contrasted
from eval.tracking.views import VIEWS, address
from replication.training.scales import tuning_name
from replication.util.files import read_json
from replication.util.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from eval.claims.claims import Correlated

_ETUDE = """**Etude** asks what the claims of Diffusion-LM on symbolic piano music are worth: the model, its \
ablations, baselines and controls, trained and scored alike.

One run is one trial: a variant with one seed. Tags: `variant`, `seed`, `scale`, `corpus` and `kind`, which is \
`trial`, `control`, `tuning` (of the grid before a comparison), `teacher` (that judges samples), `audit` (of a \
published number) or `reference` (real music, published numbers). Scores are at step 0. `distance` and \
`floors/` are multiples of the noise floor: what one half of the real music is from the other is \
1."""
_NO_INTERVALS = """Bars of variants are means over seeds and curves have the range of the seeds around them. MLflow \
draws no intervals: the report has them, and the verdicts on the claims."""
_SYNCED = """Every run is a view of a folder under `runs/`; `etude sync` makes the two agree again, and \
`etude report --from-mlflow` makes the report from here alone."""


def experiment_note(experiment: str) -> str:
    """Return what the experiment of this number is: the claims, the views, how to make it again."""
    blocks = [
        _ETUDE,
        "### Claims, declared before the trials",
        "\n".join(f"- **{claim.name}** {claim.statement}" for claim in CLAIMS),
        "### Views",
        "\n".join(f"- [{view.name}]({address(experiment, view)}): {view.about}" for view in VIEWS),
        _NO_INTERVALS,
        "### To reproduce",
        "    python3 -m nox -s replicate -- --scale cpu",
        _SYNCED,
    ]
    return "\n\n".join(blocks) + "\n"


def run_note(about: dict[str, Any], folder: Path) -> str:
    """Return what a trial is for and the command that makes it again.

    Args:
        about: trial.json.
        folder: of the trial, `runs/SCALE/CORPUS/EXPERIMENT/SEED`.
    """
    commit, changes = about["environment"]["commit"].partition("+")[::2]
    serves = [claim for claim in CLAIMS if _serves(about, claim)]
    blocks = [
        f"**{about['label']}**, seed {about['seed']}. {about['note']}",
        *(f"Claim **{claim.name}**: {claim.statement}" for claim in serves),
        f"Made at commit `{commit}`{' with changes' if changes else ''}. To make it, what it needs and earlier seeds:",
        f"    {_command(about, folder)}",  # indented, so that no name can end it
    ]
    return "\n\n".join(blocks) + "\n"


def _serves(about: dict[str, Any], claim: Contrasted | Correlated) -> bool:
    if isinstance(claim, Contrasted):
        return about["kind"] == "trial" and about["experiment"] in {claim.ours, claim.other}
    return bool(about["kind"] == "audit")


def _command(about: dict[str, Any], folder: Path) -> str:
    scale, experiment = about["scale"], about["experiment"]
    if about["kind"] == "tuning":  # what the grid is for makes it
        scale, experiment = scale.removesuffix(tuning_name("")), experiment.partition("-d")[0]
    data = folder.parents[3] / scale / folder.parents[1].name / "data.json"
    corpus = read_json(data)["given"] if data.exists() else about["corpus"]
    words = ["--scale", scale, "--corpus", printable(corpus), "--only", experiment, "--seeds", str(about["seed"] + 1)]
    return f"python3 -m nox -s replicate -- {shlex.join(words)}"
