"""The results of a comparison as tidy frames: all that tables and figures may look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.stages import read_samples, test_scores
from eval.suite import EXPERIMENTS
from replication.errors import UserError
from replication.files import read_json
from replication.tokens import ENCODINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

SHOWN = 5  # samples that figures may show: the first, unpicked
CURVES = ("experiment", "seed", "step", "key", "value")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Everything that the trials of one scale on one corpus have left.

    Attributes:
        about: of the comparison as a whole: scale, corpus, length (tokens of a window), windows (per split), songs (of
            the test split), vocabulary, ln_vocabulary and unigram_entropy (nats per token), steps and batch (of
            training), sampler_steps, configuration (the scale's), environment, command, commits, floor_p95 (of the
            mean distance, as a ratio to the floor).
        experiments: name, label, colour, note; in the order of the tables; a row for each experiment that has trials.
        trials: experiment, seed, parameters, fit_seconds, sample_seconds, validity (share of samples without any
            repair), floor_ratio (mean distance to the test split in multiples of the noise floor), nll (nats per
            token), exact (False where nll is an upper bound), nll_prior, nll_diffusion, nll_rounding (terms of a
            bound, else NaN).
        scores: experiment, seed, sample, valid, then one column per metric; rows with experiment "test" are real music.
        distances: experiment, seed, metric, distance, floor, floor_p95, ratio, nan_rate, n.
        curves: experiment, seed, step, key, value; keys such as train/loss and val/loss.
        notes: experiment, sample, onset, duration, pitch, velocity: the first samples of the first seed and, as
            experiment "test", the first windows of distinct test songs; unpicked.
        embeddings: experiment, seed, word, then one column d0, d1, ... per dimension.
    """

    about: dict[str, Any]
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

    trials = [read_json(path.parent / "trial.json") for path in sorted(comparison.glob("*/*/scores.json"))]
    trials = [about for about in trials if about["status"] == "FINISHED"]
    rank = {name: index for index, name in enumerate(EXPERIMENTS)}
    trials.sort(key=lambda about: (rank.get(about["experiment"], len(rank)), about["seed"]))
    if not trials or not (comparison / "data.json").exists():
        raise UserError(f"{comparison} holds no finished trial; run `etude run` for this scale and corpus first")
    folders = {
        (about["experiment"], about["seed"]): comparison / about["experiment"] / str(about["seed"]) for about in trials
    }
    data = read_json(comparison / "data.json")
    for about in trials:
        config, first = about["config"], trials[0]["config"]
        if config["data"] != data["digest"] or any(config[key] != first[key] for key in ("edition", "scale")):
            raise UserError(
                f"{comparison} mixes configurations: {about['experiment']} seed {about['seed']} was made with another"
                f" corpus or budget than {trials[0]['experiment']} seed {trials[0]['seed']}; move one of them away"
            )
    experiments = (
        pd.DataFrame(
            {about["experiment"]: {key: about[key] for key in ("label", "colour", "note")} for about in trials}
        )
        .T.rename_axis("name")
        .reset_index()
    )
    distances = _stack(folders, lambda folder: pd.read_parquet(folder / "distances.parquet"))
    mean = distances[distances["metric"] == "mean"]
    return Results(
        about=_about(data, trials) | {"floor_p95": float((mean["floor_p95"] / mean["floor"]).mean())},
        experiments=experiments,
        trials=pd.DataFrame([_trial(key, folder) for key, folder in folders.items()]),
        scores=pd.concat([_real(comparison, data), _stack(folders, _scores)], ignore_index=True),
        distances=distances,
        curves=pd.concat([pd.DataFrame(columns=CURVES), _stack(folders, _curves)], ignore_index=True),
        notes=_notes(comparison, data, folders),
        embeddings=_stack({key: folder for key, folder in folders.items() if key[1] == 0}, _embedding),
    )


def _stack(trials: dict[tuple[str, int], Path], read: Callable[[Path], pd.DataFrame | None]) -> pd.DataFrame:
    """Return the trials' frames below one another, with the columns experiment and seed in front."""
    import pandas as pd

    frames = []
    for (experiment, seed), folder in trials.items():
        frame = read(folder)
        if frame is not None:
            frame.insert(0, "experiment", experiment)
            frame.insert(1, "seed", seed)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["experiment", "seed"])


def _about(data: dict[str, Any], trials: list[dict[str, Any]]) -> dict[str, Any]:
    scale = trials[0]["config"]["scale"]
    return {
        "scale": trials[0]["scale"],
        "corpus": data["corpus"],
        "title": data["title"],
        "licence": data["licence"],
        "digest": data["digest"],
        "length": scale["length"],
        "windows": data["windows"],
        "songs": data["songs"]["test"],
        "vocabulary": data["vocabulary"],
        "pitches": [word for word in data["words_used"] if word.startswith("p")],
        "ln_vocabulary": data["ln_vocabulary"],
        "unigram_entropy": data["unigram_entropy"],
        "steps": scale["budget"]["steps"],
        "batch": scale["budget"]["batch"],
        "sampler_steps": scale["sampler_steps"],
        "configuration": scale,
        "environment": {
            key: trials[0]["environment"][key] for key in ("python", "packages", "processor", "cores", "threads", "gpu")
        },
        "command": f"python3 -m nox -s replicate -- --scale {trials[0]['scale']} --corpus {data['corpus']}"
        f" --seeds {len({about['seed'] for about in trials})}",
        "commits": sorted({about["environment"]["commit"] for about in trials}),
    }


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
        "exact": nll["exact"],
        **{f"nll_{name}": terms.get(name, float("nan")) for name in ("prior", "diffusion", "rounding")},
    }


def _scores(folder: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(folder / "scores.parquet").drop(columns="repairs")


def _real(comparison: Path, data: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_parquet(test_scores(comparison, data["digest"])).drop(columns=["repairs", "group"])
    table.insert(0, "experiment", "test")
    table.insert(1, "seed", 0)
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
    return pd.DataFrame(rows, columns=["step", "key", "value"])


def _notes(comparison: Path, data: dict[str, Any], folders: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """Return the notes of the first samples of every experiment's first seed, and of real windows."""
    import pandas as pd

    windows = {"test": np.load(test_scores(comparison, data["digest"]).with_suffix(".npy"), allow_pickle=False)}
    for (experiment, seed), folder in folders.items():
        if seed == 0:
            windows[experiment] = read_samples(folder)[:SHOWN]
    columns = ["onset", "duration", "pitch", "velocity"]
    frames = []
    for experiment, tokens in windows.items():
        for sample, row in enumerate(tokens.tolist()):
            notes = ENCODINGS[data["encoding"]].decode(row).notes
            frame = pd.DataFrame({name: notes[name].astype(int) for name in columns})
            frames.append(frame.assign(experiment=experiment, sample=sample))
    return pd.concat(frames, ignore_index=True)[["experiment", "sample", *columns]]


def _embedding(folder: Path) -> pd.DataFrame | None:
    """Return the table of a diffusion model, one row per word."""
    import pandas as pd
    from safetensors.numpy import load_file

    about = read_json(folder / "trial.json")
    tensors = load_file(folder / "checkpoint" / "model.safetensors")
    if "rounding_bias" not in tensors:  # no embedding that is diffused
        return None
    table = tensors["embedding.weight"]
    frame = pd.DataFrame(table, columns=[f"d{index}" for index in range(table.shape[1])])
    frame.insert(0, "word", ENCODINGS[about["config"]["encoding"]].vocabulary)
    return frame
