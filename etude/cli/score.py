"""`etude score`: compare MIDI files of any origin with the test split of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from etude.cli.options import Accepted, CorpusName, Root, Scale  # noqa: TC001 - tyro reads the annotations
from etude.runner.plan import make_plan


def score(
    path: Annotated[
        Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH", help="a folder or archive of MIDI files")
    ],
    scale: Scale = "auto",
    corpus: CorpusName = None,
    *,
    accept_licence: Accepted = (),
    root: Root = Path(),
) -> None:
    """Compare MIDI files of any origin with the test split of a corpus, in windows of the scale's length."""
    from etude.runner.score_files import score_files

    plan = make_plan(scale=scale, corpus=corpus, root=root, accepted=accept_licence)
    print(score_files(path, plan))
