"""Rules: what they take, what they leave out and in which words, and what is refused."""

from typing import Any

import pytest

from sender.negotiation.selection import (
    BY_UID,
    EVERYTHING,
    Candidate,
    InvalidSelection,
    Selection,
    describe,
    excluded_by,
    lines_of_tags,
    parse_selection,
    tags_of_lines,
    takes_name,
    to_document,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ELE, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"


def candidate(**facts: Any) -> Candidate:
    values: dict[str, Any] = {
        "sop_class": CT,
        "transfer_syntax": ELE,
        "sop_instance": "1.3.1",
        "study": "1.1.1",
        "series": "1.2.1",
        "modality": "CT",
        "study_date": "20240115",
    }
    return Candidate(**(values | facts))


def uids(*found: str) -> frozenset[str]:
    return frozenset(found)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (EVERYTHING, ""),
        (Selection(sop_classes=uids(CT, MR)), ""),
        (Selection(sop_classes=uids(MR)), "SOP class"),
        (Selection(transfer_syntaxes=uids(RLE)), "transfer syntax"),
        (Selection(modalities=uids("MR", "CT")), ""),
        (Selection(modalities=uids("MR")), "modality"),
        (Selection(studies=uids("1.1.1")), ""),
        (Selection(series=uids("1.2.1")), ""),
        (Selection(instances=uids("1.3.1")), ""),
        (Selection(studies=uids("1.1.2")), BY_UID),
        (Selection(studies=uids("1.1.2"), instances=uids("1.3.1")), ""),
        (Selection(studies=uids("1.3.1")), BY_UID),
        (Selection(uids=uids("1.1.1")), ""),
        (Selection(uids=uids("1.2.1")), ""),
        (Selection(uids=uids("1.3.1")), ""),
        (Selection(uids=uids("1.9")), BY_UID),
        (Selection(uids=uids("1.9"), series=uids("1.2.1")), ""),
        (Selection(date_from="20240115", date_to="20240115"), ""),
        (Selection(date_from="20240116"), "study date"),
        (Selection(date_to="20240114"), "study date"),
        (Selection(date_to="20240115"), ""),
    ],
)
def test_rules_take_or_name_themselves(rules: Selection, words: str) -> None:
    assert excluded_by(candidate(), rules) == words


def test_data_without_a_date_are_in_no_range_of_dates() -> None:
    assert excluded_by(candidate(study_date=""), Selection(date_to="20991231")) == "study date"
    assert excluded_by(candidate(study_date=""), EVERYTHING) == ""


def test_data_without_a_uid_are_in_no_list() -> None:
    nameless = candidate(study="", series="", sop_instance="")
    assert excluded_by(nameless, Selection(uids=uids("1.1.1"))) == BY_UID


@pytest.mark.parametrize(
    ("pattern", "value", "is_taken"),
    [
        ("KNEE*", "Knee left", True),
        ("knee", "knee left", False),
        ("*left*", "KNEE LEFT", True),
        ("?", "x", True),
        ("[ab]*", "bone", True),
        ("", "", True),
        ("*", "", True),
        ("?*", "", False),
        ("PRIMARY", "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("original\\*", "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("SECONDARY", "ORIGINAL\\PRIMARY\\AXIAL", False),
        ("GROß*", "gross", True),
    ],
)
def test_patterns_of_attributes_fit_the_whole_or_one_of_several_values(
    pattern: str, value: str, is_taken: bool
) -> None:
    rules = Selection(tags={"StudyDescription": (pattern,)})
    found = excluded_by(candidate(tags={"StudyDescription": value}), rules)
    assert found == ("" if is_taken else "StudyDescription")


def test_an_attribute_that_is_missing_counts_as_empty() -> None:
    assert excluded_by(candidate(), Selection(tags={"StudyID": ("?*",)})) == "StudyID"
    assert excluded_by(candidate(), Selection(tags={"StudyID": ("",)})) == ""


@pytest.mark.parametrize(
    ("name", "patterns", "is_taken"),
    [
        ("a.dcm", (), True),
        ("a.dcm", ("*.dcm",), True),
        ("A.DCM", ("*.dcm",), True),
        ("a.txt", ("*.dcm", "*.ima"), False),
        ("DICOMDIR", ("!DICOMDIR",), False),
        ("a.dcm", ("!DICOMDIR",), True),
        ("b.dcm", ("*.dcm", "!b*"), False),
        ("", ("*",), True),
    ],
)
def test_patterns_of_names(name: str, patterns: tuple[str, ...], is_taken: bool) -> None:
    assert takes_name(name, patterns) is is_taken


def test_what_is_stored_comes_back_and_only_what_is_set_is_stored() -> None:
    rules = Selection(
        patterns=("*.dcm", "!x*"),
        sop_classes=uids(MR, CT),
        studies=uids("1.2"),
        uids=uids("1.4"),
        date_from="20240101",
        tags={"StudyID": ("A*",)},
        least_age_seconds=60,
    )
    document = to_document(rules)
    assert document["sop_classes"] == [CT, MR]
    assert document["patterns"] == ["*.dcm", "!x*"]
    assert parse_selection(document) == rules
    assert to_document(EVERYTHING) == {}
    assert parse_selection({}) == EVERYTHING


def test_what_people_write_is_tidied() -> None:
    rules = parse_selection(
        {"modalities": [" ct ", "MR", "CT"], "date_from": "2024-01-15", "tags": {"B": "", "A": "x"}}
    )
    assert rules.modalities == {"CT", "MR"}
    assert rules.date_from == "20240115"
    assert list(rules.tags) == ["A", "B"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"surprise": 1}, "There is no rule surprise."),
        ({"studies": ["1.2", "x"]}, "“x” is no UID."),
        ({"uids": ["1..2"]}, "“1..2” is no UID."),
        ({"sop_classes": "1.2"}, "is a list of at most"),
        ({"sop_classes": [" "]}, "empty or too long"),
        ({"patterns": ["a\0b"]}, "empty or too long"),
        ({"patterns": ["sub/*.dcm"]}, "a pattern is for the file's name alone"),
        ({"patterns": ["!"]}, "leaves out nothing"),
        ({"modalities": ["x" * 401]}, "empty or too long"),
        ({"date_from": "20240230"}, "“20240230” is no date"),
        ({"date_from": "yesterday"}, "is no date"),
        ({"date_to": "2024-1-1"}, "is no date"),
        ({"date_to": "٢٠٢٤٠١٠١"}, "is no date"),
        ({"date_from": "20240102", "date_to": "20240101"}, "later than the last"),
        ({"tags": ["StudyID"]}, "its keyword and a pattern"),
        ({"tags": {"StudyID": 1}}, "its keyword and a pattern"),
        ({"tags": {"StudyID": ["x", 1]}}, "its keyword and a pattern"),
        ({"tags": {"StudyID": []}}, "1 to 50 patterns"),
        ({"tags": {"StudyID": ["x"] * 51}}, "1 to 50 patterns"),
        ({"tags": {"Study ID": "x"}}, "is no keyword"),
        ({"tags": {"StudyID": "x" * 401}}, "too long"),
        ({"tags": {f"A{n}": "x" for n in range(51)}}, "at most 50 attributes"),
        ({"least_age_seconds": -1}, "0 to 86400 seconds"),
        ({"least_age_seconds": True}, "0 to 86400 seconds"),
        ({"least_age_seconds": "60"}, "0 to 86400 seconds"),
    ],
)
def test_what_can_not_be_a_rule_is_refused_in_words(document: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSelection) as refused:
        parse_selection(document)
    assert words in str(refused.value)


@pytest.mark.parametrize("keyword", ["StudyDescription", "(0008,1030)", "00081030", "0019,1001"])
def test_an_attribute_is_named_by_its_keyword_or_tag(keyword: str) -> None:
    assert parse_selection({"tags": {keyword: "x"}}).tags == {keyword: ("x",)}


def test_one_of_several_patterns_of_an_attribute_has_to_fit() -> None:
    rules = parse_selection({"tags": {"StudyDescription": ["*KNEE*", "*CHEST*"], "StudyID": "7"}})
    for description, taken in (("left knee", True), ("Chest", True), ("head", False)):
        tags = {"StudyDescription": description, "StudyID": "7"}
        assert (excluded_by(candidate(tags=tags), rules) == "") is taken, description
    tags = {"StudyDescription": "knee", "StudyID": "8"}
    assert excluded_by(candidate(tags=tags), rules) == "StudyID"
    assert ("StudyDescription", "*KNEE*, *CHEST*") in describe(rules)


def test_one_pattern_of_an_attribute_is_stored_as_it_was_before_there_were_several() -> None:
    document = {"tags": {"StudyDescription": ["*KNEE*", "*CHEST*"], "StudyID": "7"}}
    assert to_document(parse_selection(document)) == document
    lines = [
        ("StudyDescription", "*KNEE*"), ("StudyDescription", "*CHEST*"), ("StudyID", "7"),
    ]  # fmt: skip
    assert lines_of_tags(document["tags"]) == lines
    assert tags_of_lines(lines) == {"StudyDescription": ["*KNEE*", "*CHEST*"], "StudyID": ["7"]}


def test_only_rules_on_data_need_a_look_at_data() -> None:
    assert not Selection(patterns=("*",), least_age_seconds=60).looks_into_data
    assert Selection(tags={"A": ("x",)}).looks_into_data
    assert Selection(date_to="20240101").looks_into_data
    assert Selection(uids=uids("1.2")).looks_into_data


def test_rules_are_described_for_people() -> None:
    rules = Selection(
        patterns=("*.dcm", "!x"),
        sop_classes=uids(MR, CT),
        transfer_syntaxes=uids(RLE),
        studies=frozenset(f"1.{n}" for n in range(9)),
        date_from="20240115",
        tags={"StudyID": ("A*",)},
        least_age_seconds=60,
    )
    assert describe(rules) == [
        ("File name", "*.dcm, !x"),
        ("SOP class", "CT Image Storage, MR Image Storage"),
        ("Transfer syntax", "RLE Lossless"),
        ("Study Instance UID", "1.0, 1.1, 1.2, 1.3, 1.4, 1.5 and 3 more"),
        ("Study date", "2024-01-15 to any"),
        ("StudyID", "A*"),
        ("Age of the file", "at least 60 s"),
    ]
