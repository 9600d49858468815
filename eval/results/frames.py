"""Read a comparison into tidy data frames, the only input of tables and figures."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from eval.metrics.table import refused
from eval.results import trial_rows
from eval.results.anomalies import FAILED, UNFINISHED, Occurrence, find_anomalies
from eval.results.declared import declaration_of
from eval.results.sampler_study import COLUMNS as SAMPLER_COLUMNS
from eval.results.sampler_study import sampler_rows
from eval.results.schema import EDITION, TEXT_COLUMNS, as_written, read_point, read_trial
from eval.results.trial_folder import TrialFolder
from eval.results.trial_rows import parquet, stack
from eval.results.tuning import grid_rows, point_words
from eval.scoring.experiments import EXPERIMENTS, default
from eval.scoring.measures import DISTANCE, scoring_version
from eval.scoring.reference import reference_file
from eval.scoring.trajectory import CURVES, NOTES
from replication.midi.piece import Beats, Seconds
from replication.training.scales import SCALES, TuningPoint
from replication.util.checksums import check_all
from replication.util.errors import UserError
from replication.util.files import read_json
from replication.util.program import command
from replication.util.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from replication.midi.piece import TimeGrid
    from replication.training.scales import Scale

ROW = ("label", "colour", "note")


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The results of all trials of one scale on one corpus.

    Attributes:
        card: Facts of the corpus's data card; see `replication.windows.data_card.facts`.
        about: Facts of the whole comparison: scale, corpus, title, licence, length (tokens per window), unit (of time:
            beat or second), refused (metrics that the corpus does not admit, with the reason), tuned (grid point of
            each tuned experiment with each seed), steps and batch (of training), evaluations (of the network per
            diffusion sample), configuration (of the scale), declaration (of the claims, with the hash that each trial
            was started under; or None), sigma_0 (of the noise at the first timestep), environment, command, commits.
        encodings: Columns name, digest, train, validation and test (windows), songs (of the test split), vocabulary,
            words_in_test (of the vocabulary, special tokens included), ln_vocabulary and unigram_entropy (nats per
            token), floor_p95 (of the mean distance, as a ratio to the floor). One row per encoding that has trials, in
            the order of the tables.
        experiments: Columns name, label, colour, note, control, encoding. One row per experiment that has trials, in
            the order of the tables.
        trials: Columns experiment, seed, parameters, tokens_seen (in all batches of training, padding included), flop
            (floating-point operations of training; both NaN if no network is trained), fit_seconds, sample_seconds,
            validity (share of samples that need no repair), searched (share of the training windows that are searched
            for copies), nll (nats per token), nll_note, nll_beat and nll_second (nats per each; NaN if the corpus has
            no such time), nll_error (standard error of the estimate of a bound), nll_error_songs (over songs),
            estimator (the constants of `Interpolated` of a bound, else empty), nll_plain and nll_plain_error (nats per
            token and standard error of the bound with the estimator `Plain`, else NaN), exact (False if these are upper
            bounds), nll_prior, nll_diffusion and nll_rounding (terms of a bound per token, else NaN). Controls made of
            real windows have neither likelihood nor costs.
        anomalies: Columns experiment, seed, anomaly (a name in `eval.results.anomalies.ANOMALIES`), first and last
            (training steps), value. Includes trials that are in no other frame because they failed or are unfinished.
        scores: Columns experiment, encoding, seed, sample, valid, song, copied (share of the runs of 8 notes that occur
            in training), then one column per metric. Rows of experiment "test" are real music: the test split in each
            encoding.
        form: Columns experiment, encoding, seed, lag, value, error, reach; see `eval.scoring.sample_set.form_of`.
            "test" as in scores.
        distances: Columns experiment, seed, metric, distance, floor, floor_p95, ratio, worst, nan_rate, n.
        measures: Columns experiment, seed, measure (a name in `eval.scoring.measures.MEASURES`), value, floor,
            floor_p95, ratio (multiple of the noise floor), p, n: every number that describes a sample set as a whole.
        raw: Columns experiment, seed, metric, value (mean over samples of the metric as muspy computes it), real (the
            same of the test split).
        curves: Columns experiment, seed, step, key, value; the training logs, with keys such as train/loss.
        notes: Columns experiment, encoding, sample, onset and duration (beats or seconds), pitch, velocity: the first
            samples of the first seed and, as experiment "test", the first windows of distinct test songs. Not
            selected by hand.
        pairs: Columns experiment, seed, pair, side (sample or train), share (of the sample's runs), onset, duration,
            pitch: the samples of the first seed that are closest to a training window.
        embeddings: Columns experiment, seed, word, pitch (MIDI; NaN unless the word is a pitch and occurs in the
            training split), then one column d0, d1, ... per dimension.
        trajectory: Columns experiment, seed, step, t, flips, margin, entropy, validity; see `eval.scoring.trajectory`.
        trajectory_notes: Columns experiment, seed, level, onset, duration, pitch, velocity: the first sample of the
            first seed.
        grid: Columns arm, seed, dimension, scale, distance (floors, to the validation split), nll, chosen.
        audits: Columns experiment, seed, age (training steps), bits_per_word, nll (bound, nats per token), nll_error
            (its standard error), teacher_gap (nats per token; NaN without a teacher), distance (floors); see
            `eval.scoring.bits_per_word.audit`. One row per diffusion model and age, and those of embeddings alone.
        jackknife: Columns experiment, seed, song (family of the test split), distance: the endpoint without that song.
        samplers: Columns experiment, seed, sampler (a name in `eval.results.sampler_study.SAMPLERS`), evaluations (of
            the network per sample), distance (floors), classifier_auc, validity, entropy (nats per token), seconds.
            Empty if no study was run.
        fingerprints: Columns experiment, seed, weights and samples (SHA-256, empty if there are none), places (the
            environments in which the trial ran, as JSON). Includes the teacher.
    """

    card: dict[str, Any]
    about: dict[str, Any]
    encodings: pd.DataFrame
    experiments: pd.DataFrame
    trials: pd.DataFrame
    anomalies: pd.DataFrame
    scores: pd.DataFrame
    form: pd.DataFrame
    distances: pd.DataFrame
    measures: pd.DataFrame
    raw: pd.DataFrame
    curves: pd.DataFrame
    notes: pd.DataFrame
    pairs: pd.DataFrame
    embeddings: pd.DataFrame
    trajectory: pd.DataFrame
    trajectory_notes: pd.DataFrame
    grid: pd.DataFrame
    audits: pd.DataFrame
    jackknife: pd.DataFrame
    samplers: pd.DataFrame
    fingerprints: pd.DataFrame


def gather(comparison: Path) -> Results:
    """Read the finished trials in the folder of a comparison.

    Raises:
        UserError: if there are none, or if a file was changed after it was written or is malformed.
    """
    with as_written(comparison):
        return checked(_gather(comparison))


def _gather(comparison: Path) -> Results:
    import pandas as pd

    everything, data = _finished(comparison)
    for folder in (*_folders(comparison, everything).values(), comparison / "reference"):
        check_all(folder)  # missing files are allowed: a tracking store has no weights
    # The teacher has no rows of its own: it only serves to judge the others.
    abouts = [about for about in everything if about["kind"] in {"trial", "control"}]
    folders = _folders(comparison, abouts)
    seeds = {name: min(seed for other, seed in folders if other == name) for name, _ in folders}
    first = {key: folder for key, folder in folders.items() if key[1] == seeds[key[0]]}
    own = {about["experiment"]: about["config"]["encoding"] for about in abouts}
    digests = {name: facts["digest"] for name, facts in data["encodings"].items()}
    experiments = [
        {"name": about["experiment"], **{key: about[key] for key in ROW}, "control": about["kind"] == "control"}
        for about in abouts
    ]
    measures = stack(folders, trial_rows.measure_rows)
    return Results(
        card=read_json(comparison / "card.json"),
        about=_about(data, abouts) | {"declaration": declaration_of(comparison, everything)},
        encodings=_encodings(data, measures, own),
        experiments=pd.DataFrame(experiments)
        .drop_duplicates("name", ignore_index=True)
        .assign(encoding=list(own.values())),
        trials=pd.DataFrame([trial_rows.trial_row(*key, folder) for key, folder in folders.items()]),
        anomalies=anomaly_rows(comparison),
        scores=_with_real(comparison, own, digests, stack(folders, parquet("scores")), "scores"),
        form=_with_real(comparison, own, digests, stack(folders, parquet("form")), "form"),
        distances=stack(folders, parquet("distances")),
        measures=measures,
        raw=_raw(comparison, folders, own, digests),
        curves=stack(folders, trial_rows.curve_rows, trial_rows.CURVE_COLUMNS),
        notes=_with_real(comparison, own, digests, stack(first, parquet("notes")), "notes"),
        pairs=stack(first, parquet("pairs"), trial_rows.PAIR_COLUMNS),
        embeddings=stack(
            folders, lambda folder: trial_rows.embedding_rows(folder, data, _grid(data)), ("word", "pitch")
        ),
        trajectory=stack(folders, parquet("trajectory"), CURVES),
        trajectory_notes=stack(first, parquet("trajectory-notes"), NOTES),
        grid=grid_rows(comparison),
        audits=stack(folders, trial_rows.audit_rows, trial_rows.AUDIT_COLUMNS),
        jackknife=stack(folders, parquet("jackknife"), ("song", "distance")),
        samplers=stack(folders, sampler_rows, SAMPLER_COLUMNS),
        fingerprints=stack(_folders(comparison, everything), trial_rows.fingerprint_rows),
    )


def _folders(comparison: Path, abouts: list[dict[str, Any]]) -> dict[tuple[str, int], Path]:
    keys = [(about["experiment"], about["seed"]) for about in abouts]
    return {(experiment, seed): comparison / experiment / str(seed) for experiment, seed in keys}


def _finished(comparison: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return trial.json of each finished trial in the order of the tables, and the data.json that they share."""
    trials = [read_trial(path.parent) for path in sorted(comparison.glob("*/*/scores.json"))]
    trials = [about for about in trials if about["status"] == "FINISHED"]
    for about in trials:
        scores = read_json(comparison / about["experiment"] / str(about["seed"]) / "scores.json")
        if not scores["scoring"].startswith(scoring_version()):
            raise UserError(
                f"{comparison} has scores of another version of Etude ({about['experiment']} seed {about['seed']}); run"
                f" `{_run(comparison)}` for this scale and corpus to score its samples again"
            )
    rank = {name: index for index, name in enumerate(EXPERIMENTS)}
    trials.sort(key=lambda about: (rank.get(about["experiment"], len(rank)), about["experiment"], about["seed"]))
    if not trials or not (comparison / "data.json").exists():
        raise UserError(
            f"{comparison} holds no finished trial; run `{_run(comparison)}` for this scale and corpus first"
        )
    data = read_json(comparison / "data.json")
    for about in trials:
        if about["config"]["edition"] != EDITION:
            raise UserError(
                f"{comparison} was made by another version of Etude; make its report with that version, or move it away"
            )
        config, first = about["config"], trials[0]["config"]
        if config["data"] != data["encodings"][config["encoding"]]["digest"] or config["scale"] != first["scale"]:
            raise UserError(
                f"{comparison} mixes configurations: {about['experiment']} seed {about['seed']} was made with another"
                f" corpus or budget than {trials[0]['experiment']} seed {trials[0]['seed']}; move one of them away"
            )
        other = next(one for one in trials if one["experiment"] == about["experiment"])
        if _shared(about) != _shared(other):
            raise UserError(
                f"{comparison} mixes configurations: {about['experiment']} seed {about['seed']} was made with another"
                f" model or source code than seed {other['seed']}; move one of them away"
            )
    return trials, data


def _shared(about: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a trial's configuration that all seeds of its experiment share.

    That is neither the seed nor the tuning point, which is chosen with each seed: what the point changes is divided by
    its factors. An arm without a point, none of whose tuning trials was finished, is at the factors of 1.
    """
    config: dict[str, Any] = {**about["config"], "seed": None}
    if about["arm"] is None:
        return config
    point = TuningPoint() if about["point"] is None else read_point(**about["point"])
    model, embedding = config["model"], config["model"]["embedding"]
    return config | {
        "model": model
        | {
            "dimension": (model["dimension"] or config["scale"]["dimension"]) / point.dimension,
            "embedding": embedding | {"scale": round(embedding["scale"] / point.scale, 9)},
        }
    }


def _run(comparison: Path) -> str:
    return command("run", root=comparison.parents[2])


def _about(data: dict[str, Any], trials: list[dict[str, Any]]) -> dict[str, Any]:
    scale = trials[0]["config"]["scale"]
    return {
        "scale": trials[0]["scale"],
        "corpus": printable(data["corpus"]),
        "title": data["title"],
        "licence": data["licence"],
        "length": scale["length"],
        "unit": "beat" if isinstance(_grid(data), Beats) else "second",
        "refused": refused(_grid(data)),
        "tuned": _tuned(trials),
        "steps": scale["budget"]["steps"],
        "batch": scale["budget"]["batch"],
        "evaluations": trial_rows.evaluations(scale["sampler"]),
        "configuration": scale,
        "sigma_0": _sigma_0(SCALES[trials[0]["scale"]]),
        "environment": {
            key: trials[0]["environment"][key] for key in ("python", "packages", "processor", "cores", "threads", "gpu")
        },
        "command": f"python3 -m nox -s replicate -- --scale {trials[0]['scale']} --corpus {shlex.quote(data['given'])}"
        f" --seeds {_seeds(trials)}{_only(trials)}",
        "commits": sorted({place["environment"]["commit"] for about in trials for place in (about, *about["moves"])}),
    }


def _sigma_0(scale: Scale) -> float:
    return math.sqrt(1 - float(scale.schedule.alpha_bar(scale.timesteps)[0]))


def _seeds(trials: list[dict[str, Any]]) -> int:
    """Return the value of `--seeds` that includes the seeds of the experiments that do not set their own."""
    own = {name for name, row in EXPERIMENTS.items() if row.seeds}
    seeds = [about["seed"] for about in trials if about["experiment"] not in own]
    return SCALES[trials[0]["scale"]].count_of(seeds)


def _only(trials: list[dict[str, Any]]) -> str:
    """Return the option that selects the experiments, or nothing if they are the default of the scale."""
    names = list(dict.fromkeys(about["experiment"] for about in trials))
    usual = default(SCALES[trials[0]["scale"]])
    return "" if set(names) <= set(usual) else f" --only {' '.join(names)}"


def _encodings(data: dict[str, Any], measures: pd.DataFrame, own: dict[str, str]) -> pd.DataFrame:
    """Return `Results.encodings`, given the encoding of each experiment."""
    import pandas as pd

    mean = measures[measures["measure"] == DISTANCE]
    floors = (mean["floor_p95"] / mean["floor"]).groupby(mean["experiment"].map(own)).mean()
    rows = []
    for name in dict.fromkeys(own.values()):
        facts = data["encodings"][name]
        kept = {
            key: facts[key] for key in ("digest", "vocabulary", "words_in_test", "ln_vocabulary", "unigram_entropy")
        }
        rows.append({"name": name, **kept, **facts["windows"], "songs": facts["songs"]["test"]})
        rows[-1]["floor_p95"] = float(floors[name])
    return pd.DataFrame(rows)


def _grid(data: dict[str, Any]) -> TimeGrid:
    grid = data["grid"]
    if grid["type"] == "Beats":
        return Beats(steps_per_beat=grid["steps_per_beat"])
    return Seconds(steps_per_second=grid["steps_per_second"])


def _tuned(trials: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the tuning point in words of each tuned experiment, by experiment and seed."""
    found: dict[str, dict[str, str]] = {}
    for about in trials:
        if (point := point_words(about)) is not None:
            found.setdefault(about["experiment"], {})[str(about["seed"])] = point
    return found


def _with_real(
    comparison: Path, own: dict[str, str], digests: dict[str, str], found: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Put the frames of the real music in each encoding, as experiment "test", before a frame of all trials."""
    import pandas as pd

    found.insert(1, "encoding", found["experiment"].map(own))
    parts = []
    for encoding in dict.fromkeys(own.values()):
        table = pd.read_parquet(reference_file(comparison, digests[encoding], f"{name}.parquet"))
        for place, (column, value) in enumerate({"experiment": "test", "encoding": encoding, "seed": 0}.items()):
            table.insert(place, column, value)
        parts.append(table)
    return pd.concat([*parts, found], ignore_index=True).drop(columns="repairs", errors="ignore")


def _raw(
    comparison: Path, folders: dict[tuple[str, int], Path], own: dict[str, str], digests: dict[str, str]
) -> pd.DataFrame:
    """Return `Results.raw`: the muspy means of every trial and of the real music in its encoding."""
    found = stack(folders, trial_rows.muspy_rows)
    real = {name: read_json(reference_file(comparison, digests[name], "raw.json")) for name in set(own.values())}
    return found.assign(
        real=[real[own[name]][metric] for name, metric in zip(found["experiment"], found["metric"], strict=True)]
    )


def checked(results: Results) -> Results:
    """Return the results unchanged if every text column holds strings and every other column numbers.

    Raises:
        TypeError, ValueError or OverflowError: if a column does not.
    """
    import pandas as pd

    for frame in (getattr(results, field.name) for field in fields(results)):
        for name, values in frame.items() if isinstance(frame, pd.DataFrame) else ():
            if name not in TEXT_COLUMNS:
                values.astype(float)
            elif not all(isinstance(value, str) for value in values):
                raise TypeError(f"column {name} holds values that are not text")
    return results


def anomaly_rows(comparison: Path) -> pd.DataFrame:
    """Return the anomalies of all trials of a comparison, including failed ones; see `Results.anomalies`."""
    import pandas as pd

    rank = {name: place for place, name in enumerate(EXPERIMENTS)}
    rows = []
    for path in comparison.glob("*/*/trial.json"):
        trial = TrialFolder.read(path.parent)
        found = [*_excluded(trial), *find_anomalies(trial.path, trial.history())]
        rows += [(trial.about["experiment"], trial.about["seed"], *row) for row in found]
    rows.sort(key=lambda row: (rank.get(row[0], len(rank)), *row[:2]))  # stable: the rows of a trial keep their order
    return pd.DataFrame(rows, columns=["experiment", "seed", *Occurrence._fields])


def _excluded(trial: TrialFolder) -> list[Occurrence]:
    """Return why a trial is in no other frame; nothing if it is."""
    if trial.about["status"] == "FINISHED" and trial.scores:
        return []
    anomaly = FAILED if trial.about["status"] == "FAILED" else UNFINISHED
    return [Occurrence(anomaly.name, math.nan, math.nan, math.nan)]
