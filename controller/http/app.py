"""The HTTP API, `/api/v1`: one router a resource."""

from functools import partial

from fastapi import Depends, FastAPI

import wherry
from wherry.controller.http import (
    access,
    actions,
    artifacts,
    audit,
    conversions,
    devices,
    etags,
    groups,
    logs,
    models,
    openapi,
    pins,
    problems,
    rollbacks,
    rollouts,
    status,
    stream,
    tokens,
)
from wherry.controller.http.desk import Desk

PREFIX = "/api/v1"


def make_app(desk: Desk) -> FastAPI:
    # The pages for people load scripts from other machines; the schema itself is at /api/v1/openapi.json.
    app = FastAPI(
        title="Wherry",
        version=wherry.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        dependencies=[Depends(access.admit)],
    )
    app.state.desk = desk
    app.state.watches = stream.Watches()
    for module in (
        actions,
        artifacts,
        audit,
        conversions,
        devices,
        groups,
        logs,
        models,
        pins,
        rollbacks,
        rollouts,
        status,
        stream,
        tokens,
    ):
        app.include_router(module.router, prefix=PREFIX)
    problems.install(app)
    etags.install(app)
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]  # as FastAPI documents it
    return app
