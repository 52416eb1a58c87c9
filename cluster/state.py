"""Where a local stack keeps its own things, and the state file `stack.json` that says what runs where."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import psutil
import typer

from scray.errors import ScrayError
from scray.storage import write_atomic

Data = Annotated[
    Path,
    typer.Option(envvar="VISUS_DATASETS", help="The data folder; there is one stack for each.", file_okay=False),
]
DEFAULT_DATA = Path(".scray")

Phase = Literal["starting", "ready", "stopping"]


@dataclass(frozen=True)
class Places:
    """The stack's own files, under `<data folder>/stack`: nothing of it is anybody's data but the database."""

    data: Path

    @property
    def root(self) -> Path:
        return self.data / "stack"

    @property
    def state(self) -> Path:
        return self.root / "stack.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def token(self) -> Path:
        return self.root / "ray-token"

    @property
    def settings(self) -> Path:
        return self.root / "scray.env"

    @property
    def database(self) -> Path:
        return self.root / "database"

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def create(self) -> None:
        """Private to the owner: the token and the database's address are in here."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / "logs").mkdir(exist_ok=True)
        self.database.mkdir(exist_ok=True)


@dataclass
class State:
    """What runs, and where; `mongo` never shows a password."""

    id: str
    phase: Phase
    pid: int
    data: str
    api: str = ""
    dashboard: str = ""
    mongo: str = ""
    ray: str = ""
    token_file: str = ""
    settings_file: str = ""
    temporary: str = ""
    children: dict[str, int] = field(default_factory=dict)

    def write(self, places: Places) -> None:
        write_atomic(places.state, json.dumps(asdict(self), indent=1).encode())


def read_state(places: Places) -> State | None:
    """The state as last written, by whatever version; None where there is none."""
    known = {field.name for field in fields(State)}
    with suppress(OSError, ValueError, TypeError, AttributeError):
        written = json.loads(places.state.read_bytes())
        return State(**{name: value for name, value in written.items() if name in known})
    return None


def without_password(url: str) -> str:
    """A database URL fit for printing."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    return url.replace(f"{user}{at}", f"{user.partition(':')[0]}:***@", 1) if at else url


@contextmanager
def only_one(places: Places) -> Iterator[bool]:
    """Hold the data folder's lock; False when another stack holds it. The kernel lets go of it with the process."""
    with places.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def holds(process: psutil.Process, places: Places) -> bool:
    """Whether this process is the stack of a data folder: it has its lock open. (Times at which processes began change
    when somebody sets the clock.)
    """
    return str(places.lock) in {file.path for file in process.open_files()}


def is_held(places: Places) -> bool:
    """Whether a stack runs on this data folder."""
    if not places.lock.exists():
        return False
    with only_one(places) as free:
        return not free


class NoStack(ScrayError):
    """No stack runs here: start one with `make up` or `scray up --detach`, or name an API with --api."""

    code = "no-stack"


def api_address(data: Path) -> str:
    """The API of the stack that runs on a data folder; NoStack where none does."""
    places = Places(data.resolve())
    state = read_state(places)
    if state is None or not state.api or not is_held(places):
        raise NoStack
    return state.api
