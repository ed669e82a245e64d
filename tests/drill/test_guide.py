"""The guide to drills says what is so: its table of scenarios, its examples, and the fields of the summary."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from tests.drill.recorded import recorded
from tests.http.cluster_admin import ONE_NODE
from volstore.certificates import create_authority
from volstore.core.state import State
from volstore.drill import cluster_file
from volstore.drill.report import summary
from volstore.drill.scenarios import find, read, shipped
from volstore.drill.target import FaultKind
from volstore.http.server.metrics import Figures, families
from volstore.http.server.requests import RequestFigures

GUIDE = (Path(__file__).parents[2] / "deploy" / "drills" / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return GUIDE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def example(title: str, first: str) -> str:
    """The indented block that begins with that line."""
    lines = section(title).splitlines()
    start = next(n for n, line in enumerate(lines) if line.strip() == first or line.strip().startswith(first))
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = next((n for n in range(start, len(lines)) if lines[n] and not lines[n].startswith(" " * indent)), len(lines))
    return "\n".join(line[indent:] for line in lines[start:end])


def test_the_table_has_every_scenario_with_its_objectives() -> None:
    def outage(seconds: float | None) -> str:
        return "not judged" if seconds is None else f"{seconds:g} s"

    expected = []
    for scenario in map(find, shipped()):
        objective = scenario.objective
        failed = "not judged" if objective.failed_requests is None else str(objective.failed_requests)
        outages = (outage(objective.write_outage), outage(objective.read_outage))
        expected.append([scenario.name, str(scenario.nodes), *outages, failed])
    assert [[name, *rest] for name, _, *rest in rows("Scenarios")] == expected


def test_the_example_of_a_scenario_is_one() -> None:
    scenario = read("example", "README.md", example("Writing a scenario", "about ="))
    assert scenario.faults() == {FaultKind.PAUSE, FaultKind.KILL}
    assert [step.heals for step in scenario.steps] == [False, False, False, False, True]


def test_the_example_of_a_cluster_is_one(tmp_path: Path) -> None:
    create_authority(tmp_path, now=datetime.now(UTC))
    (tmp_path / "drill.token").write_text("c07ba3b6-2a4f-4b43-9b9f-1c3a5d8c0d5e\n")
    file = tmp_path / "cluster.toml"
    file.write_text(example("A game day", "token_file ="))
    made = cluster_file.read(file, {})
    assert [node.name for node in made.nodes] == ["s1", "s2", "s3"]


def test_every_fault_is_in_the_tables() -> None:
    for title in ("What runs where", "Writing a scenario"):
        named = {word for first, *_ in rows(title) for word in first.split(", ")}
        assert named == set(FaultKind), title


def test_every_field_of_the_summary_is_explained() -> None:
    explained = set(re.findall(r"`(\w+)`", section("For programs")))
    made = summary(recorded())
    fields = set(made) | set(made["requests"]) | set(made["longest_outage"]) | set(made["requests"]["all"])
    for part in ("checks", "outages", "events"):
        fields |= set(made[part][0])
    assert fields <= explained
    assert made["schema"] in section("For programs")


def test_the_metrics_that_it_sends_one_to_are_there() -> None:
    known = {f"volstore_{family.name}" for family in families(ONE_NODE.node(), State(), 0, Figures(RequestFigures()))}
    named = set(re.findall(r"`(volstore_\w+)`", GUIDE))
    assert named <= known
    assert named
