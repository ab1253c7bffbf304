"""Pages for people: what a stranger's model has named is shown in them, so nothing in them may run or fetch."""

from pathlib import Path

from starlette.responses import FileResponse

POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Without scripts, forms and an origin of its own, a page cannot speak with the API that serves it."""


def html(path: Path) -> FileResponse:
    """The file as a page. It must exist."""
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return FileResponse(path, headers=headers, media_type="text/html; charset=utf-8")
