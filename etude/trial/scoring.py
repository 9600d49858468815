"""Score a trial: compare its samples with the real music of a split that training has not seen."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.distances.noise_floor import MEAN
from eval.scoring.music import Music, form_of, notes_of, raw_means, read, table_of
from eval.scoring.reference import SHOWN, Judge
from eval.scoring.trajectory import trajectory
from replication.util.errors import UserError
from replication.util.files import DamagedError, read_json, sha256, undamaged, write_json, write_parquet

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from etude.trial.workbench import Workbench
    from replication.midi.piece import Piece

MIDI_FILES = 16  # the first samples, not selected; samples.npz and samples.txt hold all
ROLLS = 8  # piano rolls in roll.png


def score_trial(bench: Workbench, *, control: bool = False, diffusion: bool = False) -> None:
    """Decode, score and compare the samples: midi/, roll.png, samples.html, and a table for each kind of score.

    Args:
        bench: the trial.
        control: make the samples from the real music, as a row of `CONTROLS` says, instead of reading them.
        diffusion: keep the embeddings of the model, and the trajectory of its sampling.
    """
    from eval.listening.piano_rolls import save_rolls
    from eval.listening.player import save_player

    trial = bench.trial
    since = time.perf_counter()
    judge = Judge.of(
        bench.dataset,
        bench.encoding,
        trial.scale,
        comparison=trial.comparison,
        teacher=trial.teacher,
        device=bench.device,
    )
    extra = {"eval/searched": judge.known.share}
    if control:
        music, share = judge.control(trial.experiment, seed=trial.seed, sibling=trial.sibling)
        extra["control/changed"] = share
    else:
        music = read(read_samples(bench.folder), bench.encoding)
    distances, panel = judge.compare(music)
    windows = music.scored.windows
    pieces = windows.take(range(min(MIDI_FILES, len(windows)))).pieces()
    write_midi_files(pieces, bench.folder / "midi")
    save_rolls(pieces[:ROLLS], bench.folder / "roll.png", colour=trial.experiment.colour)
    tables = {"scores": table_of(music, judge.known), "distances": distances.reset_index(), "panel": panel}
    tables["form"] = form_of(music)
    tables["notes"] = notes_of(windows.take(range(min(SHOWN, len(windows)))))
    save_player(
        tables["notes"],
        bench.folder / "samples.html",
        title=f"{trial.experiment.label}, seed {trial.seed}",
        colour=trial.experiment.colour,
        unit="beat" if windows.beats else "second",
        count=min(SHOWN, len(windows)),
    )
    if trial.kind == "trial":
        tables["pairs"] = judge.closest(windows)
    if diffusion:
        tables["embedding"] = _embedding(trial.weights)
        if trial.kind == "trial":
            tables |= trajectory(bench.with_scale, trial.scale, bench.encoding, seed=trial.seed)
    for name, table in tables.items():
        write_parquet(bench.folder / f"{name}.parquet", table)
    raw = raw_means(music)
    bench.time("score", time.perf_counter() - since)
    known = {"scoring": trial.scoring, **_drawn_from(trial.weights)}
    found = {**_summary(music, distances, panel, raw), **extra, **_costs(bench)}
    write_json(bench.folder / "scores.json", known | found)


def _summary(
    music: Music, distances: pd.DataFrame, panel: pd.DataFrame, raw: dict[str, float]
) -> dict[str, float | None]:
    """Return what the tracking store shows: keys are `section/name`."""
    measures = panel.set_index("measure")
    gaps = measures["value"] - measures["floor"]
    found = {
        "eval/floor_ratio": distances.loc[MEAN, "ratio"],
        "eval/validity": music.valid.mean(),
        "eval/nan_rate": distances.loc[MEAN, "nan_rate"],
        "eval/teacher_gap": gaps["teacher_nll"],
        "eval/entropy_gap": gaps["token_entropy"],
        **{f"panel/{name}": value for name, value in measures["value"].items()},
        **{f"panel_floors/{name}": value for name, value in measures["ratio"].items()},
        **{f"metrics/{name}": values.mean() for name, values in music.scored.scores.items()},
        **{f"nan_rate/{name}": rate for name, rate in music.scored.scores.isna().mean().items() if rate},
        **{f"floors/{name}": value for name, value in distances["ratio"].items() if name != MEAN},
        **{f"muspy_raw/{name}": value for name, value in raw.items()},
    }
    return {name: None if math.isnan(value) else float(value) for name, value in found.items()}


def _costs(bench: Workbench) -> dict[str, float]:
    """Return what the tracking store shows of the stages before, where the trial had them."""
    path = bench.folder / "likelihood.json"
    nll: dict[str, Any] = read_json(path) if path.exists() else {"exact": True}
    shown = {f"nll/{key}": value for key, value in nll.items() if key.startswith(("nats_per_", "error_"))}
    shown |= {} if nll["exact"] else {f"nll/{name}": value for name, value in nll["terms"].items()}
    shown |= {"cost/parameters": nll["parameters"]} if "parameters" in nll else {}
    shown |= {f"cost/{name}_seconds": value for name, value in bench.times().items()}
    return {name: value for name, value in shown.items() if value is not None}


def _drawn_from(weights: Path) -> dict[str, str]:
    """Return the hash of the weights, which identifies them to a reader who has only the scores."""
    return {"weights": sha256(weights)} if weights.exists() else {}


def _embedding(weights: Path) -> pd.DataFrame:
    """Return the embeddings of a diffusion model, a row per word: columns d0, d1, ...; the report reads no weights."""
    import pandas as pd
    from safetensors.numpy import load_file

    table = load_file(weights)["embedding.weight"]
    return pd.DataFrame(table, columns=[f"d{index}" for index in range(table.shape[1])])


def read_samples(folder: Path) -> NDArray[np.uint16]:
    """Return the (n, L) token ids of a trial's samples.

    Raises:
        UserError: if the file is damaged.
    """
    path = folder / "samples.npz"
    try:
        with undamaged(), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            tokens: NDArray[np.uint16] = arrays["tokens"]
    except DamagedError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to sample again") from None
    return tokens


def write_midi_files(pieces: list[Piece], folder: Path) -> None:
    """Write pieces as 000.mid, 001.mid and so on."""
    from replication.midi.smf import write_midi

    for index, piece in enumerate(pieces):
        write_midi(piece, folder / f"{index:03d}.mid")
