"""/docs: the description of the API for people, who can try it there.

Part of the application. All of it comes from here: what runs on this page may use the API, so nothing of others' does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import FileResponse

_STATIC = files("relay.api") / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
_PAGES = {
    "/docs": ("docs.html", "text/html"),
    "/docs/start.js": ("docs.js", "text/javascript"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css"),
}


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    for path in _PAGES:
        routes.add_api_route(path, _page(path), methods=["GET"])
    return routes


def _page(path: str) -> Callable[[], Awaitable[FileResponse]]:
    name, kind = _PAGES[path]

    async def page() -> FileResponse:
        return FileResponse(str(_STATIC / name), media_type=kind, headers={"Content-Security-Policy": _POLICY})

    return page
