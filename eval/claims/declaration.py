"""The declaration of a comparison: its claims, endpoint, margins, models, settings and seeds, before its first trial.

The declaration is a file in the folder of the comparison, with its date, its commit and a hash of its content. Every
trial notes the hash of the declaration that it was started under. Verdicts are confirmatory only if the claims are the
declared ones, every trial was started under this declaration with the declared settings, and its seeds are the declared
seeds, all of them. The claim on a number is about the declared diffusion models, all of them.
Otherwise they are exploratory, and the report says why. A scale that is too small for verdicts declares that it
demonstrates.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from eval.claims.claims import CLAIMS, MARGIN, REQUIRED, ContrastClaim, NumberClaim
from eval.claims.number import CORRELATION, COUNTERFACTUAL
from eval.distances.endpoint import EDITION as ENDPOINT_EDITION
from eval.distances.endpoint import FAMILIES
from eval.distances.table import DISTANCES
from eval.results.anomalies import FAILED
from eval.results.declared import FILE, content_hash, declared
from eval.statistics.paired import ALPHA
from replication.training.scales import SCALES
from replication.util.files import describe, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eval.claims.claims import Claim
    from eval.results.frames import Results

RULE = (
    "Paired t tests over seeds: two one-sided tests against the margin first, then the difference from 0. For a "
    "number, permutations of arms and of seeds within arms. The p values of each kind are adjusted for the number of "
    "declared claims by Holm's procedure."
)
EXCLUSION = "A seed counts for a claim if both of its models finished with it. Failed trials are left out and named."


class Standing(StrEnum):
    """What verdicts are worth."""

    CONFIRMATORY = "confirmatory"
    DEMONSTRATION = "demonstration"
    EXPLORATORY = "exploratory"


class Status(NamedTuple):
    """The standing of verdicts.

    Attributes:
        standing: Standing.
        reason: Why, as a sentence.
    """

    standing: Standing
    reason: str


def declaration(
    *,
    scale: str,
    settings: Mapping[str, Any],
    corpus: str,
    data: Mapping[str, str],
    models: Sequence[str],
    seeds: Sequence[int],
    demonstration: bool,
) -> dict[str, Any]:
    """Return the content of a declaration, without its date, commit and hash.

    Args:
        scale: Name of the scale.
        settings: Settings of the scale that decide results, as trial.json has them.
        corpus: Name of the corpus.
        data: Digest of the windows by encoding.
        models: Names of the diffusion models, the pool of the claim on a number.
        seeds: Seeds that the comparison will have.
        demonstration: Whether the scale is too small for verdicts.
    """
    families = {family: [name for name, row in DISTANCES.items() if row.family == family] for family in FAMILIES}
    return {
        "scale": scale,
        "settings": dict(settings),
        "tuning": {"grid": describe(SCALES[scale].tuning_grid), "share": SCALES[scale].tuning_share},
        "corpus": corpus,
        "data": dict(data),
        "models": sorted(models),
        "seeds": list(seeds),
        "purpose": str(Standing.DEMONSTRATION if demonstration else Standing.CONFIRMATORY),
        "claims": {claim.name: describe(claim) for claim in CLAIMS},
        "endpoint": {"edition": ENDPOINT_EDITION, "families": families, "must_hear": list(REQUIRED)},
        "margin": MARGIN,
        "margin_of_correlation": CORRELATION.margin,
        "alpha": ALPHA,
        "rule": RULE,
        "exclusion": EXCLUSION,
    }


def declare(comparison: Path, content: Mapping[str, Any], *, commit: str) -> None:
    """Write the declaration of a comparison that has no trial yet; keep one that is there.

    A comparison that has trials already cannot be declared any more.
    """
    path = comparison / FILE
    if path.exists() or any(comparison.glob("*/*/trial.json")):
        return
    dated = {**content, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "commit": commit}
    write_json(path, {**dated, "hash": content_hash(dated)})


def status(results: Results) -> Status:
    """Return the standing of the verdicts on these results, apart from claims that were declared later."""
    given = results.about.get("declaration")
    if not given:
        return Status(Standing.EXPLORATORY, "The claims were not declared before the first trial.")
    if reason := _broken(given, results):
        return Status(Standing.EXPLORATORY, reason)
    when = f"Declared on {given['date']}, before the first trial (declaration {given['hash'][:8]})."
    if given["purpose"] == Standing.DEMONSTRATION:
        return Status(
            Standing.DEMONSTRATION, f"{when} This scale is too small for verdicts: it shows how they are made."
        )
    return Status(Standing.CONFIRMATORY, when)


def _broken(given: Mapping[str, Any], results: Results) -> str:
    """Return the first reason why the declaration does not hold for these results; empty if it holds."""
    about = results.about
    if _forged(given):
        return "The declaration was changed after it was written."
    if foreign := [name for name, found in given["trials"].items() if found != given["hash"]]:
        return f"Started under another declaration or none: {_some(foreign)}."
    data = dict(zip(results.encodings["name"], results.encodings["digest"], strict=True))
    now = declaration(
        scale=about["scale"],
        settings=about["configuration"],
        corpus=about["corpus"],
        data={name: data.get(name, digest) for name, digest in given["data"].items()},
        models=given.get("models", ()),  # older declarations lack what was not declared then
        seeds=given["seeds"],
        demonstration=given["purpose"] == Standing.DEMONSTRATION,
    )
    if changed := [key for key in now if key != "claims" and now[key] != given.get(key)]:
        return f"Other than declared: {_some(changed)}."
    return _seeds(given["seeds"], results)


def _seeds(wanted: Sequence[int], results: Results) -> str:
    """Return what is wrong with the seeds of the models that claims compare."""
    compared = {name for claim in CLAIMS if isinstance(claim, ContrastClaim) for name in (claim.ours, claim.other)}
    failed, absent = _failed(results), set()
    for name, rows in results.trials[results.trials["experiment"].isin(compared)].groupby("experiment"):
        found = {int(seed) for seed in rows["seed"]}
        if added := sorted(found - set(wanted)):
            return f"Seeds were added: {_some(added)} (declared: {wanted[0]} to {wanted[-1]})."
        absent |= {seed for seed in wanted if seed not in found and (name, seed) not in failed}
    if absent:
        return f"Interim: {len(wanted) - len(absent)} of the {len(wanted)} declared seeds are finished."
    return ""


def _failed(results: Results) -> set[tuple[str, int]]:
    """Return the experiment and seed of the trials that failed; one that is merely not finished is not among them."""
    return {(row.experiment, row.seed) for row in results.anomalies.itertuples() if row.anomaly == FAILED.name}


def claim_status(claim: Claim, results: Results) -> Status:
    """Return the standing of the verdict on one claim."""
    overall, given = status(results), results.about.get("declaration")
    if overall.standing is Standing.EXPLORATORY or not given:
        return overall
    if claim.name not in given["claims"]:
        return Status(Standing.EXPLORATORY, f"{claim.name} was not declared.")
    if given["claims"][claim.name] != describe(claim):
        return Status(Standing.EXPLORATORY, f"{claim.name} was changed after it was declared.")
    if isinstance(claim, NumberClaim) and (reason := _pool(given, results)):
        return Status(Standing.EXPLORATORY, reason)
    return overall


def _pool(given: Mapping[str, Any], results: Results) -> str:
    """Return what is wrong with the models that the claim on a number is judged by; empty if they are as declared."""
    pool = results.audits[results.audits["experiment"] != COUNTERFACTUAL]
    found = set(zip(pool["experiment"], pool["seed"].astype(int), strict=True))
    if added := sorted({name for name, _ in found} - set(given["models"])):
        return f"Models were added: {_some(added)}."
    wanted = {(name, seed) for name in given["models"] for seed in given["seeds"]}
    absent = sorted({name for name, _ in wanted - found - _failed(results)})
    return f"Interim: not all seeds of {_some(absent)} are finished." if absent else ""


def concerns(about: Mapping[str, Any], claim: Claim) -> bool:
    """Return whether a claim is about a trial, given its trial.json."""
    if isinstance(claim, ContrastClaim):
        return about["kind"] == "trial" and about["experiment"] in {claim.ours, claim.other}
    return bool(about["kind"] == "trial" and about["config"]["model"]["type"] == "Diffusion")


def trial_standing(about: Mapping[str, Any], comparison: Path) -> Standing:
    """Return the standing of the claims on a trial, as far as the trial shows it."""
    given = declared(comparison)
    if given is None or about.get("declaration") != given["hash"] or _forged(given):
        return Standing.EXPLORATORY
    if any(given["claims"].get(claim.name) != describe(claim) for claim in CLAIMS if concerns(about, claim)):
        return Standing.EXPLORATORY
    return Standing(given["purpose"])


def _forged(given: Mapping[str, Any]) -> bool:
    """Return whether the content of a declaration does not match its hash."""
    return bool(content_hash(given) != given["hash"])


def _some(values: Sequence[object], most: int = 5) -> str:
    text = ", ".join(map(str, values[:most]))
    return f"{text} and {len(values) - most} more" if len(values) > most else text
