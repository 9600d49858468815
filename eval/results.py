"""The results of a comparison as tidy frames: all that tables and figures may look at."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.corpus import printable
from eval.stages import read_samples, test_scores
from eval.suite import EXPERIMENTS, default
from eval.trial import EDITION
from replication.encodings import encoding_on
from replication.errors import UserError
from replication.files import read_json
from replication.piece import Beats, Seconds
from replication.scales import SCALES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from replication.piece import Grid

SHOWN = 5  # samples that figures may show: the first, unpicked
PITCH = re.compile(r"(?:p|Pitch_)(\d+)")  # a word that is a pitch: ours, REMI's
ROW = ("label", "colour", "note")
CURVES = ("step", "key", "value")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Everything that the trials of one scale on one corpus have left.

    Attributes:
        card: of the corpus; see `eval.corpus.facts`.
        about: of the comparison as a whole: scale, corpus, title, licence, length (tokens of a window), unit (of time:
            beat or second), steps and batch (of training), sampler_steps, configuration (the scale's), environment,
            command, commits.
        encodings: name, digest, train, validation and test (windows), songs (of the test split), vocabulary,
            ln_vocabulary and unigram_entropy (nats per token), floor_p95 (of the mean distance, as a ratio to the
            floor); a row for each encoding that has trials, in the order of the tables.
        experiments: name, label, colour, note, encoding; in the order of the tables; a row for each experiment that has
            trials.
        trials: experiment, seed, parameters, fit_seconds, sample_seconds, validity (share of samples without any
            repair), floor_ratio (mean distance to the test split in multiples of the noise floor), nll (nats per
            token), nll_note, nll_beat and nll_second (nats per each, NaN where the corpus has no such time), exact
            (False where these are upper bounds), nll_prior, nll_diffusion, nll_rounding (terms of a bound per token,
            else NaN).
        scores: experiment, encoding, seed, sample, valid, then one column per metric; rows with experiment "test" are
            real music, the test split in each encoding.
        distances: experiment, seed, metric, distance, floor, floor_p95, ratio, nan_rate, n.
        curves: experiment, seed, step, key, value; keys such as train/loss and val/loss.
        notes: experiment, encoding, sample, onset and duration (beats or seconds), pitch, velocity: the first samples
            of the first seed and, as experiment "test", the first windows of distinct test songs; unpicked.
        embeddings: experiment, seed, word, pitch (MIDI, of a word that is a pitch and that the training split has, else
            NaN), then one column d0, d1, ... per dimension.
    """

    card: dict[str, Any]
    about: dict[str, Any]
    encodings: pd.DataFrame
    experiments: pd.DataFrame
    trials: pd.DataFrame
    scores: pd.DataFrame
    distances: pd.DataFrame
    curves: pd.DataFrame
    notes: pd.DataFrame
    embeddings: pd.DataFrame


def gather(comparison: Path) -> Results:
    """Read the finished trials of a comparison's folder.

    Raises:
        UserError: if there are none.
    """
    import pandas as pd

    trials, data = _finished(comparison)
    folders = {
        (about["experiment"], about["seed"]): comparison / about["experiment"] / str(about["seed"]) for about in trials
    }
    own = {about["experiment"]: about["config"]["encoding"] for about in trials}
    experiments = [{"name": about["experiment"], **{key: about[key] for key in ROW}} for about in trials]
    distances = _stack(folders, lambda folder: pd.read_parquet(folder / "distances.parquet"))
    real = [_real(comparison, data, encoding) for encoding in dict.fromkeys(own.values())]
    samples = _stack(folders, _scores)
    samples.insert(1, "encoding", samples["experiment"].map(own))
    return Results(
        card=read_json(comparison / "card.json"),
        about=_about(data, trials),
        encodings=_encodings(data, distances, own),
        experiments=pd.DataFrame(experiments)
        .drop_duplicates("name", ignore_index=True)
        .assign(encoding=list(own.values())),
        trials=pd.DataFrame([_trial(key, folder) for key, folder in folders.items()]),
        scores=pd.concat([*real, samples], ignore_index=True),
        distances=distances,
        curves=_stack(folders, _curves, CURVES),
        notes=_notes(comparison, data, folders, own),
        embeddings=_stack(
            {key: folder for key, folder in folders.items() if key[1] == 0},
            lambda folder: _embedding(folder, data),
            ("word", "pitch"),
        ),
    )


def _finished(comparison: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return trial.json of each finished trial, in the order of the tables, and data.json, which all of them fit."""
    trials = [read_json(path.parent / "trial.json") for path in sorted(comparison.glob("*/*/scores.json"))]
    trials = [about for about in trials if about["status"] == "FINISHED"]
    rank = {name: index for index, name in enumerate(EXPERIMENTS)}
    trials.sort(key=lambda about: (rank.get(about["experiment"], len(rank)), about["experiment"], about["seed"]))
    if not trials or not (comparison / "data.json").exists():
        raise UserError(f"{comparison} holds no finished trial; run `etude run` for this scale and corpus first")
    data = read_json(comparison / "data.json")
    for about in trials:
        if about["config"]["edition"] != EDITION:
            raise UserError(f"{comparison} was made by another version of Etude; report with that one, or move it away")
        config, first = about["config"], trials[0]["config"]
        if config["data"] != data["encodings"][config["encoding"]]["digest"] or config["scale"] != first["scale"]:
            raise UserError(
                f"{comparison} mixes configurations: {about['experiment']} seed {about['seed']} was made with another"
                f" corpus or budget than {trials[0]['experiment']} seed {trials[0]['seed']}; move one of them away"
            )
    return trials, data


def _stack(
    trials: dict[tuple[str, int], Path], read: Callable[[Path], pd.DataFrame | None], columns: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Return the trials' frames below one another, experiment and seed in front; without any, nothing in `columns`."""
    import pandas as pd

    frames = []
    for (experiment, seed), folder in trials.items():
        frame = read(folder)
        if frame is not None:
            frame.insert(0, "experiment", experiment)
            frame.insert(1, "seed", seed)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["experiment", "seed", *columns])


def _about(data: dict[str, Any], trials: list[dict[str, Any]]) -> dict[str, Any]:
    scale = trials[0]["config"]["scale"]
    return {
        "scale": trials[0]["scale"],
        "corpus": printable(data["corpus"]),
        "title": data["title"],
        "licence": data["licence"],
        "length": scale["length"],
        "unit": "beat" if isinstance(_grid(data), Beats) else "second",
        "steps": scale["budget"]["steps"],
        "batch": scale["budget"]["batch"],
        "sampler_steps": scale["sampler_steps"],
        "configuration": scale,
        "environment": {
            key: trials[0]["environment"][key] for key in ("python", "packages", "processor", "cores", "threads", "gpu")
        },
        "command": f"python3 -m nox -s replicate -- --scale {trials[0]['scale']} --corpus {shlex.quote(data['given'])}"
        f" --seeds {len({about['seed'] for about in trials})}{_only(trials)}",
        "commits": sorted({about["environment"]["commit"] for about in trials}),
    }


def _only(trials: list[dict[str, Any]]) -> str:
    """Return the words that name the experiments, where they are not those of the scale."""
    names = list(dict.fromkeys(about["experiment"] for about in trials))
    usual = default(SCALES[trials[0]["scale"]])
    return "" if set(names) <= set(usual) else f" --only {' '.join(names)}"


def _encodings(data: dict[str, Any], distances: pd.DataFrame, own: dict[str, str]) -> pd.DataFrame:
    """Return a row for each encoding that experiments, the keys of `own`, have as theirs."""
    import pandas as pd

    mean = distances[distances["metric"] == "mean"]
    floors = (mean["floor_p95"] / mean["floor"]).groupby(mean["experiment"].map(own)).mean()
    rows = []
    for name in dict.fromkeys(own.values()):
        facts = data["encodings"][name]
        kept = {key: facts[key] for key in ("digest", "vocabulary", "ln_vocabulary", "unigram_entropy")}
        rows.append({"name": name, **kept, **facts["windows"], "songs": facts["songs"]["test"]})
        rows[-1]["floor_p95"] = float(floors[name])
    return pd.DataFrame(rows)


def _grid(data: dict[str, Any]) -> Grid:
    grid = data["grid"]
    if grid["type"] == "Beats":
        return Beats(steps_per_beat=grid["steps_per_beat"])
    return Seconds(steps_per_second=grid["steps_per_second"])


def _trial(key: tuple[str, int], folder: Path) -> dict[str, Any]:
    scores, nll = read_json(folder / "scores.json"), read_json(folder / "likelihood.json")
    terms = {} if nll["exact"] else nll["terms"]
    return {
        "experiment": key[0],
        "seed": key[1],
        "parameters": nll["parameters"],
        "fit_seconds": scores["cost/fit_seconds"],
        "sample_seconds": scores["cost/sample_seconds"],
        "validity": scores["eval/validity"],
        "floor_ratio": scores["eval/floor_ratio"],
        "nll": nll["nats_per_token"],
        **{f"nll_{unit}": _number(nll[f"nats_per_{unit}"]) for unit in ("note", "beat", "second")},
        "exact": nll["exact"],
        **{f"nll_{name}": terms.get(name, float("nan")) for name in ("prior", "diffusion", "rounding")},
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _scores(folder: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(folder / "scores.parquet").drop(columns="repairs")


def _real(comparison: Path, data: dict[str, Any], encoding: str) -> pd.DataFrame:
    """Return the scores of the test split in an encoding."""
    import pandas as pd

    path = test_scores(comparison, data["encodings"][encoding]["digest"])
    table = pd.read_parquet(path).drop(columns=["repairs", "group"])
    for place, (name, value) in enumerate({"experiment": "test", "encoding": encoding, "seed": 0}.items()):
        table.insert(place, name, value)
    return table


def _curves(folder: Path) -> pd.DataFrame | None:
    """Return the values of metrics.jsonl, one row each; a torn last line is left out."""
    import pandas as pd

    path = folder / "metrics.jsonl"
    if not path.exists():
        return None
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            record = json.loads(line)
            rows += [(record["step"], key, value) for key, value in record.items() if key not in {"step", "time"}]
    return pd.DataFrame(rows, columns=CURVES)


def _notes(
    comparison: Path, data: dict[str, Any], folders: dict[tuple[str, int], Path], own: dict[str, str]
) -> pd.DataFrame:
    """Return the notes of the first samples of every experiment's first seed, and of real windows."""
    import pandas as pd

    windows = {}
    for encoding in dict.fromkeys(own.values()):
        path = test_scores(comparison, data["encodings"][encoding]["digest"]).with_suffix(".npy")
        windows["test", encoding] = np.load(path, allow_pickle=False)
    for (experiment, seed), folder in folders.items():
        if seed == 0:
            windows[experiment, own[experiment]] = read_samples(folder)[:SHOWN]
    columns, grid, frames = ["onset", "duration", "pitch", "velocity"], _grid(data), []
    steps = grid.steps_per_beat if isinstance(grid, Beats) else grid.steps_per_second
    for (experiment, encoding), tokens in windows.items():
        code = encoding_on(encoding, grid)
        for sample, row in enumerate(tokens.tolist()):
            notes = code.decode(row).notes
            frame = pd.DataFrame({name: notes[name].astype(int) for name in columns})
            frames.append(frame.assign(experiment=experiment, encoding=encoding, sample=sample))
    table = pd.concat(frames, ignore_index=True)[["experiment", "encoding", "sample", *columns]]
    return table.assign(onset=table["onset"] / steps, duration=table["duration"] / steps)


def _embedding(folder: Path, data: dict[str, Any]) -> pd.DataFrame | None:
    """Return the table of a diffusion model, one row per word."""
    import pandas as pd
    from safetensors.numpy import load_file

    encoding = read_json(folder / "trial.json")["config"]["encoding"]
    tensors = load_file(folder / "checkpoint" / "model.safetensors")
    if "rounding_bias" not in tensors:  # no embedding that is diffused
        return None
    table = tensors["embedding.weight"]
    frame = pd.DataFrame(table, columns=[f"d{index}" for index in range(table.shape[1])])
    words, used = encoding_on(encoding, _grid(data)).vocabulary, set(data["encodings"][encoding]["words_used"])
    pitches = [PITCH.fullmatch(word) if word in used else None for word in words]
    frame.insert(0, "word", words)
    frame.insert(1, "pitch", [float(found[1]) if found else float("nan") for found in pitches])
    return frame
