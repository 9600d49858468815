"""Present the results of benchmarks: a table on the terminal, JSON with the machine, Markdown and CSV to publish."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from eval.results.environment import environment, version_of
from replication.util.errors import UserError
from replication.util.files import atomic, read_json, write_json
from replication.util.program import end_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from benchmarks.race import Measurement, Row

Record = dict[str, float | str | None]
Output = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help="also write the results to this file as JSON")]

ALTERNATIVES = ("transformers", "miditok", "symusic")  # packages to record besides those that every trial records


def records(rows: Sequence[Row], measured: Mapping[str, Measurement]) -> dict[str, Record]:
    """Return the record of each row by name: its rate, its ratio to another row, and its cost."""
    result: dict[str, Record] = {}
    for row in rows:
        own = measured[row.name]
        flop = {name: measured[name].rate * 1e9 for name in row.peaks}
        result[row.name] = {
            "value": own.rate,
            "unit": row.unit,
            "lowest": min(own.rates),
            "highest": max(own.rates),
            "against": row.against,
            "ratio": own.against(measured[row.against]) if row.against else None,
            "flop_per_s": own.rate * row.flop or None,
            "share_of_matrix_rate": own.rate * row.flop / max(flop.values()) if flop else None,
            "threads": row.threads,
            "copies": row.copies,
            "start_s": own.start,
            "peak_memory_MB": own.memory,
            "peak_device_memory_MB": own.device_memory or None,
        }
    return result


def machine() -> dict[str, Any]:
    """Return a description of the machine: that of `eval.results.environment.environment`, in more detail."""
    import psutil

    found = environment()
    return {
        **found,
        "memory_GB": round(psutil.virtual_memory().total / 1e9, 1),
        "threads": os.cpu_count(),
        "packages": {**found["packages"], **{name: version_of(name) for name in ALTERNATIVES}},
    }


def present(rows: Mapping[str, Record], output: Path | None, **about: object) -> None:
    """Print the rows and the machine, and write both to `output` if it is given."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    table.add_column("Row")
    for title in ("Value", "", "Ratio", "Of matrix rate", "Start, s", "MB"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for name, row in rows.items():
        share, ratio = row.get("share_of_matrix_rate"), row.get("ratio")
        table.add_row(
            name,
            number(row["value"]),
            str(row["unit"]),
            f"{ratio:.2f}" if isinstance(ratio, float) else "",
            f"{share:.1%}" if isinstance(share, float) else "",
            number(row.get("start_s")),
            number(row.get("peak_memory_MB")),
        )
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for name, row in rows.items():
        if row.get("ratio"):
            console.print(f"ratio of {name}: to {row['against']}")
    here = machine()
    console.print(describe_machine(here))
    if output:
        write_json(output, {**about, "rows": rows, "machine": here})


def describe_machine(here: Mapping[str, Any]) -> str:
    """Return a one-line description of a `machine`."""
    gpu = f", {here['gpu']}" if here["gpu"] else ""
    return (
        f"{here['processor']}, {here['cores']} cores{gpu}, {here['memory_GB']} GB, Python {here['python']}, torch"
        f" {here['packages']['torch']}, commit {here['commit'][:12]}"
    )


def number(value: float | str | None) -> str:
    """Return a number with three significant digits and thousands separators; an empty string for None."""
    if not isinstance(value, int | float):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def read_run(path: Path) -> dict[str, Any]:
    """Read a file that a benchmark wrote with `--output`: its rows, machine and settings.

    Raises:
        UserError: If the file is not the output of a benchmark.
    """
    try:
        content = dict(read_json(path))
        rows = [dict(row) for row in dict(content["rows"]).values()]
        good = all(isinstance(row["value"], int | float) and isinstance(row["unit"], str) for row in rows)
        describe_machine(content["machine"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        good = False
    if not good:
        raise UserError(f"{path} is not a result of `nox -s bench`; give a file that was written with --output")
    return content


def command(function: Callable[..., None]) -> None:
    """Run a benchmark from the command line."""
    end_with(
        lambda: tyro.cli(function, prog="nox -s bench --", config=(tyro.conf.FlagCreatePairsOff,)),
        name="bench",
    )


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a frame as a Markdown table."""
    head = [frame.index.name or "", *map(str, frame.columns)]
    rows = [
        [str(name), *(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row)] for name, *row in frame.itertuples()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def publish(folder: Path, text: str, **frames: pd.DataFrame) -> None:
    """Write README.md, a CSV file for each frame, by its name, and machine.json, which has the commit, to a folder."""
    files = {"README.md": text}
    files |= {f"{name}.csv": frame.to_csv(index=False, float_format="%.4g") for name, frame in frames.items()}
    write_json(folder / "machine.json", machine())
    for name, content in files.items():
        with atomic(folder / name) as draft:
            draft.write_text(content, encoding="utf-8")
