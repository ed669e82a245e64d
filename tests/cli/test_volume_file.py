"""Volume files: Nomad's HCL and JSON in, the API's body out, and a clear word on every mistake."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.recorded import meaning, steps
from volstore.cli.sample_volume import SAMPLE_HCL, SAMPLE_JSON
from volstore.volume_file import VolumeFileError, parse, register_body

START = 'type = "csi"\nid = "v"\n'


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
    assert meaning(register_body(parse(content, name))) == meaning(body)


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
        parameters = { iops = 3000, "type" : "gp3" }
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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'"a\"b\\c\n\t"', 'a"b\\c\n\t'),
        (r'"\u00e9\U0001F600\x41"', "é😀A"),
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
        ("", 'v.hcl: unknown volume type: there is no type; write type = "csi"'),
        ('type = "host"\nid = "x"', 'v.hcl:1: unknown volume type "host": it must be "csi"'),
        ("type = 5", "v.hcl:1: unknown volume type 5"),
        ('type = "csi"', "v.hcl: missing volume id"),
        ('type = "csi"\nid = ""', "v.hcl: missing volume id"),
        (START + "nonsense = 1", "v.hcl:3: unexpected key nonsense; a volume has access_mode, "),
        (START + 'pluginid = "x"', "v.hcl:3: unexpected key pluginid; did you mean plugin_id?"),
        (START + 'ExternalID = "x"', "v.hcl:3: unexpected key ExternalID; did you mean external_id?"),
        (START + 'mount_options {\n fstype = "x"\n}', "v.hcl:4: unexpected key fstype; did you mean fs_type?"),
        (START + 'name = "a"\nname = "b"', "v.hcl:4: name is there twice (first on line 3)"),
        (START + "secrets {}\nsecrets {}", "v.hcl:4: secrets is there twice"),
        (START + 'context {\n a = "1"\n a = "2"\n}', "v.hcl:5: context.a is there twice"),
        (START + "name = true", 'v.hcl:3: name must be a string: write "true", in quotes'),
        (START + 'name = ["a"]', "v.hcl:3: name must be a string, not a list"),
        (START + "name { }", "v.hcl:3: name must be a string, not a block"),
        (START + "name = null", "v.hcl:3: name must be a string, not null"),
        (START + "name = var.x", "v.hcl:3: a value here is not a plain string"),
        (START + "name = 1 + 2", "v.hcl:3: a value here is not a plain string"),
        (START + "name = foo", "v.hcl:3: a value here is not a plain string"),
        (START + 'mount_options = "x"', "v.hcl:3: mount_options must be a block (mount_options { … })"),
        (START + 'mount_options "x" { }', "v.hcl:3: mount_options takes no label"),
        (START + 'mount_options { mount_flags = "ro" }', "v.hcl:3: mount_flags must be a list of strings"),
        (START + "mount_options { mount_flags = [true] }", "v.hcl:3: mount_flags[0] must be a string"),
        (START + 'capacity_min = "much"', "v.hcl:3: capacity_min: 'much' is not a size"),
        (START + "capacity_min = true", 'v.hcl:3: capacity_min must be a size like "10GiB", not true'),
        (START + "topology_request { needed { } }", "v.hcl:3: unexpected key needed; topology_request has preferred"),
        (START + 'name = "a', "v.hcl:3: a quoted string is not closed on its line"),
        (START + 'name = "a\n"', "v.hcl:3: a quoted string is not closed on its line"),
        (START + r'name = "\q"', 'v.hcl:3: unknown escape "\\q"'),
        (START + r'name = "\u12"', "v.hcl:3: \\u needs 4 hexadecimal digits"),
        (START + r'name = "\ud800"', "v.hcl:3: \\ud800 is not a character"),
        (START + "name = ", "v.hcl:3: the file ends too early"),
        (START + 'name = \nplugin_id = "p"\n', "v.hcl:3: the line ends too early"),
        (START + "secrets {\n", "v.hcl:4: the file ends too early"),
        (START + "}", "v.hcl:3: unexpected '}'"),
        ('{"type": "csi", ', "v.hcl:1: not valid JSON: "),
        ('{"type": "csi", "id": NaN}', "v.hcl: NaN is not a JSON value"),
        ('{"type": "csi", "id": "a", "id": "b"}', "v.hcl: id is there twice"),
        ('{"type": "csi", "id": "a", "secrets": []}', "v.hcl: secrets must be one block, not 0"),
        ('{"type": "csi", "id": "a", "secrets": [1]}', "v.hcl: secrets must be a block"),
        ('{"Volumes": []}', "v.hcl: unknown volume type: there is no type"),
        ("{" * 100_000, "v.hcl:1: not valid JSON"),
        ('{"a": ' + "[" * 100_000, "v.hcl: not valid JSON: it is nested too deeply"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(text: str, expected: str) -> None:
    with pytest.raises(VolumeFileError, match=re.escape(expected)):
        parse(text, "v.hcl")


@pytest.mark.parametrize(
    "text", ["secrets { k = hunter2 }", 'secrets { k = "a" hunter2 }', 'secrets { k = ["hunter2"] }']
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
