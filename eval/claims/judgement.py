"""Judge the claims on the results of a comparison, and how far the verdicts depend on choices."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from eval.claims.claims import CLAIMS, FLOORS, ContrastClaim, contrast_evidence, deafness, primary_values
from eval.claims.declaration import Status, claim_status
from eval.claims.number import number_evidence
from eval.claims.verdicts import EndpointScale, Evidence, Refusal, Ruling, Verdict, judge
from eval.scoring.measures import SECOND_SAMPLER, WASSERSTEIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from eval.claims.claims import Claim
    from eval.results.frames import Results

MARGINS = (0.25, 1.0)  # floors, besides the declared one
SEEDS = (3, 5)  # numbers of seeds, besides all of them
OFFICIAL = {"gaussian-official": "gaussian", "pretrained-official": "pretrained"}  # rows with the official loss
NATS = EndpointScale(unit=" nats per token", margin=math.inf, better=-1)


class Judged(NamedTuple):
    """A verdict and its standing."""

    verdict: Verdict
    status: Status


class Variant(NamedTuple):
    """The verdict on a claim under another choice.

    Attributes:
        claim: Name of the claim.
        choice: The choice in words.
        song: Song family that it leaves out; None for another choice.
        verdict: Verdict under it.
        sign_changes: Whether the difference has the other sign than under the declared choice.
    """

    claim: str
    choice: str
    song: int | None
    verdict: Verdict
    sign_changes: bool


@functools.lru_cache(maxsize=2)  # tables, page and terminal all ask for it
def judged_on(results: Results) -> tuple[Judged, ...]:
    """Return the verdicts on `CLAIMS`; a verdict whose sign depends on a choice says so in its sentence."""
    changing = [variant for variant in variants_on(results) if variant.sign_changes]
    found = []
    for claim, verdict in zip(CLAIMS, _as_declared(results, CLAIMS), strict=True):
        sentence = verdict.sentence
        if choices := _in_words([variant for variant in changing if variant.claim == claim.name]):
            sentence = f"{sentence.removesuffix('.')}; the sign changes with {choices}."
        found.append(Judged(replace(verdict, sentence=sentence), claim_status(claim, results)))
    return tuple(found)


def _in_words(variants: list[Variant]) -> str:
    """Return choices as a list in words, in which song families that are left out are counted if there are several."""
    songs = [variant.choice for variant in variants if variant.song is not None]
    if len(songs) > 1:
        songs = [f"any one of {len(songs)} song families left out"]
    *first, last = [*(variant.choice for variant in variants if variant.song is None), *songs] or [""]
    return f"{', '.join(first)} and {last}" if first else last


@functools.lru_cache(maxsize=2)
def _as_declared(results: Results, _claims: tuple[Claim, ...]) -> list[Verdict]:
    """Return the verdicts on all claims, which are part of the key, under the declared choices."""
    return _judge(results, primary_values(results))


def verdicts_on(results: Results) -> tuple[Verdict, ...]:
    """Return the verdicts of `judged_on` without their standing."""
    return tuple(verdict for verdict, _ in judged_on(results))


@functools.lru_cache(maxsize=2)
def variants_on(results: Results) -> tuple[Variant, ...]:
    """Return the verdicts under every other choice that the results allow."""
    declared = {verdict.name: verdict for verdict in _as_declared(results, CLAIMS)}
    found = []
    for choice, song, verdicts in _variants(results):
        for verdict in verdicts:
            before = declared[verdict.name]
            if verdict.evidence is None or before.evidence is None:
                continue
            one, other = before.evidence.contrast.difference, verdict.evidence.contrast.difference
            found.append(Variant(verdict.name, choice, song, verdict, one * other < 0))
    return tuple(found)


def _variants(results: Results) -> Iterator[tuple[str, int | None, list[Verdict]]]:
    """Yield each choice in words, the song that it leaves out, and the verdicts on the claims that it concerns."""
    import pandas as pd

    values = primary_values(results)
    for margin in MARGINS:
        yield f"a margin of {margin:g} floors", None, _contrasts(results, values, scale=replace(FLOORS, margin=margin))
    seeds = sorted(values[values["experiment"].isin(_models())]["seed"].unique())
    for count in SEEDS:
        if count < len(seeds):
            some = set(seeds[:count])
            audits = results.audits[results.audits["seed"].isin(some)]
            fewer = replace(results, audits=audits)
            yield f"the first {count} seeds", None, _judge(fewer, values[values["seed"].isin(some)])
    if (results.measures["measure"] == SECOND_SAMPLER).any():
        other = primary_values(results, SECOND_SAMPLER)
        rest = values[~values["experiment"].isin(other["experiment"])]
        yield "the second sampler", None, _contrasts(results, pd.concat([other, rest]))
    official = values[values["experiment"].isin(OFFICIAL)]
    if len(official):
        renamed = official.assign(experiment=official["experiment"].map(OFFICIAL))
        rest = values[~values["experiment"].isin(renamed["experiment"])]
        judged = _contrasts(results, pd.concat([renamed, rest]))
        yield "the official loss of frozen embeddings", None, [one for one in judged if one.name in _frozen()]
    if (results.measures["measure"] == WASSERSTEIN).any():
        yield "the mean Wasserstein distance", None, _contrasts(results, primary_values(results, WASSERSTEIN))
    for song, rows in results.jackknife.groupby("song"):
        without = rows.assign(value=rows["distance"], n=math.nan)
        yield f"song family {song} left out", int(song), _contrasts(results, without)
    for column, estimator in (("nll", "the likelihood bound"), ("nll_plain", "the plain likelihood bound")):
        bounds = results.trials[~results.trials["exact"].astype(bool) & results.trials[column].notna()]
        yield estimator, None, _contrasts(results, bounds.assign(value=bounds[column], n=math.nan), scale=NATS)


def _models() -> set[str]:
    return {name for claim in CLAIMS if isinstance(claim, ContrastClaim) for name in (claim.ours, claim.other)}


def _frozen() -> set[str]:
    """Return the names of the claims on models that have a row with the official loss."""
    frozen = set(OFFICIAL.values())
    return {claim.name for claim in CLAIMS if isinstance(claim, ContrastClaim) and {claim.ours, claim.other} & frozen}


def _judge(results: Results, values: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts on all claims, given the values of the primary endpoint.

    p values are adjusted for the number of the claims that were declared together; later claims are judged apart.
    """
    deaf = deafness(results)
    found = {claim.name: (claim.name, claim.statement, _evidence(claim, values, results)) for claim in CLAIMS}
    if deaf:
        found = {
            name: (name, statement, deaf if isinstance(evidence, Evidence) else evidence)
            for name, statement, evidence in found.values()
        }
    declared = (results.about.get("declaration") or {"claims": found})["claims"]
    together = judge([found[name] for name in found if name in declared], declared=len(declared))
    apart = judge([found[name] for name in found if name not in declared])
    verdicts = {one.name: one for one in (*together, *apart)}
    return [verdicts[claim.name] for claim in CLAIMS]


def _evidence(claim: Claim, values: pd.DataFrame, results: Results) -> Evidence | Refusal:
    if isinstance(claim, ContrastClaim):
        return contrast_evidence(claim, values, results)
    return number_evidence(results.audits, claim.number)


def _contrasts(results: Results, values: pd.DataFrame, *, scale: EndpointScale = FLOORS) -> list[Verdict]:
    """Return the verdicts on the claims on two models that these values allow."""
    claims = [claim for claim in CLAIMS if isinstance(claim, ContrastClaim)]
    verdicts = judge(
        [(claim.name, claim.statement, contrast_evidence(claim, values, results, scale=scale)) for claim in claims],
        declared=len(CLAIMS),
    )
    return [verdict for verdict in verdicts if verdict.verdict not in {Ruling.NOT_TESTED, Ruling.NOT_TESTABLE}]
