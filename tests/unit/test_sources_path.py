"""Files and folders of the server: linked or copied, from allowed folders alone."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scray.errors import (
    BadInput,
    BadParameter,
    Conflict,
    EmptyInput,
    NoSpace,
    RemoteChanged,
    SourceDenied,
    SourceNotFound,
    SourceRefused,
    TooLarge,
)
from scray.settings import Settings
from scray.sources import Listing, RemoteFile, checksum, open_source
from scray.sources import portions as cutting
from scray.sources.checksum import fits
from scray.sources.intake import Intake
from scray.sources.path import PathSource
from scray.sources.portions import PORTION_FILES, RANGE_BYTES, check_listing, check_room, portions
from scray.spans import CHUNK_BYTES, Span

CONTENT = os.urandom(10_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    (folder / "run/deep").mkdir(parents=True)
    (folder / "run/a.tif").write_bytes(CONTENT)
    (folder / "run/deep/a.tif").write_bytes(CONTENT[::-1])
    (folder / "run/deep/empty").touch()
    (folder / "run/.hidden").write_bytes(b"x")
    return folder


def source(path: Path | str, *roots: Path, **config: str) -> PathSource:
    settings = Settings(import_roots=tuple(map(str, roots)), max_bytes=1 << 20, visus_datasets=Path("/nowhere/data"))
    found = open_source("path", {"path": str(path), **config}, settings)
    assert isinstance(found, PathSource)
    return found


def import_all(found: PathSource, folder: Path) -> dict[str, Path]:
    intake = Intake.begin(folder / "intake", found, 1 << 20)
    intake.fetch(found, range(len(intake.portions)), time.time() + 60, lines=3)
    digests: dict[tuple[int, Span], str] = {}
    for one in intake.checks():
        digests |= {(one.file, span): digest for span, digest in zip(one.spans, intake.digest(one), strict=True)}
    intake.compare(digests)
    data = folder / "data"
    list(intake.land(data))
    intake.clear()
    return {str(path.relative_to(data)): path for path in data.rglob("*") if path.is_file()}


def test_a_folder_is_linked_where_that_is_possible(root: Path, tmp_path: Path) -> None:
    found = import_all(source(root / "run", root), tmp_path)
    assert set(found) == {"a.tif", "deep/a.tif", "deep/empty"}
    for name, path in found.items():
        assert path.samefile(root / "run" / name)


def test_else_it_is_copied_and_the_source_is_left_alone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "RANGE_BYTES", 999)
    monkeypatch.setattr(PathSource, "adopt", lambda *_: False)
    found = import_all(source(root / "run", root), tmp_path)
    assert set(found) == {"a.tif", "deep/a.tif", "deep/empty"}
    for name, path in found.items():
        assert not path.samefile(root / "run" / name)
        assert path.read_bytes() == (root / "run" / name).read_bytes()


def test_another_file_system_means_a_copy(root: Path, tmp_path: Path) -> None:
    other = Path("/dev/shm") if tmp_path.stat().st_dev != Path("/dev/shm").stat().st_dev else Path("/tmp")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    target = other / f"scray-test-{os.getpid()}-{time.monotonic_ns()}.tif"
    target.write_bytes(CONTENT)
    try:
        (path,) = import_all(source(target, other, name="sub/x.tif"), tmp_path).values()
        assert path == tmp_path / "data/sub/x.tif"
        assert path.read_bytes() == CONTENT
        assert path.stat().st_dev != target.stat().st_dev
    finally:
        target.unlink()


def test_nothing_outside_the_allowed_folders(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")
    (root / "way").symlink_to(tmp_path)
    (root / "run/out").symlink_to(secret)
    for path in (secret, root / "way/secret", root / "run/../../secret", root / "run/out", "run/a.tif", "/etc/passwd",
                 tmp_path / "missing", f"{root}\0x"):  # fmt: skip
        with pytest.raises(SourceDenied):
            source(path, root)
    with pytest.raises(SourceDenied):
        source(root / "run", root).probe()
    with pytest.raises(SourceDenied):
        source(root / "run/a.tif")
    with pytest.raises(SourceNotFound, match="File not found"):
        source(root / "missing", root)
    with pytest.raises(BadParameter):
        source(root / "run/a.tif", Path("lab"))


def test_a_path_that_is_turned_aside_after_the_check_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.tif").write_bytes(b"another's")
    found = source(root / "run/a.tif", root)
    (root / "run").rename(root / "old")
    (root / "run").symlink_to(tmp_path / "other")
    with pytest.raises(SourceDenied):
        found.probe()


def test_keys_of_the_service_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth/secret.key").write_text("x")
    settings = Settings(import_roots=(str(tmp_path),), visus_datasets=tmp_path)
    with pytest.raises(SourceDenied):
        open_source("path", {"path": str(tmp_path / "auth/secret.key")}, settings)


def test_what_is_no_file_is_refused(root: Path) -> None:
    os.mkfifo(root / "run/pipe")
    with pytest.raises(SourceRefused, match="not a file"):
        source(root / "run/pipe", root).probe()
    (root / "nothing").mkdir()
    with pytest.raises(EmptyInput):
        source(root / "nothing", root).probe()
    os.truncate(root / "run/a.tif", (1 << 20) + 1)
    with pytest.raises(TooLarge):
        source(root / "run/a.tif", root).probe()


def test_a_file_that_changes_meanwhile_is_told(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathSource, "adopt", lambda *_: False)
    found = source(root / "run/a.tif", root)
    intake = Intake.begin(tmp_path / "intake", found, 1 << 20)
    (root / "run/a.tif").write_bytes(CONTENT + b"more")
    with pytest.raises(RemoteChanged):
        intake.fetch(found, (0,), time.time() + 60)


def test_land_never_replaces(root: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tif").write_bytes(b"mine")
    with pytest.raises(Conflict):
        import_all(source(root / "run/a.tif", root), tmp_path)
    assert (tmp_path / "data/a.tif").read_bytes() == b"mine"


def test_a_beginning_that_died_is_begun_anew(root: Path, tmp_path: Path) -> None:
    (tmp_path / "intake/parts").mkdir(parents=True)
    (tmp_path / "intake/parts/0").write_bytes(b"of another time")
    assert set(import_all(source(root / "run", root), tmp_path)) == {"a.tif", "deep/a.tif", "deep/empty"}


@given(
    sizes=st.lists(st.none() | st.integers(0, 5 * RANGE_BYTES), max_size=150),
    ranged=st.lists(st.booleans(), min_size=150, max_size=150),
    linked=st.sets(st.integers(0, 149)),
)
def test_portions_hold_every_byte_once(sizes: list[int | None], ranged: list[bool], linked: set[int]) -> None:
    files = [
        RemoteFile(str(n), "", size, "v", is_ranged and size is not None)
        for n, (size, is_ranged) in enumerate(zip(sizes, ranged, strict=False))
    ]
    found = list(portions(files, linked, 77))
    pieces = [piece for portion in found for piece in portion]
    for n, file in enumerate(files):
        spans = [piece.span for piece in pieces if piece.file == n]
        if n in linked:
            assert spans == []
            continue
        assert (spans[0].start, spans[-1].stop) == (0, 77 if file.size is None else file.size)
        assert all(one.stop == other.start for one, other in pairwise(spans))
        assert len(spans) == 1 or file.ranged
    assert all(0 < len(portion) <= PORTION_FILES for portion in found)


@given(
    size=st.integers(1, 40 * RANGE_BYTES),
    part=st.just(0) | st.integers(1 << 20, 2 * CHUNK_BYTES),
    kind=st.sampled_from(["etag", "md5"]),
)
@example(size=13_107_202, part=13_107_201, kind="etag")  # two ranges in one portion
def test_ranges_hold_whole_parts_where_these_are_not_too_large(size: int, part: int, kind: str) -> None:
    file = RemoteFile("a", "", size, "v", ranged=True, checksum=f"{kind}:x", part_bytes=part if kind == "etag" else 0)
    spans = [piece.span for portion in portions([file], (), 0) for piece in portion]
    proofs = [checksum.part(file, span, size) for span in spans] if kind == "md5" or part else []
    if kind == "etag" and 0 < part <= CHUNK_BYTES:
        found = [span for proof in proofs if proof for span in proof.spans]
        assert tuple(found) == checksum.whole(file, size).spans
        assert all(span.size <= max(RANGE_BYTES, part) for span in spans)
    elif kind == "md5":
        assert [bool(proof) for proof in proofs] == [len(spans) == 1] * len(spans)
    assert max(span.size for span in spans) <= CHUNK_BYTES


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "a/b"], ["x/y", "x"]])
def test_files_in_each_others_way_are_refused(paths: list[str]) -> None:
    files = tuple(RemoteFile(path, "", 1) for path in paths)
    with pytest.raises(BadInput, match="both be called"):
        check_listing(Listing(files))
    with pytest.raises(EmptyInput, match="because"):
        check_listing(Listing((), ("because",)))
    with pytest.raises(EmptyInput, match="nothing to import but empty files, like 'a'"):
        check_listing(Listing((RemoteFile("a", "", 0), RemoteFile("b", "", 0))))
    check_listing(Listing((RemoteFile("a", "", 0), RemoteFile("b", "", None))))
    with pytest.raises(NoSpace, match="2"):
        check_room(files, set(), 1)
    check_room(files, {0, 1}, 0)


def test_checksums_of_parts() -> None:
    from hashlib import md5

    parts = [b"one", b"two"]
    digests = [md5(part).hexdigest() for part in parts]
    whole = md5(b"".join(md5(part).digest() for part in parts)).hexdigest()
    assert fits(f"etag:{whole}-2", "md5", digests)
    assert not fits(f"etag:{whole}-2", "md5", digests[::-1])
    assert fits(f"md5:{digests[0].upper()}", "md5", digests[:1])
    assert not fits(f"md5:{digests[0]}", "md5", digests)
