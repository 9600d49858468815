"""The words that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from replication.scales import SCALES

Scale = Annotated[
    str, tyro.conf.arg(metavar="auto|" + "|".join(SCALES), help="the budget; auto is gpu with CUDA, else cpu")
]
CorpusName = Annotated[
    str | None, tyro.conf.arg(metavar="NAME|PATH", help="a corpus, or a folder or archive of MIDI files")
]
Accepted = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,  # a list would swallow the corpus after it
    tyro.conf.arg(metavar="LICENCE", help="a licence that you accept, for corpora that ask for it; may be repeated"),
]
Root = Annotated[Path, tyro.conf.arg(metavar="PATH", help="where runs/ and the MLflow store are")]
