"""Lists of UIDs and of paths, as people and spreadsheets write them."""

import zlib

import pytest

from sender.negotiation import lists
from sender.negotiation.lists import (
    InvalidList,
    ListedLine,
    decoded,
    lines_of,
    parse_path_list,
    parse_uid_list,
)


def uid_list(text: str) -> list[tuple[str, str, int | None]]:
    return [(e.uid, e.level, e.instances) for e in parse_uid_list(lines_of(text))]


def path_list(text: str) -> list[ListedLine]:
    return list(parse_path_list(lines_of(text)))


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3,10\n1.2.4\n",
        "1.2.3;10\r\n1.2.4\r\n",
        "1.2.3\t10\r1.2.4",
        '"1.2.3","10"\n"1.2.4",""\n',
        "\n  1.2.3 , 10 \n\n 1.2.4 ,\n\n",
        "UID,Count\n1.2.3,10\n1.2.4\n",
        "1.2.3,10,remark\n1.2.4\n1.2.3,10\n",
    ],
)
def test_a_uid_per_line_and_how_many_are_expected(text: str) -> None:
    assert uid_list(text) == [("1.2.3", "", 10), ("1.2.4", "", None)]


@pytest.mark.parametrize(
    ("heading", "level"),
    [
        ("StudyInstanceUID,instances", "study"),
        ("study_instance_uid", "study"),
        ("Series Instance UID;n", "series"),
        ("SOP Instance UID", "instance"),
        ("iuid", "instance"),
        ("uid", ""),
    ],
)
def test_a_heading_tells_the_level(heading: str, level: str) -> None:
    assert uid_list(f"{heading}\n1.2.3") == [("1.2.3", level, None)]


def test_an_empty_list_of_uids_is_empty() -> None:
    assert uid_list("\n \n") == []


def test_lines_that_are_no_uids_are_named() -> None:
    with pytest.raises(InvalidList) as refused:
        uid_list("1.2.3\nhello\n1.2.03,5\n1.2.4,many\n1.2.5,0\n1.2.6,-1\n1.2.7,99999999999999\n")
    assert str(refused.value) == (
        "Line 2: “hello” is no UID. Line 3: “1.2.03” is no UID. "
        "Line 4: “many” is no number of instances. Line 5: “0” is no number of instances. "
        "Line 6: “-1” is no number of instances. 1 more lines can't be used."
    )


def test_a_uid_has_one_number_of_instances() -> None:
    assert uid_list("1.2.3,25\n1.2.3\n1.2.4\n1.2.4,7") == [("1.2.3", "", 25), ("1.2.4", "", 7)]
    with pytest.raises(InvalidList) as refused:
        uid_list("1.2.3,25\n1.2.4\n1.2.3,20\n")
    assert str(refused.value) == "Line 3: 1.2.3 stands here twice, with 25 and with 20 instances."


def test_a_heading_stands_only_above_the_list() -> None:
    with pytest.raises(InvalidList, match="Line 2: “uid” is no UID"):
        uid_list("1.2.3\nuid")


def test_a_list_of_uids_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_UIDS", 2)
    assert len(uid_list("1.2.1\n1.2.2\n1.2.1")) == 2
    with pytest.raises(InvalidList, match="at most 2 UIDs"):
        uid_list("1.2.1\n1.2.2\n1.2.3")


def test_a_path_per_line() -> None:
    assert path_list("/a/1.dcm\r\n\r\n/a b/2.dcm\r\n") == [
        ListedLine(1, "/a/1.dcm"),
        ListedLine(3, "/a b/2.dcm"),
    ]


@pytest.mark.parametrize("heading", ["path", "Path,UID", '"file path"', "FILE;x"])
def test_a_heading_is_no_path(heading: str) -> None:
    assert [line.path for line in path_list(f"{heading}\n/a")] == ["/a"]


def test_a_file_called_path_can_be_listed_behind_the_first_line() -> None:
    assert [line.path for line in path_list("/a\npath")] == ["/a", "path"]


def test_quotes_enclose_a_path_and_further_columns_are_left_out() -> None:
    assert path_list('"/a,b/1.dcm",x,y\n"/say ""hi""/2.dcm"') == [
        ListedLine(1, "/a,b/1.dcm"),
        ListedLine(2, '/say "hi"/2.dcm'),
    ]


def test_without_quotes_the_line_may_be_a_path_or_a_row() -> None:
    assert path_list("/a/1.dcm,1.2.3\n/a;b/2.dcm") == [
        ListedLine(1, "/a/1.dcm,1.2.3", "/a/1.dcm"),
        ListedLine(2, "/a;b/2.dcm", "/a"),
    ]


def test_an_open_quote_spoils_no_other_line() -> None:
    assert [line.path for line in path_list('"/a\n/b\n/c"')] == ["/a", "/b", '/c"']


def test_lines_that_can_be_no_path_say_why() -> None:
    long = "/" + "x" * 9000
    found = path_list(f"/a\0b\n{long}\n/c")
    assert [(line.number, line.fault) for line in found] == [
        (1, "no path has a NUL character"),
        (2, "the line is too long"),
        (3, ""),
    ]
    assert "\0" not in found[0].path
    assert len(found[1].path) < 100


def test_a_list_of_paths_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_LINES", 2)
    with pytest.raises(InvalidList, match="at most 2 lines"):
        path_list("/a\n/b\n/c")


@pytest.mark.parametrize(
    "content",
    [
        "/ä/1".encode(),
        b"\xef\xbb\xbf" + "/ä/1".encode(),
        "/ä/1".encode("utf-16"),
        b"\xfe\xff" + "/ä/1".encode("utf-16-be"),
    ],
)
def test_lists_come_in_the_encodings_of_spreadsheets(content: bytes) -> None:
    assert decoded(content) == "/ä/1"


def test_bytes_that_are_no_text_are_kept_as_in_file_names() -> None:
    import os

    assert os.fsencode(decoded(b"/\xe4/1")) == b"/\xe4/1"


@pytest.mark.parametrize("content", [zlib.compress(bytes(range(256)) * 99), b"DICM" + b"\0" * 99])
def test_what_is_no_text_is_no_list(content: bytes) -> None:
    with pytest.raises(InvalidList, match="This is no text"):
        decoded(content)


def test_a_stray_character_makes_a_list_no_less_a_text() -> None:
    assert decoded(b"/a\0b\t1\n") == "/a\0b\t1\n"


def test_only_line_ends_end_a_line() -> None:
    assert list(lines_of("a\x0bb\x1cc\x85d\u2028e\nf")) == ["a\x0bb\x1cc\x85d\u2028e", "f"]
