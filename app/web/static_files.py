"""Serves our own few files (style, script, icon); must not serve anything else."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from app.web.problems import Problem

FOLDER = Path(__file__).with_name("static")
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
HEADERS = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}

router = APIRouter()


@cache
def files() -> dict[str, bytes]:
    """All of them, by name; read once a process."""
    return {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in KINDS}


@router.get("/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """One file."""
    content = files().get(name)
    if content is None:
        raise Problem(404, "no such file")
    return Response(content, media_type=KINDS[Path(name).suffix], headers=HEADERS)
