"""The way out, by what a tracking store says when it refuses."""

from __future__ import annotations

import re

SAFE = "the results are safe in the run folders, and `etude sync` will bring MLflow level"
_ANEW = "move that file away, and it is made anew from the run folders"
_REMEDIES = {
    "out-of-date database schema": "an older MLflow has made it: take a copy, then run `mlflow db upgrade {uri}`",
    "Can't locate revision": "a newer MLflow has made it: install that version, or its successors",
    "not a database": _ANEW,
    "malformed": _ANEW,
    "readonly database": "give permission to write there",
    "unable to open": "give permission to write there",
    "database is locked": "end the program that keeps it locked",
}


def sentence(uri: str, error: Exception, advice: str) -> str:
    """Return what a user is told of a store that does not answer: why, and what to do; without passwords."""
    said = " ".join(str(error).split())
    remedies = [f"{text.format(uri=uri)}; " for sign, text in _REMEDIES.items() if sign in said][:1]
    reason = said[:200] or type(error).__name__
    return without_password(f"MLflow at {uri} does not answer ({reason}); {''.join(remedies)}{advice}")


def without_password(text: str) -> str:
    """Return a text with the names and passwords taken out of its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)
