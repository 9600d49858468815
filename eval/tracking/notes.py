"""Write the Markdown descriptions of the experiment and of its runs in MLflow."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from eval.claims.claims import CLAIMS
from eval.claims.declaration import concerns, trial_standing
from eval.results.tuning import point_words
from eval.tracking.views import NAME, address
from replication.training.scales import SCALES
from replication.util.files import read_json
from replication.util.text import printable

if TYPE_CHECKING:
    from pathlib import Path

_ETUDE = """**Etude** tests the claims of Diffusion-LM on symbolic piano music. The model, its ablations, \
baselines and controls are trained and scored alike.

One run is one trial: a variant with one seed. Each run has the tags `variant`, `seed`, `scale`, `corpus` and \
`kind`. The kind is `trial`, `control`, `tuning` (a grid point tried before the comparison), `teacher` (the model \
that judges samples), `audit` (of a published number) or `reference` (real music, published numbers). Scores are at \
step 0. `distance` and `x/` are multiples of the noise floor, which is the distance between two halves of the real \
music. `own/` has the same measures in their own units, `avg/` the means of metrics over samples, `nan/` the shares of \
samples without a value, and `muspy/` the numbers of muspy. In names, `pc` is a pitch class, `ioi` the time between \
onsets, `sd` a standard deviation, `se` a standard error, and `s` seconds."""
_VIEW = """[{name}]({address}) shows models and real music. Bars are means over seeds, and curves have the range of \
the seeds around them. MLflow draws no intervals; the report has them, and the verdicts on the claims."""
_SYNCED = """Every run is a view of a folder in `runs/`. `etude sync` updates MLflow from these folders."""


def experiment_note(experiment: str) -> str:
    """Return the description of the experiment.

    Args:
        experiment: Number of the experiment in MLflow, for links.
    """
    blocks = [
        _ETUDE,
        "### Claims",
        "\n".join(f"- **{claim.name}** {claim.statement}" for claim in CLAIMS),
        "### Charts",
        _VIEW.format(name=NAME, address=address(experiment)),
        "### To reproduce, in a clone of the repository",
        "    python3 -m nox -s replicate -- --scale cpu",
        _SYNCED,
    ]
    return "\n\n".join(blocks) + "\n"


def run_note(about: dict[str, Any], folder: Path) -> str:
    """Return the description of a trial: its purpose, its claims and the command that reproduces it.

    Args:
        about: Content of trial.json.
        folder: Folder of the trial, `runs/SCALE/CORPUS/EXPERIMENT/SEED`.
    """
    commit, changes = about["environment"]["commit"].partition("+")[::2]
    standing = trial_standing(about, folder.parents[1])
    claims = [claim for claim in CLAIMS if concerns(about, claim)]
    blocks = [
        f"**{about['label']}**, seed {about['seed']}. {about['note']}{_point(about)}",
        *(f"Claim **{claim.name}** ({standing}): {claim.statement}" for claim in claims),
        f"Made at commit `{commit}`{' with changes' if changes else ''}.",
        "To reproduce this run and the runs it depends on, in a clone of the repository:",
        f"    {_command(about, folder)}",  # an indented code block: no character in it is Markdown
    ]
    return "\n\n".join(blocks) + "\n"


def _point(about: dict[str, Any]) -> str:
    """Return the sentence with the tuning point of a trial, if it has one."""
    words = point_words(about)
    return "" if words is None else f" Embeddings: {words}."


def _command(about: dict[str, Any], folder: Path) -> str:
    scale, experiment = about["scale"], about["experiment"]
    if about["tunes"]:  # a tuning trial is run before the comparison of its arm
        scale, experiment = about["tunes"], about["arm"] or experiment
    data = folder.parents[3] / scale / folder.parents[1].name / "data.json"
    corpus = read_json(data)["given"] if data.exists() else about["corpus"]
    seeds = SCALES[scale].count_of([about["seed"]]) if scale in SCALES else about["seed"] + 1
    words = ["--scale", scale, "--corpus", printable(corpus), "--only", experiment, "--seeds", str(seeds)]
    return f"python3 -m nox -s replicate -- {shlex.join(words)}"
