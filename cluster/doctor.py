"""`scray doctor`: everything that can be wrong here, each with what to do about it, and the users' eight questions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cluster import embedded, exposure
from cluster.children import marked
from cluster.head import program
from cluster.observe import token
from cluster.state import NoStack, Places, api_address, is_held, read_state
from scray.errors import ScrayError, Unsealed
from scray.questions import LEAST_FREE_BYTES, State
from scray.settings import ENV_FILE, load_settings
from scray.sizes import size_text
from scray.storage import free_bytes

SUPPORTED = "3.11, 3.12 and 3.13 are supported"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `says` what was found, `todo` what to do where it is not well."""

    name: str
    state: State
    says: str
    todo: str = ""

    @property
    def ok(self) -> bool:
        return self.state == "ok"


def well(name: str, ok: bool, says: str, todo: str = "", *, otherwise: State = "fail") -> Check:
    """A check that is ok, or else what `otherwise` says."""
    return Check(name, "ok" if ok else otherwise, says, "" if ok else todo)


def examine(data: Path, api: str, dataset: str = "") -> list[Check]:
    """Every check, in the order in which things depend on each other; the questions about a dataset, where one is."""
    checks: dict[str, Callable[[], Iterator[Check]]] = {
        "python": _python,
        "settings": _settings,
        "secret key": lambda: _secret_key(data),
        "data folder": lambda: _folders(data),
        "database": _database,
        "ray": _ray,
        "bucket": bucket,
        "sandbox": _sandbox,
        "exposure": lambda: strangers(data),
        "api": lambda: _service(data, api, dataset),
    }
    return [check for name, look in checks.items() for check in _safely(name, look)]


def _safely(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(look())
    except Exception as error:  # what a check stumbles over is what the doctor is asked for
        return [Check(name, "fail", error.message if isinstance(error, ScrayError) else repr(error))]


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield well("python", (3, 11) <= sys.version_info[:2] < (3, 14), f"{found}; {SUPPORTED}", "Make .venv with another.")


def _settings() -> Iterator[Check]:
    file = os.environ.get(ENV_FILE)
    load_settings()
    private = not file or Path(file).stat().st_mode & 0o077 == 0
    says = "from the environment" if not file else file if private else f"others can read {file}"
    yield well("settings", private, says, f"Run `chmod 600 {file}`.", otherwise="warn")


def _secret_key(data: Path) -> Iterator[Check]:
    settings = load_settings()
    if settings.secret_key:
        yield Check("secret key", "ok", "SECRET_KEY is set")
        return
    path = (settings.auth_folder or data.resolve() / "auth") / "secret.key"
    says = f"SECRET_KEY is not set: credentials are sealed with {path}, which is made at the first start"
    private = not path.exists() or path.stat().st_mode & 0o077 == 0
    yield well("secret key", private, says if private else f"others can read {path}", f"Run `chmod 600 {path}`.")


def _folders(data: Path) -> Iterator[Check]:
    free = free_bytes(data.resolve())
    yield well("disk", free >= LEAST_FREE_BYTES, f"{size_text(free)} are free at {data}", "Make room.")
    place = next(path for path in (data.resolve(), *data.resolve().parents) if path.exists())
    writable = os.access(place, os.W_OK)
    says = f"{data} {'can' if writable else 'cannot'} be written"
    yield well("data folder", writable, says, f"Give {place} to the user of the service, or name another with --data.")


def _database() -> Iterator[Check]:
    settings = load_settings()
    if not settings.mongo_url:
        yield Check("database", "ok", f"embedded: {embedded.find_server()}")
        return
    from scray.catalog import Catalog
    from scray.database import connect

    database = connect(settings.mongo_url, settings.db_name)
    with database.client:
        Catalog(database).ping()
    yield Check("database", "ok", "MONGO_URL answers")


def _ray() -> Iterator[Check]:
    path = Path(program())
    says = f"{version('ray')} at {path}" if path.exists() else "not installed"
    yield well("ray", path.exists(), says, "Run `make .venv`.")


def bucket() -> Iterator[Check]:
    """Where results are copied to, if they are."""
    from scray.publish import look

    settings = load_settings()
    if not settings.publish_url:
        return
    try:
        target = look(settings)
    except ScrayError as error:
        todo = "See SCRAY_PUBLISH_URL, SCRAY_PUBLISH_PROFILE and SCRAY_S3_PROFILES in docs/copies.md."
        yield Check("bucket", "fail", f"results cannot be copied: {error.message}", todo)
        return
    yield Check("bucket", "ok", f"results are copied to s3://{target.bucket}/{target.prefix}")


def _sandbox() -> Iterator[Check]:
    from converters.sandbox import WANTED, Sandbox

    sealing = load_settings().sandbox
    try:
        box = Sandbox([], [], 1 << 30, sealing)
    except Unsealed as error:
        yield Check("sandbox", "fail", error.message, "Use a kernel with Landlock and user namespaces.")
        return
    box.close()
    missing = ", ".join(sorted(WANTED - box.force))
    says = f"readers run without a limit on: {missing}" if missing else "readers are limited in memory, reach, network"
    todo = "Only convert files of people you trust, or see docs/security.md."
    yield well("sandbox", not missing, f"{says} (SCRAY_SANDBOX={sealing})", todo, otherwise="warn")


# --- what strangers reach ----------------------------------------------------------------------------


def strangers(data: Path) -> Iterator[Check]:
    """What the stack of this data folder, where one runs, else any Ray on this machine, lets strangers reach."""
    places = Places(data.resolve())
    state = read_state(places) if is_held(places) else None
    processes = marked(state.id) if state else exposure.ours()
    on = exposure.token_is_on(processes)
    if on is None:
        yield Check("token", "ok", "no Ray runs here")
    else:
        todo = "Start every `ray start` with RAY_AUTH_MODE=token."
        yield well("token", on, f"Ray {'asks' if on else 'does not ask'} for its token", todo)
    found = {door for door in exposure.doors(processes) if door.is_open}
    yield from _open_doors(found, bool(on))
    if state:
        modes = [path for path in (places.token, places.settings) if path.exists() and path.stat().st_mode & 0o077]
        says = f"others can read {', '.join(map(str, modes))}" if modes else "token and settings are the owner's alone"
        yield well("secrets", not modes, says, f"Run `chmod 600 {' '.join(map(str, modes))}`.")


def _open_doors(found: set[exposure.Door], on: bool) -> Iterator[Check]:
    """The dashboard and the database must never be open; Ray's other ports may on a cluster, with the token."""
    if not found:
        yield Check("ports", "ok", "everything listens on loopback alone")
    for part in sorted({door.part for door in found}):
        places = ", ".join(sorted(f"{door.address}:{door.port}" for door in found if door.part == part))
        inner = part in exposure.RAYS - {"dashboard"} and on
        todo = (
            "Keep strangers from them with a firewall." if inner else "Have it listen on 127.0.0.1, or close the port."
        )
        yield Check(f"ports: {part}", "warn" if inner else "fail", f"listens beyond loopback: {places}", todo)


# --- the service -------------------------------------------------------------------------------------


def _service(data: Path, api: str, dataset: str) -> Iterator[Check]:
    from scray.client import ScrayClient

    try:
        address = api or api_address(data)
    except NoStack as error:
        yield Check("stack", "warn", f"none on {data}", error.message)
        return
    with ScrayClient(address, token()) as client:
        for answer in client.questions(dataset):
            yield Check(answer["question"], answer["state"], answer["says"], answer["todo"])
        yield from _versions(client.overview()["drivers"])


def _versions(drivers: list[dict[str, object]]) -> Iterator[Check]:
    from cluster.version import code_version

    others = sorted({str(one.get("version")) for one in drivers if one["alive"]} - {code_version()})
    says = f"drivers run the code {', '.join(others)}, here is {code_version()}" if others else code_version()
    yield well("code", not others, says, "`scray submit` replaces them.", otherwise="warn")
