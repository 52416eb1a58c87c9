"""Archives: what honest ones hold is converted, what hostile ones try is refused by name, and the upload stays."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inflate64
import py7zr
import pytest
import tifffile
import zstandard

from converters import archives, crate, sandbox
from converters.archives import archives_in, unpack_all
from converters.convert import convert
from converters.prepare import Job, find_files
from converters.run import Serial
from converters.verify import verify
from scray.errors import (
    ArchiveBomb,
    ArchiveDevice,
    ArchiveLink,
    BadArchive,
    BadInput,
    EmptyInput,
    EncryptedArchive,
    HostileInput,
    MixedInput,
    NoSpace,
    ScrayError,
    TruncatedInput,
    UnsafePath,
)
from scray.idx.reader import Dataset
from scray.manifest import MANIFEST, Manifest, digest_file
from tests.formats import pattern
from tests.trees import tree_digests

Members = dict[str, bytes]


def image(seed: int) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, pattern((20, 30), "<u2", seed), metadata=None)
    return out.getvalue()


STACK: Members = {
    "scan/s10.tif": image(10),
    "scan/s2.tif": image(2),
    "scan/.hidden": b"x",
    "__MACOSX/scan/._s2.tif": b"x",
    "scan/readme.txt": b"taken on Tuesday",
}


def make_zip(members: Members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scan/", b"")
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def make_7z(members: Members) -> bytes:
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(content, name)
    return out.getvalue()


def make_tar(members: Members, **special: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, change in special.items():
            info = tarfile.TarInfo(name)
            for key, value in change.items():
                setattr(info, key, value)
            archive.addfile(info)
    return out.getvalue()


MAKERS: dict[str, Callable[[Members], bytes]] = {
    "in.zip": make_zip,
    "in.7z": make_7z,
    "in.tar": make_tar,
    "in.tar.gz": lambda m: gzip.compress(make_tar(m)),
    "in.tgz": lambda m: gzip.compress(make_tar(m)),
    "in.tar.bz2": lambda m: bz2.compress(make_tar(m)),
    "in.tar.xz": lambda m: lzma.compress(make_tar(m)),
    "in.tar.zst": lambda m: zstandard.compress(make_tar(m)),
}


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    folder = tmp_path / "upload"
    folder.mkdir()
    return folder


def unpacked(upload: Path, target: Path) -> Members:
    """What comes out, by name."""
    target.mkdir()
    unpack_all(*find_files([upload]), target)
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}


def refused(upload: Path, tmp_path: Path, error: type[ScrayError], match: str) -> None:
    """An unpacking that is refused, and touches nothing outside its folder."""
    before = tree_digests(upload)
    (tmp_path / "deep").mkdir()
    with pytest.raises(error, match=match):
        unpacked(upload, tmp_path / "deep" / "out")
    assert tree_digests(upload) == before
    assert {p.name for p in tmp_path.iterdir()} == {"upload", "deep"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


# --- honest --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_gives_its_files_without_hidden_ones(upload: Path, tmp_path: Path, name: str) -> None:
    (upload / name).write_bytes(MAKERS[name](STACK))
    assert unpacked(upload, tmp_path / "out") == {n: STACK[n] for n in STACK if n.startswith("scan/") and ".h" not in n}


@pytest.mark.parametrize("name", ["in.zip", "in.7z", "in.tar.gz"])
def test_an_archive_is_converted_as_what_it_holds(upload: Path, tmp_path: Path, name: str) -> None:
    (upload / name).write_bytes(MAKERS[name](STACK))
    before = tree_digests(upload)
    root, files = find_files([upload / name])
    out = tmp_path / "out"
    convert(Job(root, files, "TIFF"), out, Serial())
    with Dataset.open(out / "visus.idx") as dataset:
        assert dataset.read().tobytes() == b"".join(pattern((20, 30), "<u2", seed).tobytes() for seed in (2, 10))
    manifest = Manifest.from_json((out / MANIFEST).read_bytes())
    assert manifest.inputs == (digest_file(upload, name),)
    assert verify(out, upload / name) == []
    assert tree_digests(upload) == before
    assert not list(tmp_path.glob(".out*"))


def test_an_archive_of_nothing_known_is_kept_as_it_came(upload: Path, tmp_path: Path) -> None:
    (upload / "in.zip").write_bytes(make_zip({"a/notes.txt": b"hello", "b.bin": bytes(300)}))
    (upload / "beside.txt").write_bytes(b"beside")
    convert(Job(*find_files([upload]), "OTHER"), tmp_path / "out", Serial())
    assert (tmp_path / "out" / "in.zip").samefile(upload / "in.zip")
    assert (tmp_path / "out" / "beside.txt").samefile(upload / "beside.txt")
    assert not (tmp_path / "out" / "in").exists()
    assert not (tmp_path / "out" / "a").exists()
    assert any(
        note.startswith("kept as is") for note in Manifest.from_json((tmp_path / "out" / MANIFEST).read_bytes()).notes
    )
    assert verify(tmp_path / "out") == []
    assert verify(tmp_path / "out", upload) == []


def test_an_archive_of_something_known_is_converted_by_other_too(upload: Path, tmp_path: Path) -> None:
    (upload / "in.zip").write_bytes(make_zip({"notes.txt": b"hello", "a.tif": image(3)}))
    convert(Job(*find_files([upload]), "OTHER"), tmp_path / "out", Serial())
    with Dataset.open(tmp_path / "out" / "visus.idx") as dataset:
        assert dataset.read().tobytes() == pattern((20, 30), "<u2", 3).tobytes()
    assert verify(tmp_path / "out", upload) == []


def test_several_archives_and_files_beside_them_have_a_folder_each(upload: Path, tmp_path: Path) -> None:
    (upload / "deep").mkdir()
    (upload / "one.zip").write_bytes(make_zip({"a.tif": image(1)}))
    (upload / "deep" / "two.tar.gz").write_bytes(gzip.compress(make_tar({"a.tif": image(2)})))
    (upload / "loose.tif").write_bytes(image(3))
    job = Job(*find_files([upload]), "TIFF")
    made = sandbox.unpack(job, tuple(digest_file(job.root, f) for f in job.files), tmp_path / "staging")
    assert made.files == ("deep/two/a.tif", "loose.tif", "one/a.tif")
    assert (made.root / "loose.tif").samefile(upload / "loose.tif")


def test_archives_in_archives_and_single_compressed_files(upload: Path, tmp_path: Path) -> None:
    inner = make_zip({"a.tif": image(1), "b.tif": image(2)})
    members = {"inner.zip": inner, "c.tif.gz": gzip.compress(image(3)), "d.tif.zst": zstandard.compress(image(4))}
    (upload / "in.tar").write_bytes(make_tar(members))
    found = unpacked(upload, tmp_path / "out")
    assert found == {"inner/a.tif": image(1), "inner/b.tif": image(2), "c.tif": image(3), "d.tif": image(4)}


@pytest.mark.parametrize("beside", ["in.zip.unpacking", "in.zip.unpacking/a"])
def test_an_inner_archive_may_have_any_name_and_neighbours(upload: Path, tmp_path: Path, beside: str) -> None:
    held = {"a": b"x", "b": b"y"}
    inner = make_zip(held)
    (upload / "in.tar").write_bytes(make_tar({"in.zip": inner, beside: b"mine", "n" * 251 + ".zip": inner}))
    assert unpacked(upload, tmp_path / "out") == {
        **{f"{folder}/{name}": content for folder in ("in", "n" * 251) for name, content in held.items()},
        beside: b"mine",
    }


def test_what_is_a_zip_only_inside_is_no_archive(upload: Path) -> None:
    for name in ("table.xlsx", "arrays.npz", "photo.tif"):
        (upload / name).write_bytes(make_zip({"a": b"x"}))
    (upload / "words.zip").write_text("no zip at all")
    assert archives_in(*find_files([upload])) == ()


def test_names_as_windows_spells_them(upload: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("scan/a.tif"), b"x")
    (upload / "in.zip").write_bytes(out.getvalue().replace(b"scan/a.tif", b"scan\\a.tif"))
    assert unpacked(upload, tmp_path / "out") == {"scan/a.tif": b"x"}


def test_unpacking_is_found_again_and_a_half_one_is_not(upload: Path, tmp_path: Path) -> None:
    (upload / "in.zip").write_bytes(make_zip(STACK))
    job = Job(*find_files([upload]), "TIFF")
    inputs = tuple(digest_file(job.root, f) for f in job.files)
    staging = tmp_path / "staging"
    (staging / "unpacking-0123").mkdir(parents=True)
    first = sandbox.unpack(job, inputs, staging)
    inode = (first.root / "scan" / "s2.tif").stat().st_ino
    second = sandbox.unpack(job, inputs, staging)
    assert second == first
    assert (second.root / "scan" / "s2.tif").stat().st_ino == inode
    assert sorted(p.name.split("-")[0] for p in staging.iterdir()) == ["unpacked", "unpacking"]


# --- hostile -------------------------------------------------------------------------------------

NAMES = ("../evil", "a/../../evil", "/etc/evil", "C:/evil", "..\\evil")


def utf16(name: str) -> bytes:
    return name.encode("utf-16-le")


def make_plain_7z(name: str) -> tuple[bytes, bytes]:
    """A 7z archive of one stored member, and its header, which is not compressed."""
    out = io.BytesIO()
    archive = py7zr.SevenZipFile(out, "w", filters=[{"id": py7zr.FILTER_COPY}])
    archive.set_encoded_header_mode(False)
    archive.writestr(b"boo", name)
    archive.close()
    raw = out.getvalue()
    offset, size = struct.unpack("<QQ", raw[12:28])
    return raw, raw[32 + offset : 32 + offset + size]


def signed_7z(raw: bytes, header: bytes, crc: int) -> bytes:
    """The archive with another header of the same size, and checksums that fit it."""
    start = raw[12:28] + struct.pack("<L", crc)
    return raw[:8] + struct.pack("<L", zlib.crc32(start)) + start + raw[32 : len(raw) - len(header)] + header


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["in.zip", "in.tar", "in.7z"])
def test_names_that_lead_out_are_refused(upload: Path, tmp_path: Path, name: str, kind: str) -> None:
    if kind == "in.7z":  # py7zr writes no such names, so one of the same length is replaced in the bare header
        raw, plain = make_plain_7z("n" * len(name))
        crc = zlib.crc32(header := plain.replace(utf16("n" * len(name)), utf16(name)))
        (upload / kind).write_bytes(signed_7z(raw, header, crc))
    else:
        (upload / kind).write_bytes(MAKERS[kind]({name: b"boo"}))
    refused(upload, tmp_path, UnsafePath, kind)


@pytest.mark.parametrize("special", ["symlink", "hardlink", "device", "pipe"])
def test_links_and_devices_in_a_tar_are_refused(upload: Path, tmp_path: Path, special: str) -> None:
    kinds: dict[str, tuple[dict[str, Any], type[ScrayError]]] = {
        "symlink": ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, ArchiveLink),
        "hardlink": ({"type": tarfile.LNKTYPE, "linkname": "../../x"}, ArchiveLink),
        "device": ({"type": tarfile.BLKTYPE, "devmajor": 8}, ArchiveDevice),
        "pipe": ({"type": tarfile.FIFOTYPE}, ArchiveDevice),
    }
    change, error = kinds[special]
    (upload / "in.tar").write_bytes(make_tar({"a": b"x"}, odd=change))
    refused(upload, tmp_path, error, r"in\.tar holds .*odd")


@pytest.mark.parametrize(("mode", "error"), [(stat.S_IFLNK, ArchiveLink), (stat.S_IFCHR, ArchiveDevice)])
def test_links_and_devices_in_a_zip_are_refused(
    upload: Path, tmp_path: Path, mode: int, error: type[ScrayError]
) -> None:
    with zipfile.ZipFile(upload / "in.zip", "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, "/etc/passwd")
    refused(upload, tmp_path, error, r"in\.zip holds .*odd")


def test_links_in_a_7z_are_refused(upload: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "odd").symlink_to("/etc/passwd")
    with py7zr.SevenZipFile(upload / "in.7z", "w") as archive:
        archive.write(tmp_path / "made" / "odd", "odd")
    (tmp_path / "made" / "odd").unlink()
    (tmp_path / "made").rmdir()
    refused(upload, tmp_path, ArchiveLink, r"in\.7z holds .*odd")


def zeros(count: int) -> Members:
    return {"zeros": bytes(count)}


@pytest.mark.parametrize("name", [n for n in MAKERS if n not in ("in.tar", "in.tgz")])
def test_bombs_by_ratio_are_refused(upload: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (upload / name).write_bytes(MAKERS[name](zeros(8 << 20)))
    monkeypatch.setattr(crate, "UNSUSPICIOUS_BYTES", 1 << 20)
    refused(upload, tmp_path, ArchiveBomb, name)


def test_a_zip_that_lies_about_its_sizes_is_counted_as_it_comes(
    upload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_zip(zeros(8 << 20))
    lie = raw.replace((8 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (upload / "in.zip").write_bytes(lie)
    monkeypatch.setattr(crate, "UNSUSPICIOUS_BYTES", 1 << 20)
    refused(upload, tmp_path, BadInput, r"in\.zip") if lie != raw else pytest.fail("the sizes are not there")


def test_bombs_by_members_nesting_and_disk_are_refused(
    upload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upload / "in.zip").write_bytes(make_zip({f"f{i}": b"" for i in range(20)}))
    monkeypatch.setattr(crate, "MAX_MEMBERS", 10)
    with pytest.raises(ArchiveBomb, match="members"):
        unpacked(upload, tmp_path / "one")
    monkeypatch.setattr(crate, "MAX_MEMBERS", 1000)
    nested = make_zip({"a": b"x"})
    for _ in range(archives.MAX_NESTING):
        nested = make_zip({"inner.zip": nested})
    (upload / "in.zip").write_bytes(nested)
    with pytest.raises(ArchiveBomb, match="deep"):
        unpacked(upload, tmp_path / "two")
    monkeypatch.setattr(crate, "free_bytes", lambda _: 1000)
    (upload / "in.zip").write_bytes(make_zip({"a": os.urandom(2000)}))
    with pytest.raises(NoSpace, match="free"):
        unpacked(upload, tmp_path / "three")


def test_a_member_of_endless_declared_size_is_refused(upload: Path, tmp_path: Path) -> None:
    (upload / "in.tar").write_bytes(make_tar({}, huge={"size": 1 << 60}))
    refused(upload, tmp_path, HostileInput, r"in\.tar")


def test_encrypted_archives_are_refused(upload: Path, tmp_path: Path) -> None:
    with py7zr.SevenZipFile(upload / "in.7z", "w", password="secret") as archive:
        archive.writestr(b"x" * 100, "a")
    refused(upload, tmp_path, EncryptedArchive, "encrypted")


def test_an_encrypted_zip_is_refused(upload: Path, tmp_path: Path) -> None:
    raw = bytearray(make_zip({"a": b"x" * 100}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = raw.rfind(signature)
        raw[start + at] |= 1
    (upload / "in.zip").write_bytes(raw)
    refused(upload, tmp_path, EncryptedArchive, "a in in.zip is encrypted".replace(".", r"\."))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_archives_that_are_cut_short_are_refused(upload: Path, tmp_path: Path, name: str, part: float) -> None:
    raw = MAKERS[name]({"a.bin": os.urandom(100_000), "b.bin": os.urandom(50_000)})
    (upload / name).write_bytes(raw[: int(len(raw) * part) if name != "in.tar" else int(150_000 * part) // 512 * 512])
    refused(upload, tmp_path, BadInput, name)


def sharing_zip(count: int) -> bytes:
    """A bomb: the space behind the name of each member, up to the one content, is its extra field."""
    raw = bytes(100_000)
    packed = zlib.compress(raw, wbits=-15)
    sizes = (zlib.crc32(raw), len(packed), len(raw), 3)
    head, listed = b"", b""
    for i in range(count):
        name = b"%03d" % i
        common = struct.pack("<HHHHIIIH", 0, 8, 0, 0, *sizes)
        listed += (
            b"PK\1\2" + struct.pack("<HH", 20, 20) + common + struct.pack("<HHHHII", 0, 0, 0, 0, 0, len(head)) + name
        )
        head += b"PK\3\4" + struct.pack("<H", 20) + common + struct.pack("<H", (count - 1 - i) * 33) + name
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(listed), len(head) + len(packed), 0)
    return head + packed + listed + b"PK\5\6" + end


def test_members_that_share_their_bytes_are_a_bomb(upload: Path, tmp_path: Path) -> None:
    (upload / "in.zip").write_bytes(sharing_zip(1))
    assert unpacked(upload, tmp_path / "one") == {"000": bytes(100_000)}
    (upload / "in.zip").write_bytes(sharing_zip(50))
    with pytest.raises(ArchiveBomb, match=r"in\.zip holds members that share"):
        unpacked(upload, tmp_path / "fifty")


@pytest.mark.parametrize("name", ["in.zip", "in.7z", "in.tar", "in.tar.gz"])
def test_archives_that_were_joined_hide_one_and_are_refused(upload: Path, tmp_path: Path, name: str) -> None:
    (upload / name).write_bytes(MAKERS[name]({"a": b"x"}) + MAKERS[name]({"b": b"y"}))
    refused(upload, tmp_path, BadArchive, name)


def test_a_part_of_a_zip_is_refused(upload: Path, tmp_path: Path) -> None:
    raw = bytearray(make_zip({"a": b"x"}))
    raw[raw.rfind(b"PK\1\2") + 34] = 1
    (upload / "in.zip").write_bytes(raw)
    refused(upload, tmp_path, BadArchive, "one part of several")


def test_a_name_that_ends_early_for_some_readers_is_refused(upload: Path, tmp_path: Path) -> None:
    (upload / "in.zip").write_bytes(make_zip({"a_tif/../../evil": b"boo"}).replace(b"a_tif", b"a\0tif"))
    refused(upload, tmp_path, UnsafePath, r"in\.zip")


def test_zip64_and_streamed_zips_and_odd_names_are_read(upload: Path, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open("large.tif", "w", force_zip64=True) as member:
            member.write(b"1")
        for name in ("CON.tif", "scan.tif", "SCAN.tif", "über/文.tif"):
            archive.writestr(name, b"2")
    (upload / "in.zip").write_bytes(out.getvalue())
    assert set(unpacked(upload, tmp_path / "one")) == {"large.tif", "CON.tif", "scan.tif", "SCAN.tif", "über/文.tif"}
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # sizes come behind each member
        archive.writestr("a", b"x" * 99)
        archive.writestr("b", b"y" * 99)
    (upload / "in.zip").write_bytes(stream.data)
    assert unpacked(upload, tmp_path / "two") == {"a": b"x" * 99, "b": b"y" * 99}


class Unseekable(io.RawIOBase):
    """What a pipe is to a writer."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_streams_of_several_parts_are_read_to_their_end(
    upload: Path, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = upload / f"a.bin.{ENDINGS[pack]}"
    noise = os.urandom(100_000)
    path.write_bytes(pack(b"abc") + pack(noise) + bytes(512))
    assert unpacked(upload, tmp_path / "whole") == {"a.bin": b"abc" + noise}
    for number, rest in enumerate((b"garbage!" * 20, b"X" + pack(b"d")[1:], pack(noise)[:-9])):
        path.write_bytes(pack(b"abc") + rest)
        with pytest.raises(BadInput, match=r"a\.bin"):
            unpacked(upload, tmp_path / str(number))


ENDINGS = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz", zstandard.compress: "zst"}


@pytest.mark.parametrize("options", [["--format=gnu", "-S"], ["--format=pax", "-S"], ["--format=v7"]])
def test_tars_as_programs_write_them(upload: Path, tmp_path: Path, options: list[str]) -> None:
    hollow = bytes(500_000) + b"abc" + bytes(400_000)
    (tmp_path / "made").mkdir()
    with (tmp_path / "made" / "hollow").open("wb") as file:
        file.truncate(len(hollow))
        file.seek(500_000)
        file.write(b"abc")
    subprocess.run(["tar", *options, "-cf", upload / "in.tar", "hollow"], cwd=tmp_path / "made", check=True)
    assert unpacked(upload, tmp_path / "out") == {"hollow": hollow}


@pytest.mark.parametrize("options", [["-V", "label"], ["--incremental"]])
def test_what_only_gnu_tar_has_is_no_file_and_no_folder(upload: Path, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "made" / "deep").mkdir(parents=True)
    (tmp_path / "made" / "deep" / "a").write_bytes(b"x")
    subprocess.run(["tar", *options, "-cf", upload / "in.tar", "deep"], cwd=tmp_path / "made", check=True)
    assert unpacked(upload, tmp_path / "out") == {"deep/a": b"x"}


def test_a_hollow_file_of_a_tar_is_a_bomb_by_its_size(upload: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "made").mkdir(parents=True)
    with (tmp_path / "deep" / "made" / "hollow").open("wb") as file:
        file.truncate(900 << 30)
    subprocess.run(["tar", "-S", "-cf", upload / "in.tar", "hollow"], cwd=tmp_path / "deep" / "made", check=True)
    with pytest.raises(ArchiveBomb, match=r"in\.tar"):
        unpacked(upload, tmp_path / "out")


@pytest.mark.parametrize(
    ("raw", "beside", "name"),
    [
        ("gr\u00f6\u00dfe.tif".encode(), b"", "gr\u00f6\u00dfe.tif"),
        (b"gr\x94\xe1e.tif", b"", "gr\u00f6\u00dfe.tif"),
        (b"\xb4\xf3.tif", "\u5927.tif".encode(), "\u5927.tif"),
    ],
)
def test_names_of_a_zip_that_does_not_say_their_letters(
    upload: Path, tmp_path: Path, raw: bytes, beside: bytes, name: str
) -> None:
    member = zipfile.ZipInfo("_" * len(raw))
    if beside:
        said = struct.pack("<BI", 1, zlib.crc32(raw)) + beside
        member.extra = struct.pack("<HH", 0x7075, len(said)) + said
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(member, b"x")
    (upload / "in.zip").write_bytes(out.getvalue().replace(member.filename.encode(), raw))
    assert unpacked(upload, tmp_path / "out") == {name: b"x"}


def test_what_windows_packs_of_large_files_is_read_and_checked(upload: Path, tmp_path: Path) -> None:
    whole = os.urandom(9_000) + bytes(200_000) + os.urandom(9_000)
    deflater = inflate64.Deflater()
    packed = deflater.deflate(whole) + deflater.flush()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", packed)
    raw = bytearray(out.getvalue())
    listed = raw.rindex(b"PK\1\2")
    for at in (8, listed + 10):  # of the member's own head, and of the list of members
        struct.pack_into("<H", raw, at, 9)
        struct.pack_into("<III", raw, at + 6, zlib.crc32(whole), len(packed), len(whole))
    (upload / "in.zip").write_bytes(raw)
    assert unpacked(upload, tmp_path / "whole") == {"a": whole}
    raw[5_000] ^= 1
    (upload / "in.zip").write_bytes(raw)
    with pytest.raises(BadInput, match=r"in\.zip"):
        unpacked(upload, tmp_path / "damaged")


def test_a_7z_that_hides_even_its_names_is_refused(upload: Path, tmp_path: Path) -> None:
    with py7zr.SevenZipFile(upload / "in.7z", "w", password="secret", header_encryption=True) as archive:
        archive.writestr(b"x" * 100, "a")
    refused(upload, tmp_path, EncryptedArchive, "encrypted")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_stream_of_nothing_without_end_is_refused(
    upload: Path, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (upload / "in.bin.gz").write_bytes(pack(b"") * 2000 + pack(b"x"))
    refused(upload, tmp_path, BadArchive, "hold nothing")


def test_a_tar_without_its_end_is_cut_short(upload: Path, tmp_path: Path) -> None:
    raw = make_tar({"a": b"x" * 512, "b": b"y" * 512})
    (upload / "in.tar").write_bytes(raw[:1024])
    refused(upload, tmp_path, TruncatedInput, r"in\.tar")


def test_a_tar_with_a_damaged_header_in_its_middle_is_refused(upload: Path, tmp_path: Path) -> None:
    raw = bytearray(make_tar({"a": b"x" * 512, "b": b"y" * 512, "c": b"z" * 512}))
    raw[1024] ^= 0x55
    (upload / "in.tar").write_bytes(raw)
    refused(upload, tmp_path, BadArchive, r"in\.tar")


def tar_head(name: str, size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (tar_head("p", 100_352, b"x") + b"7" * 100_352, "digits"),
        (tar_head("p", 2_097_152, b"x") + bytes(2_097_152), "2,097,152 bytes"),
        (tar_head("p", 2_097_152, b"L") + b"n" * 2_097_152, "2,097,152 bytes"),
        (tar_head("p", -512, b"0"), "-512 bytes"),
    ],
)
def test_what_stands_before_a_member_of_a_tar_is_bounded(upload: Path, tmp_path: Path, head: bytes, says: str) -> None:
    (upload / "in.tar").write_bytes(head + make_tar({"a": b"x"}))
    refused(upload, tmp_path, BadArchive, says)


def test_hidden_members_count_as_what_is_unpacked(
    upload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crate, "UNSUSPICIOUS_BYTES", 1 << 20)
    members = {f".{number}": bytes(700_000) for number in range(3)} | {"a": b"x"}
    (upload / "in.tar.gz").write_bytes(gzip.compress(make_tar(members)))
    refused(upload, tmp_path, ArchiveBomb, r"in\.tar\.gz")


@pytest.mark.parametrize("name", [n for n in MAKERS if n not in ("in.tar", "in.tgz")])
def test_a_changed_byte_is_found(upload: Path, tmp_path: Path, name: str) -> None:
    raw = bytearray(MAKERS[name]({"a.bin": os.urandom(100_000)}))
    raw[len(raw) // 2] ^= 0xFF
    (upload / name).write_bytes(raw)
    if name == "in.tar.zst":  # carries no checksum unless its maker asked for one
        raw = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(make_tar({"a.bin": bytes(9)})))
        raw[-1] ^= 0xFF
        (upload / name).write_bytes(raw)
    refused(upload, tmp_path, BadInput, name)


def test_members_that_hide_each_other_are_refused(upload: Path, tmp_path: Path) -> None:
    (upload / "in.tar").write_bytes(make_tar({"a": b"x", "./a": b"y"}))
    with pytest.raises(BadArchive, match="twice"):
        unpacked(upload, tmp_path / "one")
    (upload / "in.tar").write_bytes(make_tar({"a": b"x", "a/b": b"y"}))
    with pytest.raises(BadArchive, match="folder"):
        unpacked(upload, tmp_path / "two")
    (upload / "in.tar").write_bytes(make_tar({"a/b": b"y", "a": b"x"}))
    with pytest.raises(BadArchive, match="file"):
        unpacked(upload, tmp_path / "three")
    (upload / "in.tar").write_bytes(make_tar({"a.gz": gzip.compress(b"x"), "a": b"y"}))
    with pytest.raises(MixedInput, match="hide a"):
        unpacked(upload, tmp_path / "four")


def test_the_child_refuses_the_same_and_leaves_nothing(upload: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (upload / "in.tar").write_bytes(make_tar({"../evil": b"x"}))
    with pytest.raises(UnsafePath, match=r"in\.tar"):
        convert(Job(*find_files([upload]), "TIFF"), out, Serial())
    (upload / "in.tar").write_bytes(make_tar({".hidden": b"x"}))
    with pytest.raises(EmptyInput, match=r"in\.tar"):
        convert(Job(*find_files([upload]), "TIFF"), out, Serial())
    assert [p.name for p in tmp_path.iterdir()] == ["upload"]
