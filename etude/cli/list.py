"""`etude list`: print the experiments, scales and corpora."""

from __future__ import annotations

from eval.scoring.experiments import EXPERIMENTS
from replication.corpora.corpus import CORPORA
from replication.training.scales import SCALES


def list_() -> None:
    """List the experiments, scales and corpora."""
    print("Experiments")
    for experiment in EXPERIMENTS.values():
        print(f"  {experiment.name:22} {experiment.note}")
    print("\nScales")
    for scale in SCALES.values():
        print(f"  {scale.name:22} {scale.about}")
    print("\nCorpora")
    for corpus in CORPORA.values():
        print(f"  {corpus.name:22} {corpus.title}")
    print(f"  {'PATH':22} any folder or .zip/.tar.* of MIDI files")
