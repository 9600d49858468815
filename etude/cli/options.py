"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from replication.training.scales import SCALES

Scale = Annotated[
    str,
    tyro.conf.arg(
        metavar="auto|" + "|".join(SCALES), help="size of the experiments; auto is gpu if CUDA is available, else cpu"
    ),
]
CorpusName = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="NAME|PATH",
        help="a corpus, or a folder or archive of MIDI files",
        help_behavior_hint="(default: the corpus of the scale)",
    ),
]
Only = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar="NAME ...", help="experiments to run", help_behavior_hint="(default: all experiments of the scale)"
    ),
]
Seeds = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="N",
        help="seeds per experiment, counted from the first of the scale",
        help_behavior_hint="(default: all of the scale)",
    ),
]
Minutes = Annotated[
    float | None,
    tyro.conf.arg(
        metavar="N",
        help="stop after N minutes with exit code 75; the same command resumes",
        help_behavior_hint="(default: no limit)",
    ),
]
Accepted = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,  # a list would also take the corpus that follows it
    tyro.conf.arg(metavar="LICENCE", help="a licence that you accept, for corpora that require it"),
]
Root = Annotated[
    Path,
    tyro.conf.arg(metavar="PATH", help="folder of runs/ and of the MLflow store", help_behavior_hint="(default: .)"),
]
Workers = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="N",
        help="trials side by side on each machine",
        help_behavior_hint="(default: 1 on a GPU, else 1 per core, at most 4)",
    ),
]
EngineName = Annotated[
    Literal["serial", "process", "ray"],
    tyro.conf.arg(
        help="where trials run: one after the other (serial), side by side (process), or on the machines of a Ray"
        " cluster that share --root (ray)"
    ),
]
Address = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="HOST:PORT",
        help="address of the Ray cluster",
        help_behavior_hint="(default: RAY_ADDRESS, else the cluster of this machine)",
    ),
]
