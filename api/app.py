"""The application: routes, guards, and what runs beside them while it serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.concurrency import run_in_threadpool

from api import (
    about,
    datasets,
    files,
    health,
    imports,
    jobs,
    large,
    logs,
    metrics,
    overview,
    portal,
    problems,
    tus,
    uploads,
)
from api.backend import Backend
from api.bound import Bound
from api.guard import LOOPBACK_NAMES, Guard, host_name
from api.joining import join_left
from api.landing import sweep, take_over_silent
from api.lenience import Lenience
from api.sessions import reap
from scray.settings import Settings

log = logging.getLogger(__name__)
BEATS_PER_LEASE = 6
Acts = tuple[Callable[[Backend], object], ...]


def create_app(settings: Settings) -> FastAPI:
    """Nothing is opened or written before the application starts to serve."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.backend = await run_in_threadpool(Backend.open, settings)
        beats = [asyncio.create_task(_beat(app.state.backend, acts)) for acts in ACTS]
        try:
            yield
        finally:
            for beat in beats:
                beat.cancel()
            await asyncio.gather(*beats, return_exceptions=True)
            app.state.backend.close()

    app = FastAPI(title="scray", version=about.VERSION, lifespan=lifespan, responses=problems.REFUSALS)
    problems.install(app)
    for room in (about, health, metrics, overview, uploads, imports, large, tus, jobs, logs, files, datasets, portal):
        app.include_router(room.router)
    problems.describe(app)
    _guard(app, settings)
    return app


def _guard(app: FastAPI, settings: Settings) -> None:
    """The guard stands outside: what it refuses reaches nothing."""
    origins = list(settings.cors_origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=list(tus.EXPOSED),
        )
    app.add_middleware(Bound)
    app.add_middleware(Lenience)
    app.add_middleware(problems.OneShape)
    app.add_middleware(Guard, hosts=_hosts(settings), origins=origins, token=settings.api_token)


def _hosts(settings: Settings) -> set[str]:
    deployed = host_name(settings.deploy_server.rpartition("://")[2].partition("/")[0])
    return {*LOOPBACK_NAMES, settings.api_host, *settings.allowed_hosts, *([deployed] if deployed else [])}


async def _beat(backend: Backend, acts: Acts) -> None:
    """Do these again and again."""
    period = backend.settings.lease_seconds / BEATS_PER_LEASE
    while True:
        for act in acts:
            try:
                await run_in_threadpool(act, backend)
            except Exception as error:  # the database may be away for a while; the next beat tries again
                log.warning("uploads could not be looked after: %s", error)
        await asyncio.sleep(period)


def _say_so(backend: Backend) -> None:
    backend.uploads.beat(backend.active)


# Say that this process is there, and bring to an end what processes that are gone have left; what may take long, apart.
ACTS: tuple[Acts, ...] = ((_say_so, take_over_silent, reap, sweep), (join_left,))
