"""The HTTP API, `/api/v1`: one router a resource."""

from fastapi import FastAPI

import wherry
from wherry.controller.http import (
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
)
from wherry.controller.http.desk import Desk

PREFIX = "/api/v1"


def make_app(desk: Desk) -> FastAPI:
    # The pages for people load scripts from other machines; the schema itself is at /api/v1/openapi.json.
    app = FastAPI(
        title="Wherry", version=wherry.__version__, docs_url=None, redoc_url=None, openapi_url=f"{PREFIX}/openapi.json"
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
    ):
        app.include_router(module.router, prefix=PREFIX)
    problems.install(app)
    return app
