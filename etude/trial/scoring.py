"""Score a trial: compare its samples with the real music of a split that training has not seen."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eval.scoring.measures import DISTANCE
from eval.scoring.reference import SHOWN, ReferenceSet
from eval.scoring.sample_set import form_of, notes_of, raw_means, read, table_of
from eval.scoring.trajectory import trajectory
from replication.util.errors import UserError
from replication.util.files import DamagedError, open_arrays, sha256, write_json, write_parquet
from replication.util.text import plain

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
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
        control: make the samples from the real music, as defined by a row of `CONTROLS`, instead of reading them.
        diffusion: keep the embeddings of the model, and the trajectory of its sampling.
    """
    import pandas as pd

    from eval.listening.piano_rolls import save_rolls
    from eval.listening.player import save_player

    trial = bench.trial
    since = time.perf_counter()
    reference = ReferenceSet.of(
        bench.dataset,
        bench.encoding,
        trial.scale,
        comparison=trial.comparison,
        teacher=trial.teacher,
        device=bench.device,
    )
    found: dict[str, Any] = {"searched": reference.training.share}
    if control:
        music, share = reference.control(trial.experiment, seed=trial.seed, sibling=trial.sibling)
        found["changed"] = share
    else:
        music = read(read_samples(bench.folder), bench.encoding)
    distances, measures = reference.compare(music)
    if diffusion and trial.kind == "trial" and (second := trial.scale.second_sampler) is not None:
        drawn = bench.with_scale(replace(trial.scale, sampler=second)).sample(
            range(trial.scale.samples), seed=trial.seed
        )
        measures = pd.concat([measures, reference.second_sampler(drawn)], ignore_index=True)
    windows = music.scored.windows
    pieces = windows.take(range(min(MIDI_FILES, len(windows)))).pieces()
    write_midi_files(pieces, bench.folder / "midi")
    save_rolls(pieces[:ROLLS], bench.folder / "roll.png", colour=trial.experiment.colour)
    tables = {"scores": table_of(music, reference.training), "distances": distances.reset_index()}
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
        tables["pairs"] = reference.closest(windows)
        distance = float(measures.set_index("measure").loc[DISTANCE, "value"])
        tables["jackknife"] = reference.without_songs(music, distance)
    if diffusion:
        tables["embedding"] = _embedding(trial.weights)
        if trial.kind == "trial":
            tables |= trajectory(bench.with_scale, trial.scale, bench.encoding, seed=trial.seed)
    for name, table in tables.items():
        write_parquet(bench.folder / f"{name}.parquet", table)
    found |= {
        "validity": plain(music.valid.mean()),
        "measures": {
            row.pop("measure"): {name: plain(value) for name, value in row.items()}
            for row in measures.to_dict("records")
        },
        "muspy": {name: plain(value) for name, value in raw_means(music).items()},
    }
    bench.time("score", time.perf_counter() - since)
    write_json(bench.folder / "scores.json", {"scoring": trial.scoring, **_drawn_from(trial.weights), **found})


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
        with open_arrays(path) as arrays:
            tokens: NDArray[np.uint16] = arrays["tokens"]
    except DamagedError as error:
        raise UserError(f"{path} is damaged ({error}); delete it to sample again") from None
    return tokens


def write_midi_files(pieces: list[Piece], folder: Path) -> None:
    """Write pieces as 000.mid, 001.mid and so on."""
    from replication.midi.smf import write_midi

    for index, piece in enumerate(pieces):
        write_midi(piece, folder / f"{index:03d}.mid")
