"""A file over HTTP, gone on with where an earlier call was interrupted."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from replication.util.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from requests import Response

CHUNK = 2**16  # bytes that a kill may cost


def download(url: str, part: Path) -> None:
    """Bring `part`, which is missing or holds the first bytes of what `url` serves, to the whole of it.

    Only the rest is asked for, and only of the same edition: what the server calls it, the ETag, is kept beside `part`.
    A server that knows no ranges or has another edition sends everything, and `part` starts anew. What came before an
    interruption stays in `part`; no other process may write to it.

    Raises:
        UserError: the server cannot be reached, refuses, or breaks off.
        OSError: `part` cannot be written.
    """
    from pooch import HTTPDownloader
    from requests import RequestException

    edition = part.with_name(f"{part.name}.etag")
    answer: Response | None = None

    def begin(response: Response, **_: object) -> None:
        nonlocal answer
        if response.is_redirect:
            return
        answer = response
        if response.status_code == HTTPStatus.OK:  # and not PARTIAL_CONTENT
            file.seek(0)
            file.truncate()
            edition.write_text(response.headers.get("ETag", ""), encoding="utf-8")

    with part.open("ab") as file:
        headers = {"Accept-Encoding": "identity"}  # the file as it is: ranges count its bytes
        if start := file.tell():
            headers |= {"Range": f"bytes={start}-"} | _condition(edition)
        get = HTTPDownloader(
            progressbar=sys.stderr.isatty(), chunk_size=CHUNK, headers=headers, hooks={"response": begin}
        )
        try:
            get(url, file, None)
        except RequestException as error:
            # Without a rest to send it may be the whole already, which the checksum will tell.
            if not (start and answer is not None and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                raise UserError(_sentence(url, answer, file.tell())) from error
        finally:
            if answer is not None:
                answer.close()
    edition.unlink(missing_ok=True)


def _condition(edition: Path) -> dict[str, str]:
    etag = edition.read_text(encoding="utf-8") if edition.exists() else ""
    return {"If-Range": etag} if etag.startswith('"') else {}  # a weak one, W/"...", is no condition


def _sentence(url: str, answer: Response | None, size: int) -> str:
    elsewhere = "or download it in another way and put it into a folder of ETUDE_DATA"
    if answer is None:
        return f"{url} cannot be reached: check the network, {elsewhere}."
    if answer.ok:
        return f"{url} broke off after {size:,} bytes: give the same command again to go on."
    return f"{url} answers {answer.status_code} {answer.reason}: try again later, {elsewhere}."
