"""The IDX header: what is written is read back, every form is read, hostile text ends in a clear error."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scray.errors import BadInput, HostileInput, TooLarge, UnsafePath, Unsupported
from scray.idx.header import Field, Header, TimeRange, field_names

CAT_RGB = """(version)
6
(box)
0 255 0 255
(fields)
data uint8[3] format(0) default_value(0) min(0 0 0) max(0 0 0)
(bits)
V0101010101010101
(bitsperblock)
16
(blocksperfile)
1
(interleave block)
0
(filename_template)
./rgb/%01x.bin
"""

TWO_FIELDS = """(version)
6
(logic_to_physic)
1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1
(box)
0 2047 0 1023 0 0 0 0 0 0
(fields)
# a comment
temperature uint8[3] compressed format(0)
+ pressure uint8 compressed format(0) default_value(7)
(bits)
V001010101010101010101
(bitsperblock)
16
(blocksperfile)
32
(time)
0 9 time%02d/
(filename_template)
./visus/%02x.bin
"""


def header(**changes: object) -> Header:
    plain = Header(
        box=((0, 36), (0, 20), (0, 10)),
        bitmask="V012012012012010",
        bits_per_block=8,
        blocks_per_file=4,
        fields=(Field("data", "<f4"),),
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_reads_an_old_header_with_hz_layout_and_components() -> None:
    read = Header.parse(CAT_RGB, "rgb")
    assert read.shape == (256, 256)
    assert read.fields == (Field("data", "|u1", 3, "raw", False, 0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),)
    assert (read.max_level, read.total_blocks, list(read.steps())) == (16, 1, [0])
    assert read.block_file(0, "data", 0) == "rgb/0.bin"


def test_reads_five_axes_of_a_box_as_far_as_the_bits_go() -> None:
    read = Header.parse(TWO_FIELDS)
    assert read.box == ((0, 2047), (0, 1023))
    assert [(f.name, f.codec, f.default_value) for f in read.fields] == [
        ("temperature", "zip", 0),
        ("pressure", "zip", 7),
    ]
    assert list(read.steps()) == list(range(10))
    assert read.block_file(31, "data", 3) == "visus/time03/00.bin"
    assert read.metadata == {"logic_to_physic": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("0 9 time%02d/", list(range(10))),
        ("t%d/ (4,10,3)", [4, 7, 10]),
        ("t%d/ (1,2,1) (5) (7,9,2)", [1, 2, 5, 7, 9]),
        ("* * t%d/", [0]),
    ],
)
def test_reads_every_form_of_time(text: str, steps: list[int]) -> None:
    time = TimeRange.parse(text)
    assert list(time.steps()) == steps
    assert len(time) == len(steps)
    assert all(step in time for step in steps)
    assert 11 not in time
    assert TimeRange.parse(time.format(False)) == time


@pytest.mark.parametrize("text", ["", "1", "0 9", "9 0 t/", "t/ (1,2,0)", "t/ (1,2", "a b t/", "nan 1 t/", "0 1e99 t/"])
def test_refuses_impossible_times(text: str) -> None:
    with pytest.raises(BadInput):
        TimeRange.parse(text)


@pytest.mark.parametrize(
    ("version", "template", "block", "name"),
    [
        (6, "./visus/%04x.bin", 0x3C, "visus/time_0001/003c.bin"),
        (6, "./visus/%02x.bin", 0x1234, "visus/time_0001/12/34.bin"),
        (6, "./visus/%01x/%02x.bin", 0x12345678, "visus/time_0001/1/2/3/4/5/6/78.bin"),
        (6, "./a-%02x/%02x.bin", 0x1234, "a-time_0001/12/34.bin"),
        (6, "all.bin", 0x34, "all.bin"),
        (5, "./visus/%04x.bin", 0x3C, "visus/time_0001/003c.bin"),
        (4, "./visus/%04x.bin", 0x123456, "visus/time_0001/123456.bin"),
        (1, "./visus/%d.bin", 20, "visus/time_0001/20.bin"),
        (3, "$(CurrentFileDirectory)/v/%03x.bin", 20, "v/time_0001/014.bin"),
    ],
)
def test_names_the_file_of_a_block(version: int, template: str, block: int, name: str) -> None:
    deep = header(
        bitmask="V" + "012" * 13,
        box=((0, 1),) * 3,
        version=version,
        blocks_per_file=1,
        filename_template=template,
        time=TimeRange(0, 3, template="time_%04d/"),
    )
    assert deep.block_file(block, "data", 1) == name


def test_names_the_files_of_arco_blocks() -> None:
    arco = header(arco=1024, blocks_per_file=1, time=TimeRange(3, 7), name="sky")
    assert arco.block_file(0x1B2, "data", 4) == "sky/4/data/0000/0000/0000/01b2.bin"
    assert header(arco=1024, blocks_per_file=1).block_file(5, "data", 0) == "visus/0/data/0000/0000/0000/0005.bin"


def test_arco_decides_the_size_of_blocks() -> None:
    text = header(arco=4096, bits_per_block=10, blocks_per_file=1).format()
    text = text.replace("(bitsperblock)\n10", "(bitsperblock)\n3").replace("(blocksperfile)\n1", "(blocksperfile)\n9")
    read = Header.parse(text)
    assert (read.bits_per_block, read.blocks_per_file) == (10, 1)


def test_arco_does_not_excuse_negative_sizes() -> None:
    text = header(arco=1024, blocks_per_file=1).format()
    assert Header.parse(text.replace("(bitsperblock)\n8", "(bitsperblock)\n9")).bits_per_block == 8
    with pytest.raises(TooLarge):
        Header.parse(text.replace("(bitsperblock)\n8", "(bitsperblock)\n-1"))


def test_a_file_name_starts_at_the_first_of_interleaved_blocks() -> None:
    woven = header(interleave=2)
    assert [woven.position_in_file(b) for b in range(10)] == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert {woven.block_file(b, "data", 0) for b in (0, 2, 4, 6)} == {"visus/0000.bin"}
    assert woven.block_file(3, "data", 0) == "visus/0001.bin"


@pytest.mark.parametrize(
    "template",
    [
        "/etc/%04x.bin",
        "../x/%04x.bin",
        "./a/../../%04x.bin",
        "a\\..\\%04x",
        "http\0%04x",
        "..",
        "/etc/passwd",
    ],
)
def test_refuses_templates_that_lead_out(template: str) -> None:
    for version in (3, 6):
        with pytest.raises(UnsafePath):
            header(version=version, filename_template=template).block_file(0, "data", 0)


def test_refuses_an_arco_field_that_leads_out() -> None:
    with pytest.raises(UnsafePath):
        header(arco=1024, blocks_per_file=1).block_file(0, "../../x", 0)


@pytest.mark.parametrize("template", ["%s.bin", "%n%04x", "%04x%", "%4x.bin", "%0ax"])
def test_refuses_templates_that_make_no_sense(template: str) -> None:
    with pytest.raises(BadInput):
        header(filename_template=template).block_file(0, "data", 0)


@pytest.mark.parametrize("template", ["%s/", "%d%d/", "%/"])
def test_refuses_time_templates_that_make_no_sense(template: str) -> None:
    with pytest.raises(BadInput):
        header(time=TimeRange(0, 3, template=template)).block_file(0, "data", 0)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("(version)\n6", "(version)\n7", BadInput),
        ("(version)\n6", "(version)\nsix", BadInput),
        ("0 36 0 20 0 10", "0 36 0 20", BadInput),
        ("0 36 0 20 0 10", "0 64 0 20 0 10", BadInput),
        ("0 36 0 20 0 10", "-1 36 0 20 0 10", BadInput),
        ("0 36 0 20 0 10", "9 3 0 20 0 10", BadInput),
        ("V012012012012010", "F012012012012010", Unsupported),
        ("V012012012012010", "V01201201201201x", BadInput),
        ("V012012012012010", "V" + "012" * 40, TooLarge),
        ("V012012012012010", "V0123456", Unsupported),
        ("float32", "float16", Unsupported),
        ("float32", "float32[9999]", TooLarge),
        ("float32", "float32[0]", TooLarge),
        ("default_compression(zip)", "default_compression(/)", BadInput),
        ("default_value(0)", "default_value(x)", BadInput),
        ("default_value(0)", "default_value(2147483648)", BadInput),
        ("(missing_blocks)\n0", "(missing_blocks)\n99999999999", TooLarge),
        ("(box)", "( box )", BadInput),
        ("(bits)", "(more)\na\x1fb\n(bits)", BadInput),
        ("(bits)", "\x0c(bits)", BadInput),
        ("(bits)", "(more)\n\ufffd\n(bits)", BadInput),
        ("(blocksperfile)\n4", "(blocksperfile)\n0", BadInput),
        ("(blocksperfile)\n4", "(blocksperfile)\n99999999999", TooLarge),
        ("(fields)", "(meadows)", BadInput),
        ("(bitsperblock)\n8", "(bitsperblock)\n-8", TooLarge),
        ("(bitsperblock)\n8", "(bitsperblock)\n8 8", BadInput),
        ("(interleave block)\n0", "(interleave block)\n-2", BadInput),
        ("(bits)", "(bits", BadInput),
        ("(filename_template)", "(filename_template\t", BadInput),
        ("default_layout()", "ddefault_layout(0)", BadInput),
        ("default_layout()", "note(layout(0))", BadInput),
        ("default_layout()", "default_layout(hzorder", BadInput),
        ("default_layout()", "default_layout)(", BadInput),
        ("(version)", "hello", BadInput),
        ("(version)", "<dataset>", Unsupported),
    ],
)
def test_refuses_what_makes_no_sense(old: str, new: str, error: type[Exception]) -> None:
    text = header().format()
    assert old in text
    with pytest.raises(error):
        Header.parse(text.replace(old, new))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"box": ((0, 1), (0, 1))}, BadInput),
        ({"fields": ()}, BadInput),
        ({"bits_per_block": 16}, TooLarge),
        ({"arco": 64}, BadInput),
        ({"blocks_per_file": 1 << 23}, TooLarge),
    ],
)
def test_is_never_made_of_what_makes_no_sense(changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        header(**changes)


def test_refuses_blocks_of_two_gigabytes() -> None:
    with pytest.raises(TooLarge, match="2 GiB"):
        header(bitmask="V" + "012" * 9, bits_per_block=24, fields=(Field("a", "<f8", 100),))


def test_tells_sizes() -> None:
    assert (header().block_samples, header().step_count) == (256, 1)
    assert header(fields=(Field("a", "<f8", 3),)).block_bytes(0) == 256 * 24


def test_guesses_what_old_headers_leave_out() -> None:
    text = header().format().replace("(filename_template)\n./visus/%04x.bin\n", "").replace("(bitsperblock)\n8\n", "")
    read = Header.parse(text, "cat")
    assert read.filename_template == "./cat/%04x.bin"
    assert read.bits_per_block == 15
    assert Header.parse(text.replace("(blocksperfile)\n4", "(blocksperfile)\n-1")).blocks_per_file == 1


def test_reads_spellings_of_old_fields() -> None:
    assert Field.parse("v 3*float64 compressed(lz4) layout(1)") == Field("v", "<f8", 3, "lz4", True)
    assert Field.parse("compressed_rho int16 default_compression(raw)").codec == "raw"
    assert Field.parse("compressed_rho int16").codec == "zip"
    assert Field.parse("v uint8[2] min(1) max(2)").maximum == (2.0, 2.0)
    assert Field.parse("v float32 min(nan) max(inf)").minimum is None
    assert Field.parse("v float32 filter(identity)").filter == "identity"


def test_writes_nothing_a_reader_would_misread() -> None:
    with pytest.raises(Unsupported):
        header(version=5).format()
    with pytest.raises(BadInput):
        header(time=TimeRange(0, 3)).format()
    for key, value in [
        ("box", "1"),
        ("a\nb", "1"),
        ("a", "(version)"),
        ("a", "b\n(c)"),
        ("a", "#"),
        ("a", ""),
    ]:
        with pytest.raises(BadInput):
            header(metadata={key: value}).format()
    assert "(time)" not in header(time=TimeRange(0, 0)).format()


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    components = draw(st.integers(1, 4))
    bounds = st.tuples(*[numbers] * components)
    known = draw(st.booleans())
    return Field(
        draw(names),
        draw(st.sampled_from(["|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"])),
        components,
        draw(st.sampled_from(["raw", "zip", "lz4", "zfp-reversible-reversible"])),
        draw(st.booleans()),
        draw(st.integers(-5, 5)),
        draw(bounds) if known else None,
        draw(bounds) if known else None,
        draw(st.sampled_from(["", "min"])),
    )


@st.composite
def headers(draw: st.DrawFn) -> Header:
    digits = draw(st.lists(st.integers(0, 4), min_size=1, max_size=40))
    axes = max(digits) + 1
    box = []
    for axis in range(axes):
        low = draw(st.integers(0, (1 << digits.count(axis)) - 1))
        box.append((low, draw(st.integers(low, (1 << digits.count(axis)) - 1))))
    first = draw(st.integers(0, 100))
    time = st.builds(TimeRange, st.just(first), st.integers(first, 200), st.integers(1, 3), st.just("t%03d/"))
    return Header(
        box=tuple(box),
        bitmask="V" + "".join(map(str, digits)),
        bits_per_block=draw(st.integers(1, min(len(digits), 20))),
        blocks_per_file=draw(st.integers(1, 64)),
        fields=tuple(draw(st.lists(fields(), min_size=1, max_size=3))),
        time=draw(st.none() | time),
        axis=tuple(draw(st.lists(names, max_size=axes))),
        metadata=draw(st.dictionaries(names.map("x".__add__), st.just('{"a": 1}'), max_size=2)),
    )


@settings(deadline=None)
@given(headers())
def test_what_is_written_is_read_back(written: Header) -> None:
    assert Header.parse(written.format()) == written


def attempt(text: str) -> None:
    try:
        read = Header.parse(text)
        read.block_file(read.total_blocks - 1, read.fields[-1].name, 3)
    except (BadInput, HostileInput, Unsupported):
        pass


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_ends_in_a_header_or_a_clear_error(text: str) -> None:
    attempt("(version)\n" + text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([CAT_RGB, TWO_FIELDS]), st.data())
def test_any_damage_ends_in_a_header_or_a_clear_error(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        drop = data.draw(st.integers(0, 8))
        text = (
            text[:at]
            + data.draw(st.text(max_size=6) | st.sampled_from(["-", "9" * 30, "(", "²", "%s"]))
            + text[at + drop :]
        )
    attempt(text)


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=12))
def test_field_names_are_plain_and_unique(originals: list[str]) -> None:
    made = field_names(originals)
    assert len({name.lower() for name in made}) == len(originals)
    for name in made:
        assert 1 <= len(name) <= 64
        assert "compressed" not in name.lower()
        assert Header.parse(header(fields=(Field(name, "<f4", codec="raw"),)).format()).fields[0].name == name


def test_field_names_keep_what_is_plain() -> None:
    assert field_names(["air", "Air", "air_2", "a b/c", "", "--", "compressed"]) == (
        "air",
        "Air_3",
        "air_2",
        "a_b_c",
        "data",
        "data_2",
        "compr",
    )
