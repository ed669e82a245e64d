"""Scenario files are read strictly: what is shipped can be used, and mistakes are named with what would be right."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from volstore.drill.record import Kind
from volstore.drill.scenario import Scenario
from volstore.drill.scenarios import ScenarioError, find, read, shipped
from volstore.drill.target import FaultKind

TREE = Path(__file__).parents[2]
OBJECTIVE = '[objective]\nwhy = "as it is a test"\n'
KILL = '[[steps]]\nfault = "kill"\ntarget = "leader"\nlasts = "2s"\n'
GAUNTLET = '[gauntlet]\nfaults = ["kill"]\nshortest = "1s"\nlongest = "2s"\n'


def scenario(text: str, about: str = 'about = "a test"\n') -> Scenario:
    return read("own", "own.toml", about + text)


def test_those_of_the_issue_are_shipped() -> None:
    assert shipped() == sorted(
        [
            *("leader-kill", "leader-pause", "leader-partition", "minority-partition", "one-way-partition"),
            *("flapping-link", "slow-follower", "slow-disk", "disk-full", "all-down-power-loss", "rolling-restart"),
            *("replace-node", "replace-all", "snapshot-under-load", "clock-jump", "clock-years", "gauntlet"),
        ]
    )


def test_every_shipped_scenario_states_an_objective_and_why() -> None:
    for name in shipped():
        found = find(name)
        assert found.name == name
        assert found.objective.write_outage is not None
        assert found.objective.read_outage is not None
        assert len(found.objective.why) > 20
        assert found.faults()


def test_between_them_they_break_everything_that_can_be_broken() -> None:
    assert set.union(*(find(name).faults() for name in shipped() if name != "gauntlet")) == set(FaultKind)
    assert find("gauntlet").faults() == set(FaultKind)


def test_a_scenario_of_ones_own_is_found_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('about = "mine"\nnodes = 5\n' + OBJECTIVE + 'write_outage = "1.5s"\n' + KILL)
    found = find(str(file))
    assert (found.name, found.nodes, found.objective.write_outage) == ("mine", 5, 1.5)
    assert found.objective.failed_requests is None


def test_a_step_is_repeated() -> None:
    found = scenario(OBJECTIVE + KILL + "repeat = 3\n")
    assert [step.kind for step in found.steps] == [FaultKind.KILL] * 3


def test_a_fault_without_an_end_stays_until_it_is_healed() -> None:
    found = scenario(OBJECTIVE + KILL.replace('lasts = "2s"\n', "") + '[[steps]]\nheal = "kill"\n')
    assert [(step.lasts, step.heals) for step in found.steps] == [(None, False), (None, True)]


def test_the_load_and_the_nodes_settings_are_read() -> None:
    found = scenario(
        OBJECTIVE
        + KILL
        + '[load]\nclients = 7\nvolumes = 8\ntimeout = "2s"\npause = "0"\nmix = {register = 1, read_stale = 3}\n'
        + '[settings]\nsnapshot_threshold = 100\nlog_level = "debug"\n'
    )
    assert (found.load.clients, found.load.volumes, found.load.timeout, found.load.pause) == (7, 8, 2.0, 0.0)
    assert found.load.mix == {Kind.REGISTER: 1, Kind.READ_STALE: 3}
    assert found.settings == {"snapshot_threshold": "100", "log_level": "debug"}


def test_parameters_of_a_fault_are_read() -> None:
    slow = 'fault = "slow-link"\ntarget = "s2"\ndelay = "80ms"\njitter = "5ms"\nloss = 0.25\n'
    jump = 'fault = "clock-jump"\ntarget = "leader"\njump = "-2h"\n'
    first, second = scenario(OBJECTIVE + f"[[steps]]\n{slow}[[steps]]\n{jump}").steps
    assert (first.target, first.delay, first.jitter, first.loss) == ("s2", 0.08, 0.005, 0.25)
    assert second.jump == -7200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("= 1", "own.toml is not valid TOML"),
        (OBJECTIVE, "it breaks nothing"),
        (KILL, "objective.why: expected a text, but it is missing"),
        ("node = 3\n" + OBJECTIVE + KILL, "node: unknown key; did you mean nodes?"),
        ("nodes = 8\n" + OBJECTIVE + KILL, "nodes: expected a whole number from 1 to 7, got 8"),
        ("nodes = true\n" + OBJECTIVE + KILL, "nodes: expected a whole number from 1 to 7, got True"),
        ("load = 3\n" + OBJECTIVE + KILL, "load: expected a table, [load], got 3"),
        ("steps = 3\n" + OBJECTIVE, "steps: expected tables, [[steps]], got 3"),
        (OBJECTIVE + "write_outage = 1.2\n" + KILL, 'objective.write_outage: expected a duration like "1.5s"'),
        (OBJECTIVE + 'write_outage = "1.2"\n' + KILL, "objective.write_outage: '1.2' is not a duration"),
        (OBJECTIVE + 'write_outage = "-1s"\n' + KILL, "objective.write_outage: '-1s' is not a duration"),
        (OBJECTIVE + "lost = 1\n" + KILL, "objective.lost: unknown key"),
        (OBJECTIVE + KILL + "repeat = 0\n", "steps[1].repeat: expected a whole number from 1 to 1000, got 0"),
        (OBJECTIVE + KILL + 'delay = "1s"\n', "steps[1].delay: unknown key"),
        (OBJECTIVE + KILL.replace("leader", "s4"), "steps[1].target: 's4' is neither one of leader, follower"),
        (OBJECTIVE + KILL.replace("kill", "kil"), "steps[1].fault: 'kil' is not a fault; did you mean kill?"),
        (OBJECTIVE + KILL + 'heal = "kill"\n', "steps[1].fault: a step has one of fault, load_for and heal"),
        (OBJECTIVE + KILL.replace("kill", "slow-disk"), "steps[1].delay: expected a duration"),
        (OBJECTIVE + KILL.replace("kill", "flap"), "steps[1].up: expected a duration"),
        (OBJECTIVE + KILL.replace("kill", "one-way") + 'direction = "up"\n', "'up' must be in or out"),
        (
            OBJECTIVE + KILL.replace("kill", "slow-link") + 'delay = "1s"\nloss = 1\n',
            "expected a share from 0 to below 1",
        ),
        (OBJECTIVE + KILL.replace("kill", "replace").replace("leader", "all"), "replace is for one node at a time"),
        (OBJECTIVE + KILL.replace("kill", "partition").replace("leader", "all"), "there are no others"),
        (OBJECTIVE + KILL.replace("leader", "each").replace('lasts = "2s"\n', ""), "steps[1].lasts: with target each"),
        (OBJECTIVE + KILL.replace('lasts = "2s"', "repeat = 2"), "must say how long it lasts"),
        (OBJECTIVE + '[[steps]]\nload_for = "2s"\ntarget = "s1"\n' + KILL, "steps[1].target: unknown key"),
        (OBJECTIVE + KILL + "[load]\nmix = {registr = 1}\n", "load.mix.registr: unknown key; did you mean register?"),
        (OBJECTIVE + KILL + "[load]\nmix = {register = 0}\n", "load.mix: every share is 0"),
        (OBJECTIVE + KILL + "[settings]\ndata_dir = 'x'\n", "settings.data_dir: unknown key"),
        (OBJECTIVE + KILL + "[settings]\nlog_level = 'loud'\n", "settings.log_level: 'loud' must be one of"),
        (OBJECTIVE + GAUNTLET.replace('["kill"]', "[]"), 'gauntlet.faults: expected a list of faults like ["kill"'),
        (
            OBJECTIVE + GAUNTLET.replace('["kill"]', '["kil"]'),
            "gauntlet.faults: 'kil' is not a fault; did you",
        ),
        (OBJECTIVE + GAUNTLET.replace('"1s"', '"3s"'), "gauntlet.longest: must not be below shortest"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        scenario(text)
    assert str(raised.value).startswith("own.toml")
    assert said in str(raised.value)


def test_a_text_that_is_missing_is_asked_for() -> None:
    with pytest.raises(ScenarioError, match=r"own\.toml: about: expected a text"):
        scenario(OBJECTIVE + KILL, about="")


def test_a_name_that_is_nearly_right_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean leader-kill"):
        find("leader-kil")
    with pytest.raises(ScenarioError, match="there are all-down-power-loss, "):
        find("xyzzy")
    with pytest.raises(ScenarioError, match="No such file"):
        find(str(tmp_path / "absent.toml"))
    (tmp_path / "latin.toml").write_bytes(b"about = '\xe9'")
    with pytest.raises(ScenarioError, match="is not UTF-8"):
        find(str(tmp_path / "latin.toml"))


def test_the_scenarios_come_with_an_installed_volstore(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for part in ("volstore", "cluster", "deploy"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TREE / part, source / part, symlinks=True, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TREE / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(tmp_path), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = "import volstore, sys; from volstore.drill.scenarios import shipped; print(volstore.__file__, *shipped())"
    listed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path / "installed"
    ).stdout.split()
    assert Path(listed[0]).is_relative_to(tmp_path / "installed")
    assert listed[1:] == shipped()
