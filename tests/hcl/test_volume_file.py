"""Volume files: Nomad's HCL and JSON in, the API's body out, and a clear word on every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.recorded import meaning, steps
from volstore.cli.sample_volume import SAMPLE_HCL, SAMPLE_JSON
from volstore.hcl import volume_file
from volstore.hcl.volume_file import VolumeFileError, register_body

START = 'type = "csi"\nid = "v"\n'
CASES = Path(__file__).parents[1] / "cases"
"""`volume-files.jsonl` has the answers of Nomad's decoder. Those of the generated file are of a decoder that puts
hashicorp/hcl 1.0.0 (with its pull request 277, which Nomad's version has), mapstructure and go-humanize together as
Nomad's command/volume_register_csi.go does; it gives the first file's answers too."""


def parse(text: str, name: str) -> dict[str, Any]:
    """The only volume of a file, of which there is nothing to warn."""
    file = volume_file.parse(text, name)
    assert file.warnings == []
    (volume,) = file.volumes
    return volume


def cases() -> list[Any]:
    lines = [line for file in sorted(CASES.glob("volume-files*.jsonl")) for line in file.read_text("utf-8").split("\n")]
    read = (json.loads(line) for line in lines if line)
    return [pytest.param(case, id=case["name"]) for case in read]


def said(value: Any) -> Any:
    """What a decoded volume says; nothing at all says the same as a zero value."""
    if isinstance(value, dict):
        return {key: kept for key, inner in value.items() if (kept := said(inner)) not in (None, "", 0, [], {})}
    return [said(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", cases())
def test_a_file_means_what_it_means_to_nomads_decoder(case: dict[str, Any]) -> None:
    """`nomad` is what Nomad's own decoder answers; `volstore` differs from it for the `reason` given."""
    assert ("volstore" in case) == ("reason" in case)
    expected = case.get("volstore", case["nomad"])
    if expected == "refuses":
        with pytest.raises(VolumeFileError, match=r"^v:\d+:\d+: "):
            parse(case["text"], "v")
    else:
        assert said(parse(case["text"], "v")) == said(expected)


def recorded_files(file: str) -> list[Any]:
    """Each recorded file that `nomad volume register` sent, with the body that it became."""
    contents = {step["name"]: step["content"] for step in steps(file) if step["step"] == "file"}
    registered = [
        (step["args"][2], step["http"][0]["request"]["body"])
        for step in steps(file)
        if step["step"] == "cli" and step["args"][:2] == ["volume", "register"] and step["http"]
    ]
    unlike = ("bad.hcl", "unknown.hcl", "fresh.hcl", "-")
    return [pytest.param(name, contents[name], body, id=name) for name, body in registered if name not in unlike]


@pytest.mark.parametrize(
    ("name", "content", "body"), recorded_files("cli-0.11.3.jsonl") + recorded_files("cli-1.1.0.jsonl")
)
def test_a_recorded_file_becomes_the_recorded_body(name: str, content: str, body: dict[str, Any]) -> None:
    assert meaning(register_body([parse(content, name)])) == meaning(body)


def test_everything_that_nomad_knows_is_understood() -> None:
    volume = parse(
        START
        + """
        name = "n"            # a comment
        namespace = "prod"    // another
        external_id = "e" /* and
                             another */
        plugin_id = "p"
        capacity_min = "10GiB"
        capacity_max = 20000000000
        clone_id = "c"
        snapshot_id = "s"
        capability {
          access_mode = "single-node-writer"
          attachment_mode = "file-system"
        }
        capability { access_mode = "multi-node-reader-only" }
        mount_options { fs_type = "ext4" mount_flags = ["ro", "noatime",] }
        secrets { "a key" = "x" }
        parameters = { iops = 3000, "type" = "gp3" }
        context { endpoint = "http://192.0.2.1:9425" }
        topology_request {
          required {
            topology { segments { "topology.example/zone" = "a" } }
            topology { segments { rack = "1" } }
          }
          preferred { topology { segments { rack = "1" } } }
        }
        """,
        "v.hcl",
    )
    assert volume == {
        "ID": "v",
        "Name": "n",
        "Namespace": "prod",
        "ExternalID": "e",
        "PluginID": "p",
        "RequestedCapacityMin": 10 << 30,
        "RequestedCapacityMax": 20_000_000_000,
        "CloneID": "c",
        "SnapshotID": "s",
        "RequestedCapabilities": [
            {"AccessMode": "single-node-writer", "AttachmentMode": "file-system"},
            {"AccessMode": "multi-node-reader-only"},
        ],
        "MountOptions": {"FSType": "ext4", "MountFlags": ["ro", "noatime"]},
        "Secrets": {"a key": "x"},
        "Parameters": {"iops": "3000", "type": "gp3"},
        "Context": {"endpoint": "http://192.0.2.1:9425"},
        "RequestedTopologies": {
            "Required": [{"Segments": {"topology.example/zone": "a"}}, {"Segments": {"rack": "1"}}],
            "Preferred": [{"Segments": {"rack": "1"}}],
        },
    }


def test_json_says_the_same_as_hcl() -> None:
    hcl = START + 'mount_options { fs_type = "ext4" }\ncapability { access_mode = "a" }\ncontext { a = 1.50 }\n'
    as_json = {
        "type": "csi",
        "id": "v",
        "mount_options": [{"fs_type": "ext4"}],
        "capability": {"access_mode": "a"},
    }
    assert parse(json.dumps(as_json)[:-1] + ', "context": {"a": 1.50}}', "v.json") == parse(hcl, "v.hcl")


def test_the_examples_of_volume_init_say_the_same() -> None:
    assert parse(SAMPLE_HCL, "volume.hcl") == parse(SAMPLE_JSON, "volume.json")


NOMADS_OWN = """
id        = "ebs_prod_db1"
namespace = "default"
name      = "database"
type      = "csi"
plugin_id = "plugin_id"

# For 'nomad volume register', the external ID
external_id = "vol-23452345"
snapshot_id = "snap-12345"
# clone_id    = "vol-abcdef"
capacity_min = "10GiB"
capacity_max = "20G"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}
capability {
  access_mode     = "single-node-reader"
  attachment_mode = "block-device"
}
mount_options {
  fs_type     = "ext4"
  mount_flags = ["ro"]
}
topology_request {
  preferred {
    topology { segments { rack = "R1" } }
  }
  required {
    topology { segments { rack = "R1" } }
    topology { segments { rack = "R2", zone = "us-east-1a" } }
  }
}
"""


def test_the_form_of_nomads_own_example_is_read_with_the_modes_that_it_has() -> None:
    volume = parse(NOMADS_OWN, "volume.hcl")
    assert [one["AccessMode"] for one in volume["RequestedCapabilities"]] == [
        "single-node-writer",
        "single-node-reader",
    ]
    assert volume["RequestedTopologies"] == {
        "Required": [{"Segments": {"rack": "R1"}}, {"Segments": {"rack": "R2", "zone": "us-east-1a"}}],
        "Preferred": [{"Segments": {"rack": "R1"}}],
    }


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ('secrets { a = true, b = 0770 }\nSecrets { "c" = 2.50 }', "Secrets", {"a": "1", "b": "504", "c": "2.5"}),
        ('parameters = [{ a = "1" }, { b = "2" }]', "Parameters", {"a": "1", "b": "2"}),
        ("context = []", "Context", {}),
        (
            "mount_options { fs_type = true mount_flags = [0770, false, 2.50] }",
            "MountOptions",
            {"FSType": "true", "MountFlags": ["0770", "false", "2.50"]},
        ),
        ('Mount_Options { fs_type = "x" }', "MountOptions", {"FSType": "x"}),
        ("capability { access_mode = true }", "RequestedCapabilities", [{"AccessMode": "1"}]),
        (
            "topology_request { required { topology { segments { a = 010 b = true } segments {} } } required {} }",
            "RequestedTopologies",
            {"Required": [{"Segments": {"a": "010", "b": "true"}}]},
        ),
        (
            'topologies { segments { a = "1" } }\ntopologies { segments { a = "2" } }',
            "Topologies",
            [{"Segments": {"a": "1"}}, {"Segments": {"a": "2"}}],
        ),
        ('access_mode = "multi-node-reader-only"', "AccessMode", "multi-node-reader-only"),
        ('CAPACITY_MIN = ""', "RequestedCapacityMin", 0),
        ("capacity_min = 0770", "RequestedCapacityMin", 770),
        ('capacity_min = "1,024.5\tKiB "', "RequestedCapacityMin", 1049088),
        ("capacity_min = 9007199254740993", "RequestedCapacityMin", 9007199254740993),
    ],
)
def test_a_field_is_read_as_nomads_decoder_reads_it(text: str, field: str, expected: Any) -> None:
    """`segments` and `mount_options` keep what is written; all else goes through mapstructure."""
    assert parse(START + text, "v.hcl")[field] == expected


@pytest.mark.parametrize(
    ("members", "field", "expected"),
    [
        ({"topology_request": {"required": {"topology": {"segments": {"a": 1}}}}}, "RequestedTopologies",
         {"Required": [{"Segments": {"a": "1"}}]}),
        ({"topology_request": {"required": [{"topology": {"segments": {"a": "1"}}},
                                            {"topology": [{"segments": [{"a": "2"}, {"a": "3"}]}]}]}},
         "RequestedTopologies", {"Required": [{"Segments": {"a": one}} for one in "123"]}),
        ({"secrets": {"a": None, "b": False, "c": 1e3}}, "Secrets", {"a": "", "b": "0", "c": "1000"}),
        ({"NAME": "n", "clone_id": None}, "Name", "n"),
    ],
)  # fmt: skip
def test_json_is_read_by_the_same_rules(members: dict[str, Any], field: str, expected: Any) -> None:
    volume = parse(json.dumps({"type": "csi", "id": "v", **members}), "v.json")
    assert volume[field] == expected
    assert "CloneID" not in volume


@pytest.mark.parametrize(
    "text",
    ["capacity_min = 0x10", "capacity_min = 1e9", "capacity_min = -5", 'capacity_min = "1.2.3"', 'capacity_min = ","',
     'capacity_min = "10 GiB each"', "capacity_max {}", "secrets = 5", 'id = ["w"]', "context { a { b = 1 } }",
     'context { a "b" { } }', 'topology_request "x" { }', "topology_request { required { topology { rack = 1 } } }",
     "capability { access_mode = [1] }"],
)  # fmt: skip
def test_what_nomad_refuses_or_drops_is_refused(text: str) -> None:
    with pytest.raises(VolumeFileError, match=r"^v\.hcl:\d+:\d+: "):
        parse((START.replace('id = "v"\n', "") if text.startswith("id") else START) + text, "v.hcl")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'"a\"b\\c\n\t"', 'a"b\\c\n\t'),
        (r'"\u00e9\U0001F600\x41\xc3\xa9\303\251\101"', "é😀AééA"),
        (r'"${"\n"}\n"', '${"\\n"}\n'),
        ("5", "5"),
        ("-0x1F", "-31"),
        ("0770", "504"),
        ("2.50", "2.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e21", "1000000000000000000000"),
        ("1.5E-7", "0.00000015"),
        ("true", "1"),
        ("false", "0"),
        ("<<EOT\n one\n  two\n  EOT", " one\n  two\n  "),
        ("<<-EOT\n  one\n\n  two\n  EOT", "  one\n\n  two\n"),
        ("<<-EOT\n\tone\n\t\ttwo\n\tEOT", "one\n\ttwo\n"),
        ("<<EOT\r\none\r\nEOT\r\n", "one\n"),
        ("<<EOT\n EOT x\nxEOT\nEOT", " EOT x\nxEOT\n"),
        ("<<EOT\nEOT", ""),
        ('"${node.id} and $${x} and %{if}"', "${node.id} and $${x} and %{if}"),
        ('"${lookup("a", "b")}"', '${lookup("a", "b")}'),
        ('"# no comment // here /* nor here */"', "# no comment // here /* nor here */"),
        ('""', ""),
        ("<<EOT\n one\n  two\nEOT", " one\n  two\n"),
        ("<<-EOT\n    one\n      two\n    EOT", "one\n  two\n"),
        ('<<EOT\nsays "hi\nEOT', 'says "hi\n'),
    ],
)
def test_strings_mean_what_they_mean_to_nomad(written: str, meant: str) -> None:
    assert parse(f"{START}name = {written}\n", "v.hcl")["Name"] == meant


TEXT = st.text(st.characters(codec="utf-8"))


def hcl_quoted(text: str) -> str:
    """Every character but letters as an escape by its number."""
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + '"'


@given(TEXT, TEXT.filter(bool), TEXT)
def test_any_text_comes_through_quotes_as_it_is(name: str, key: str, value: str) -> None:
    volume = parse(f"{START}name = {hcl_quoted(name)}\ncontext {{\n {hcl_quoted(key)} = {hcl_quoted(value)}\n}}\n", "v")
    assert volume["Name"] == name
    assert volume["Context"] == {key: value}


@given(st.text(st.characters(codec="ascii", exclude_characters='"\\\n${', min_codepoint=32)))
def test_any_plain_text_needs_no_escape(value: str) -> None:
    assert parse(f'{START}secrets = {{ "{value}x" = "{value}" }}\n', "v")["Secrets"] == {value + "x": value}


@given(TEXT)
def test_json_strings_come_through_as_they_are(value: str) -> None:
    assert parse(json.dumps({"type": "csi", "id": "v", "name": value}), "v")["Name"] == value


@given(st.text(st.sampled_from('abi=d"{}[]<>-\n \t#/*\\$,:.1%éE'), max_size=60))
def test_no_text_at_all_ends_in_anything_but_a_volume_or_one_clear_line(text: str) -> None:
    for start in ("", START, "{"):
        told = outcome(start + text)
        assert told is None or (told.startswith("v.hcl") and "\n" not in told)


def outcome(text: str) -> str | None:
    """What is said of a text that is no volume, None of one that is."""
    try:
        parse(text, "v.hcl")
    except VolumeFileError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (START + "name = 1, 2", "v.hcl:3:11: unexpected a number where a name should be"),
        (START + "a b = 1", "v.hcl:3:5: unexpected '=' after a label"),
        (START + "name: 1", "v.hcl:3:5: unexpected ':'; write = between a name and its value"),
        (START + "name = 'v'", 'v.hcl:3:8: unexpected "\'"; strings need double quotes'),
        (START + "capacity_min = 10GiB", "v.hcl:3:16: a value that begins with digits and isn't a number needs quotes"),
        (START + "name = 0779", "v.hcl:3:8: 0779 begins with 0 and is no octal number"),
        (START + "name = 99999999999999999999", "v.hcl:3:1: name: the number is too large"),
        (START + "name = 1e999", "v.hcl:3:1: name: the number is too large"),
        (START + 'mount_options { mount_flags = ["a" "b"] }', "v.hcl:3:36: unexpected a string in a list: a ','"),
        (START + "name = <<EOF\nx\n", "v.hcl:3:8: the heredoc has no end: its last line must be EOF alone"),
        (START + "name = << EOF\nx\nEOF\n", "v.hcl:3:8: a heredoc begins with <<WORD"),
        (START + "/* x", 'v.hcl:3:1: a comment that /* begins has no end; write "*/"'),
        (START + 'name = "${a', "v.hcl:3:8: a quoted string is not closed on its line; a ${ in it goes on"),
        (START + r'name = "\xff"', "v.hcl:3:8: the bytes \\xff are not UTF-8"),
        (START + "na\u00a0me = 1", "v.hcl:3:3: unexpected character U+00A0"),
        (START + "capability { Access_Mode = 1 }", "v.hcl:3:14: unexpected key Access_Mode; did you mean access_mode?"),
        (START + "a { " * 40, "nested too deeply: at most 32 levels are taken"),
        ("", 'v.hcl: unknown volume type: there is no type; write type = "csi"'),
        ('type = "host"\nid = "x"', 'v.hcl:1:1: unknown volume type "host": it must be "csi"'),
        ("type = 5", "v.hcl:1:1: unknown volume type 5"),
        ('type = "csi"', "v.hcl: missing volume id"),
        ('type = "csi"\nid = ""', "v.hcl: missing volume id"),
        (START + "nonsense = 1", "v.hcl:3:1: unexpected key nonsense; a volume has access_mode, "),
        (START + 'pluginid = "x"', "v.hcl:3:1: unexpected key pluginid; did you mean plugin_id?"),
        (START + 'ExternalID = "x"', "v.hcl:3:1: unexpected key ExternalID; did you mean external_id?"),
        (START + 'mount_options {\n fstype = "x"\n}', "v.hcl:4:2: unexpected key fstype; did you mean fs_type?"),
        (START + 'name = "a"\nname = "b"', "v.hcl:4:1: name is there twice (first on line 3)"),
        (START + 'secrets { a = "1" }\nsecrets { a = "2" }', "v.hcl:4:11: secrets.a is there twice"),
        (START + "mount_options { fs_type = 1 }\nmount_options { fs_type = 2 }", "v.hcl:4:17: fs_type is there twice"),
        (START + 'context {\n a = "1"\n a = "2"\n}', "v.hcl:5:2: context.a is there twice"),
        (START + 'name = ["a"]', "v.hcl:3:1: name must be a string, not a list"),
        (START + "name { }", "v.hcl:3:1: name must be a string, not a block"),
        (START + "name = null", "v.hcl:3:8: null is not a value; leave the name out"),
        (START + "name = var.x", "v.hcl:3:8: a value here is not a plain string"),
        (START + "name = 1 + 2", "v.hcl:3:10: unexpected '+'"),
        (START + "name = foo", "v.hcl:3:8: a value here is not a plain string"),
        (START + 'mount_options = "x"', "v.hcl:3:1: mount_options must be a block (mount_options { … }), not a string"),
        (START + 'mount_options "x" { }', "v.hcl:3:1: mount_options takes no label"),
        (START + 'mount_options { mount_flags = "ro" }', "v.hcl:3:17: mount_flags must be a list of strings"),
        (START + "mount_options { mount_flags = [[1]] }", "v.hcl:3:17: mount_flags[0] must be a string, not a list"),
        (START + 'capacity_min = "much"', "v.hcl:3:1: capacity_min: 'much' is not a size"),
        (START + "capacity_min = true", 'v.hcl:3:1: capacity_min must be a size like "10GiB", not true'),
        (
            START + "topology_request { needed { } }",
            "v.hcl:3:20: unexpected key needed; topology_request has preferred",
        ),
        (START + 'name = "a', "v.hcl:3:8: a quoted string is not closed on its line"),
        (START + 'name = "a\n"', "v.hcl:3:8: a quoted string is not closed on its line"),
        (START + r'name = "\q"', 'v.hcl:3:8: unknown escape "\\q"'),
        (START + r'name = "\u12"', "v.hcl:3:8: \\u needs 4 hexadecimal digits"),
        (START + r'name = "\ud800"', "v.hcl:3:8: \\ud800 is not a character"),
        (START + "name = ", "v.hcl:3:8: the file ends too early: a value is missing"),
        (START + 'name = \nplugin_id = "p"\n', "v.hcl:4:1: a value is missing on line 3"),
        (START + "secrets {\n", "v.hcl:4:1: the file ends too early: a closing } is missing"),
        (START + "}", "v.hcl:3:1: unexpected '}' where a name should be"),
        ('{"type": "csi", ', "v.hcl:1:17: not valid JSON: a name in double quotes is missing, the file ends too early"),
        ('{"type": "csi", "id": NaN}', "v.hcl:1:23: not valid JSON: NaN is not a JSON value"),
        ('{"type": "csi", "id": "a", "id": "b"}', "v.hcl:1:28: id is there twice"),
        ('{"type": "csi", "id": "a", "secrets": [1]}', "v.hcl:1:28: secrets must be a block"),
        ('{"Volumes": []}', "v.hcl:1:2: a list of volumes with at least one is needed, not an empty one"),
        ("{" * 100_000, "v.hcl:1:2: not valid JSON"),
        ('{"a": ' + "[" * 100_000, "v.hcl:1:39: not valid JSON: it is nested too deeply"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(text: str, expected: str) -> None:
    with pytest.raises(VolumeFileError, match=re.escape(expected)):
        parse(text, "v.hcl")


@pytest.mark.parametrize(
    "text",
    ['secrets = "hunter2"', "secrets { k = hunter2 }", 'secrets { k = "a" hunter2 }', 'secrets { k = ["hunter2"] }'],
)
def test_a_mistake_beside_a_secret_does_not_show_it(text: str) -> None:
    with pytest.raises(VolumeFileError) as caught:
        parse(START + text, "v.hcl")
    assert "hunter2" not in str(caught.value)


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert parse("\ufeff" + START, "v.hcl") == {"ID": "v"}
    assert parse('\ufeff{"type": "csi", "id": "v"}', "v.json") == {"ID": "v"}


def test_lines_may_end_as_on_windows() -> None:
    assert parse(START.replace("\n", "\r\n"), "v.hcl") == {"ID": "v"}
