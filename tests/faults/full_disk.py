"""The real command on a disk that fills up in every stage: `python tests/faults/full_disk.py 3`.

The disk is a tmpfs, which is cut down to little more than is used as soon as a certain file is there, so that the next
ones find no room. Each time the command must end with one sentence and code 2 and leave whole files only. Then there is
room again, until the next of these moments; and at last the same command must come to the bits of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.program import ROOT
from tests.support.small_trials import results

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = ("run", "--scale", "smoke", "--only", "e2e", "ngram", "--seeds", "1", "--workers", "1")
ROOM = 512 * 2**20  # bytes that are more than enough
BLOCK = 2**12  # bytes that a file takes at least
SLACK = 12  # blocks that are left at most
MOMENTS = (  # files in the order in which they come
    "runs/cache/pieces-*/about.json",
    "runs/cache/windows-*/train.npy",
    "runs/smoke/*/data.json",
    "mlflow.db",
    "runs/smoke/*/e2e/0/trial.json",
    "runs/smoke/*/e2e/0/metrics.jsonl",
    "runs/smoke/*/e2e/0/checkpoint/last.safetensors",
    "runs/smoke/*/e2e/0/checkpoint/model.safetensors",
    "runs/smoke/*/e2e/0/samples.txt",
    "runs/smoke/*/e2e/0/samples.npz",
    "runs/smoke/*/e2e/0/likelihood.json",
    "runs/smoke/*/e2e/0/midi",
    "runs/smoke/*/e2e/0/scores.parquet",
    "runs/smoke/*/e2e/0/scores.json",
    "runs/smoke/*/ngram/0/trial.json",
    "runs/smoke/*/ngram/0/samples.npz",
    "reports/output",
    "reports/output/figures",
)
SENTENCE = re.compile(
    r"^etude: (.+): No space left on device; free some space and run the same command again", re.MULTILINE
)


@dataclass(frozen=True)
class Disk:
    """A disk of its own, mounted at a folder."""

    path: Path

    def resize(self, size: int) -> None:
        _mount(f"remount,rw,size={size}", self.path)

    def close(self) -> None:
        _mount("remount,ro", self.path)

    def fill(self, left: int) -> None:
        """Leave so many bytes and no more, while others write."""
        while True:
            status = os.statvfs(self.path)
            with suppress(subprocess.CalledProcessError):  # more has been written in between
                return self.resize((status.f_blocks - status.f_bfree) * status.f_frsize + left)


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mount a disk of `size` bytes; who may not mount, gets a `CalledProcessError`."""
    folder.mkdir(exist_ok=True)
    _mount(f"size={size}", folder)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(options: str, folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)


def start(folder: Path, error: Path) -> subprocess.Popen[str]:
    """Start the command in a folder, where all that it writes goes, temporary files too."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ETUDE_CACHE": str(folder / "cache")}
    with error.open("w") as stream:
        words = [sys.executable, "-m", "etude", *WORDS]
        return subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=stream, text=True)


def check_whole(root: Path, expected: dict[str, str]) -> int:
    """See that what there is, is what an undisturbed run leaves; only a log may be shorter. Return its number."""
    there = results(root)
    for name, value in there.items():
        assert value == expected[name] or name.endswith("metrics.jsonl"), f"{name} is another"
    for path in root.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    drafts = [path for path in root.glob("runs/**/.*") if path.is_dir()]
    assert not drafts, f"drafts are left: {drafts}"
    return len(there)


def check_output(code: int, output: str, folder: Path) -> str:
    """See that the program ended as it should, and return the place that it named."""
    assert "Traceback" not in output, output
    assert code == 2, f"code {code}: {output}"
    (place,) = SENTENCE.findall(output)
    return str(Path(place).relative_to(folder))


def undisturbed(scratch: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the hashes of what a run leaves and what MLflow has of it."""
    with disk(scratch / "disk", ROOM) as roomy:
        code = start(roomy.path, scratch / "stderr").wait()
        assert code == 0, (scratch / "stderr").read_text()
        return results(roomy.path), runs(roomy.path)


def fill(scratch: Path, expected: dict[str, str], shown: list[tuple[str, str]], draw: random.Random) -> int:
    """Fill a disk at every moment, with a few blocks left; return how often the program ended of it."""
    error, ended = scratch / "stderr", 0
    with disk(scratch / "disk", ROOM) as small:
        for moment in MOMENTS:
            if any(small.path.glob(moment)):
                continue  # it came while another was waited for
            blocks = draw.randrange(SLACK)
            program = start(small.path, error)
            while program.poll() is None and not any(small.path.glob(moment)):
                time.sleep(0.002)
            small.fill(blocks * BLOCK)
            place = check_output(program.wait(), error.read_text(), small.path)
            left = check_whole(small.path, expected)
            small.resize(ROOM)
            ended += 1
            print(f"{moment}: {blocks} blocks, full at {place}, {left} whole files of trials", flush=True)
        code = start(small.path, error).wait()
        assert code == 0, error.read_text()
        assert results(small.path) == expected, "the same command came to other results"
        assert runs(small.path) == shown, "MLflow has other runs"
    return ended


def runs(root: Path) -> list[tuple[str, str]]:
    """Return the name and the status of every run in MLflow."""
    from tests.support.tracking_stores import runs_table

    table = runs_table(root)
    return sorted(zip(table["name"], table["status"], strict=True))


def compile_without_room(scratch: Path) -> None:
    """See that a compiler with no room is not gone without: that would be another computation than with room."""
    code = "import torch; from replication.training.precision import has_compiler; has_compiler(torch.device('cpu'))"
    with disk(scratch / "disk", BLOCK) as small:
        settings = {"TORCHINDUCTOR_CACHE_DIR": str(small.path), "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, env=os.environ | settings, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0, "it was gone without"
    assert "No space left on device" in done.stderr, done.stderr


def main(rounds: int) -> None:
    """Fill disks, one after another."""
    with tempfile.TemporaryDirectory() as name:
        compile_without_room(Path(name))
        expected, shown = undisturbed(Path(name))
        ended = sum(fill(Path(name), expected, shown, random.Random(number)) for number in range(rounds))
    print(f"{rounds} disks, full {ended} times: one sentence and whole files each time, and at last the same bits")


if __name__ == "__main__":
    if sys.argv[2:] == ["inside"]:
        main(int(sys.argv[1]))
    else:  # in a namespace where anyone may mount
        words = [sys.executable, "-m", "tests.faults.full_disk", sys.argv[1] if sys.argv[1:] else "3", "inside"]
        sys.exit(subprocess.call(["unshare", "--map-root-user", "--mount", *words]))
