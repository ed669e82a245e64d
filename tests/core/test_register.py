"""Registering: every rule, its order, its status and its words."""

from __future__ import annotations

import pytest

from tests.core.machine import Machine, claim, fingerprint, machine_with_plugin, volume
from volstore.core.commands import DeregisterVolume, RegisterVolumes
from volstore.core.model import Capability, MountOptions, Topology, Volume
from volstore.core.rules import check_register, form_refusal

ACCESS = (
    "one of: single-node-reader-only, single-node-writer, multi-node-reader-only, multi-node-single-writer, "
    "multi-node-multi-writer"
)
CHARACTERS = "an id has no / ? # %, white space or control characters"
WRITER = Capability("single-node-writer", "block-device")
READER = Capability("multi-node-reader-only", "file-system")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Volume(id=""), "missing volume id, missing plugin id, missing access mode, missing attachment mode"),
        (volume(id=""), "missing volume id"),
        (volume(plugin_id=""), "missing plugin id"),
        (volume(access_mode=""), "missing access mode"),
        (volume(attachment_mode=""), "missing attachment mode"),
        (Volume(id="v", requested_capabilities=(WRITER,)), "missing plugin id"),
        (volume(access_mode="nonsense"), f'unknown access mode "nonsense", {ACCESS}'),
        (volume(attachment_mode="usb"), 'unknown attachment mode "usb", one of: file-system, block-device'),
        (volume("a b"), f'volume id "a b" has the character " ": {CHARACTERS}'),
        (volume("a/b"), f'volume id "a/b" has the character "/": {CHARACTERS}'),
        (volume("a\u0085"), f'volume id "a\u0085" has the character "\u0085": {CHARACTERS}'),
        (volume("a\x00"), f'volume id "a\\u0000" has the character "\\u0000": {CHARACTERS}'),
        (volume("a\ud800"), f'volume id "a\\ud800" has the character "\\ud800": {CHARACTERS}'),
        (volume("é" * 129), f'volume id "{"é" * 129}" is 258 bytes long: an id has at most 256'),
        (volume("x" * 9999), f'volume id "{"x" * 256}…" is 9999 bytes long: an id has at most 256'),
        (
            volume(requested_capabilities=(WRITER, Capability("", ""))),
            "RequestedCapabilities[1]: missing access mode, missing attachment mode",
        ),
        (
            volume(requested_capabilities=(Capability("x", "file-system"),)),
            f'RequestedCapabilities[0]: unknown access mode "x", {ACCESS}',
        ),
        (
            volume(requested_capacity_min=-1),
            "RequestedCapacityMin is -1: it is a number of bytes, at least 0",
        ),
        (
            volume(requested_capacity_max=-1),
            "RequestedCapacityMax is -1: it is a number of bytes, at least 0",
        ),
        (volume(capacity=-5), "Capacity is -5: it is a number of bytes, at least 0"),
        (
            volume(requested_capacity_min=2, requested_capacity_max=1),
            "RequestedCapacityMin 2 is greater than RequestedCapacityMax 1",
        ),
    ],
)
def test_a_malformed_volume_is_refused_with_what_is_wrong_with_it(given: Volume, text: str) -> None:
    assert form_refusal(given) == f"validation: {text}"


@pytest.mark.parametrize(
    "given",
    [
        volume("größe"),
        volume("x" * 256),
        volume("[1:2]@&=+$,;'\"<>\\^`{}|~"),
        Volume(id="v", plugin_id="p", requested_capabilities=(WRITER,)),
        volume(requested_capacity_min=5),
        volume(requested_capacity_min=5, requested_capacity_max=5, capacity=5),
        volume(name="", external_id=""),
    ],
)
def test_a_well_formed_volume_passes(given: Volume) -> None:
    assert form_refusal(given) is None


def test_a_malformed_volume_in_a_command_is_a_400_and_changes_nothing() -> None:
    machine = machine_with_plugin()
    outcome = machine.register(volume("good"), volume("bad", access_mode=""))
    assert (outcome.status, outcome.text) == (400, "validation: missing access mode")
    assert machine.state.volume("default", "good") is None


def test_an_unknown_plugin_is_a_400_that_a_repeat_may_mend() -> None:
    machine = Machine()
    outcome = machine.register(volume(plugin_id="none"))
    assert (outcome.status, outcome.text) == (400, "no CSI plugin named: none could be found")


def test_a_plugin_without_instances_is_unknown_although_its_row_is_kept() -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    machine.report("n1", node_plugins={})
    assert machine.state.plugin_row("p") is not None
    assert machine.register(volume("w")).text == "no CSI plugin named: p could be found"


def test_the_first_volume_that_fails_decides_form_before_plugin() -> None:
    machine = machine_with_plugin()
    assert machine.register(volume("a", plugin_id="none"), volume("")).text.startswith("no CSI plugin named: none")
    assert machine.register(volume("", plugin_id="none")).text == "validation: missing volume id"


def test_forms_and_plugins_of_all_come_before_what_exists() -> None:
    machine = machine_with_plugin()
    machine.register(volume("a"))
    outcome = machine.register(volume("a", external_id="other"), volume("b", plugin_id="none"))
    assert outcome.text == "no CSI plugin named: none could be found"


def test_no_volumes_at_all_is_a_missing_definition() -> None:
    outcome = Machine().register()
    assert (outcome.status, outcome.text) == (400, "missing volume definition")


def test_the_same_id_twice_is_a_400() -> None:
    outcome = machine_with_plugin().register(volume("a"), volume("b"), volume("a"))
    assert (outcome.status, outcome.text) == (400, 'validation: volume id "a" is given twice')


def test_a_namespace_that_does_not_exist_is_a_400_after_forms_and_plugins() -> None:
    machine = machine_with_plugin()
    outcome = machine.register(volume("v"), namespace="nope")
    assert outcome.status == 400
    assert outcome.text.startswith("volume v is in nonexistent namespace nope: validation: ")
    assert machine.register(volume("v", plugin_id="none"), namespace="nope").text.startswith("no CSI plugin named")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"external_id": "b"}, 'its external ID cannot be updated from "ext-v" to "b"'),
        ({"plugin_id": "q"}, 'its plugin cannot be updated from "p" to "q"'),
    ],
)
def test_what_names_the_storage_of_a_volume_cannot_be_updated(change: dict[str, str], words: str) -> None:
    machine = machine_with_plugin()
    machine.report("n2", node_plugins={"q": fingerprint()})
    machine.register(volume())
    before = machine.volume("v")
    outcome = machine.register(volume(**change))
    assert outcome.status == 409
    assert outcome.text.startswith(f"volume exists: v: {words}; ")
    assert machine.volume("v") is before


def test_a_volume_whose_plugin_changed_its_provider_cannot_be_updated() -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    machine.report("n1", node_plugins={"p": fingerprint(provider="other")})
    outcome = machine.register(volume())
    assert (outcome.status, outcome.text) == (
        409,
        'volume exists: v: its provider cannot be updated from "ebs" to "other"; deregister the volume first',
    )


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_volume_in_use_cannot_be_updated_and_the_refusal_names_who_holds_it(mode: int) -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    machine.claim("v", claim("alloc1", "n1", mode))
    outcome = machine.register(volume())
    assert (outcome.status, outcome.text) == (
        409,
        "volume exists: v: cannot be updated while in use by allocation alloc1 (job web, node n1, "
        "since 1970-01-01T00:00:00Z; free it with: volstore volume detach v n1)",
    )


def test_a_refusal_names_at_most_three_holders() -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    machine.claim("v", *(claim(f"a{number}") for number in range(5)))
    text = machine.register(volume()).text
    assert [f"allocation a{number} " in text for number in range(5)] == [True, True, True, False, False]
    assert text.endswith("volstore volume detach v n1) and 2 more")


def test_every_refusal_of_a_register_but_a_missing_plugin_tells_terraform_to_give_up() -> None:
    machine = machine_with_plugin()
    machine.register(volume("used"), volume("there"))
    machine.claim("used", claim("alloc1"))
    commands = [
        RegisterVolumes("default", ()),
        RegisterVolumes("default", (volume(access_mode="x"),)),
        RegisterVolumes("default", (volume("a"), volume("a"))),
        RegisterVolumes("nope", (volume(),)),
        RegisterVolumes("default", (volume("used"),)),
        RegisterVolumes("default", (volume("there", external_id="x"),)),
    ]
    for command in commands:
        refusal = check_register(machine.state, command)
        assert refusal is not None
        words = ("validation:", "already exist", "cannot be updated", "missing volume definition")
        assert any(word in refusal.text for word in words), refusal


def test_a_registered_volume_holds_what_was_said_and_nothing_computed_that_was_said() -> None:
    machine = machine_with_plugin()
    said = volume(
        topologies=(Topology({"zone": "a"}, flat=True),),
        secrets={"password": "xyzzy"},
        mount_options=MountOptions("ext4", ("ro",)),
        context={"b": "1", "a": "2"},
        namespace="liar",
        provider="liar",
        provider_version="liar",
        create_index=99,
        modify_index=99,
        touch_index=99,
        read_claims={"a": claim("a")},
        past_claims={"b": claim("b")},
    )
    outcome = machine.register(said)
    stored = machine.volume("v")
    assert (stored.namespace, stored.provider, stored.provider_version) == ("default", "ebs", "1.0")
    assert stored.create_index == stored.modify_index == stored.touch_index == outcome.index
    assert not stored.in_use
    assert (stored.topologies, stored.secrets, stored.context) == (said.topologies, said.secrets, said.context)
    assert stored.mount_options == said.mount_options


def test_registering_again_replaces_keeps_createindex_and_moves_modifyindex() -> None:
    machine = machine_with_plugin()
    first = machine.register(volume())
    second = machine.register(volume(name="changed"))
    stored = machine.volume("v")
    assert (stored.name, stored.create_index, stored.modify_index) == ("changed", first.index, second.index)


def test_a_volume_that_was_removed_and_comes_again_has_a_new_createindex() -> None:
    machine = machine_with_plugin()
    machine.register(volume())
    machine.done(DeregisterVolume("default", "v"))
    outcome = machine.register(volume())
    assert machine.volume("v").create_index == outcome.index


@pytest.mark.parametrize(
    ("given", "modes", "capabilities"),
    [
        (
            volume(),
            ("multi-node-single-writer", "file-system"),
            (Capability("multi-node-single-writer", "file-system"),),
        ),
        (
            Volume(id="v", plugin_id="p", requested_capabilities=(WRITER, READER)),
            ("single-node-writer", "block-device"),
            (WRITER, READER),
        ),
        (volume(requested_capabilities=(WRITER,)), ("multi-node-single-writer", "file-system"), (WRITER,)),
        (
            volume(access_mode="", requested_capabilities=(WRITER,)),
            ("single-node-writer", "file-system"),
            (WRITER,),
        ),
    ],
)
def test_modes_and_capabilities_are_made_of_each_other(
    given: Volume, modes: tuple[str, str], capabilities: tuple[Capability, ...]
) -> None:
    machine = machine_with_plugin()
    assert machine.register(given).status == 200
    stored = machine.volume("v")
    assert ((stored.access_mode, stored.attachment_mode), stored.requested_capabilities) == (modes, capabilities)
