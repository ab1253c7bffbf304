"""The HTTP API, `/api/v1`: one router a resource."""

from fastapi import Depends, FastAPI

import wherry
from wherry.controller.http import (
    access,
    actions,
    artifacts,
    audit,
    conversions,
    devices,
    groups,
    logs,
    models,
    pins,
    problems,
    rollbacks,
    rollouts,
    status,
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
        tokens,
    ):
        app.include_router(module.router, prefix=PREFIX)
    problems.install(app)
    return app
