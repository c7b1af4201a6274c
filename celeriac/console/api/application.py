"""The API as an app of its own, mounted in the console at ``/api/v1``."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from celeriac import __version__
from celeriac.console.api import actions, alerting, bulk, description, limiting, pausing, problems, reads
from celeriac.console.console import Console


def create(console: Console) -> FastAPI:
    made = FastAPI(
        dependencies=description.WAYS_IN,
        responses=description.responses(),
        title="Celeriac",
        version=__version__,
        summary="Jobs, dead letters, queues, workers and schedules of the ledger",
        openapi_url=None,  # a route of ours tells it to those who may use the API
        docs_url=None,  # both load scripts of another host
        redoc_url=None,
        exception_handlers={
            RequestValidationError: problems.of_validation,
            HTTPException: problems.of_http,
        },
    )
    made.state.console = console
    made.state.routes = []
    # what acts comes before what reads: a schedule's name takes the rest of a path
    for each in (actions, bulk, alerting, pausing, limiting, reads):
        made.include_router(each.router)
        made.state.routes += each.router.routes
    return made
