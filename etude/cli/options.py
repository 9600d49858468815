"""The words that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from replication.training.scales import SCALES

Scale = Annotated[
    str, tyro.conf.arg(metavar="auto|" + "|".join(SCALES), help="the budget; auto is gpu with CUDA, else cpu")
]
CorpusName = Annotated[
    str | None, tyro.conf.arg(metavar="NAME|PATH", help="a corpus, or a folder or archive of MIDI files")
]
Only = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help="experiments; all of the scale if empty")]
Seeds = Annotated[int | None, tyro.conf.arg(metavar="N", help="trials of each experiment")]
Minutes = Annotated[
    float | None, tyro.conf.arg(metavar="N", help="stop after so long, with exit code 75; the same command goes on")
]
Accepted = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,  # a list would swallow the corpus after it
    tyro.conf.arg(metavar="LICENCE", help="a licence that you accept, for corpora that ask for it; may be repeated"),
]
Root = Annotated[Path, tyro.conf.arg(metavar="PATH", help="where runs/ and the MLflow store are")]
Workers = Annotated[
    int | None,
    tyro.conf.arg(
        metavar="N", help="trials side by side on a machine; if not given one a core, 4 at most, or one on a GPU"
    ),
]
EngineName = Annotated[
    Literal["serial", "process", "ray"],
    tyro.conf.arg(
        help="trials one after the other; side by side, for small models gain nothing from a second core; or on the"
        " machines of a Ray cluster that share --root"
    ),
]
Address = Annotated[
    str | None,
    tyro.conf.arg(metavar="HOST:PORT", help="of the Ray cluster; if not given RAY_ADDRESS, or that of this machine"),
]
