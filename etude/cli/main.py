"""Replicate Diffusion-LM on piano music: prepare corpora, run trials, compare them and report the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tyro

from etude.cli.corpus import corpus
from etude.cli.fit import fit
from etude.cli.list import list_
from etude.cli.remote import export, import_
from etude.cli.report import report
from etude.cli.run import run
from etude.cli.samplers import samplers
from etude.cli.score import score
from etude.cli.sync import sync
from etude.cli.ui import ui
from etude.cli.verify import verify
from etude.cli.wav import wav
from replication.util.program import end_with

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run a command of `etude`."""
    commands: dict[str, Callable[..., int | None]] = {
        "list": list_,
        "run": run,
        "fit": fit,
        "verify": verify,
        "samplers": samplers,
        "score": score,
        "report": report,
        "export": export,
        "import": import_,
        "wav": wav,
        "corpus": corpus,
        "sync": sync,
        "ui": ui,
    }
    end_with(
        lambda: tyro.extras.subcommand_cli_from_dict(
            commands, prog="etude", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        ),
        name="etude",
    )
