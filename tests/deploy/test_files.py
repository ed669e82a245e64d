"""The files in deploy/ are what their readers take, and name only what exists here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.http.cluster_admin import ONE_NODE
from volstore.agent.config import load
from volstore.core.errors import ApiError
from volstore.core.state import State
from volstore.http.endpoints.metrics import metrics_route
from volstore.http.endpoints.operator import operator_routes
from volstore.http.server.metrics import Figures, as_text, families
from volstore.http.server.requests import RequestFigures
from volstore.http.server.router import API, Router

DEPLOY = Path(__file__).parents[2] / "deploy"
ROUTER = Router((*API, *operator_routes(ONE_NODE), metrics_route(list)))
YAML = sorted(DEPLOY.rglob("*.yaml"))
UNITS = sorted(DEPLOY.rglob("*.service")) + sorted(DEPLOY.rglob("*.timer"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_every_yaml_file_is_read(path: Path) -> None:
    assert documents(path)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_every_unit(path: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    # All units together, as timers name services; with a program that exists here.
    for unit in UNITS:
        text = unit.read_text().replace("/opt/volstore/bin/volstore", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    verified = subprocess.run(
        [analyze, "verify", "--recursive-errors=no", "--man=no", str(tmp_path / path.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in verified.stderr.splitlines() if "volstore" in line]
    assert ours == []
    assert verified.returncode == 0, verified.stderr


def test_the_unit_is_told_when_the_node_is_ready_and_hardened() -> None:
    text = (DEPLOY / "systemd/volstore.service").read_text()
    for line in ("Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077", "Restart=on-failure"):
        assert line in text.splitlines()


PATHS = {
    path.name: sorted(set(re.findall(r"(/v1/[a-z/]+)", path.read_text())))
    for path in DEPLOY.rglob("*")
    if path.is_file() and path.suffix != ".md" and "__pycache__" not in path.parts
}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in PATHS.items() for path in paths])
def test_every_path_that_is_named_is_served(name: str, path: str) -> None:
    try:
        route, _ = ROUTER.find(path)
    except ApiError as error:
        raise AssertionError(f"{name} names {path}: {error.status}") from None
    assert ("POST" if path == "/v1/acl/bootstrap" else "GET") in route.endpoints


def test_health_checks_are_where_they_are_needed() -> None:
    assert PATHS["haproxy.cfg"] == ["/v1/agent/health/leader", "/v1/agent/health/ready"]
    assert PATHS["Caddyfile"] == ["/v1/agent/health/ready"]
    assert "/v1/agent/health/live" in PATHS["Containerfile"]


def test_alerts_use_series_that_a_node_has() -> None:
    figures = Figures(RequestFigures(), certificate_expires=1.0)
    figures.requests.answered(None, "GET", 200, 0.1)
    text = as_text(families(ONE_NODE.node(), State(), 0, figures)).decode()
    has = set(re.findall(r"^(volstore_[a-z_]+)", text, re.MULTILINE)) | set(
        re.findall(r"^# TYPE (volstore_[a-z_]+)", text, re.MULTILINE)
    )
    (groups,) = documents(DEPLOY / "prometheus/rules.yaml")
    rules = [rule for group in groups["groups"] for rule in group["rules"]]
    assert len(rules) >= 8
    for rule in rules:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        assert {"summary", "action"} == set(rule["annotations"])
        for name in re.findall(r"volstore_[a-z_]+", rule["expr"]):
            assert name in has, rule["alert"]


def by_kind(path: Path) -> dict[str, dict[str, Any]]:
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in documents(path)}


def test_kubernetes_runs_three_one_of_which_may_be_away() -> None:
    found = by_kind(DEPLOY / "kubernetes/volstore.yaml")
    stateful = found["StatefulSet/volstore"]["spec"]
    labels = stateful["selector"]["matchLabels"]
    assert stateful["replicas"] == 3
    assert stateful["template"]["metadata"]["labels"] == labels
    assert found["PodDisruptionBudget/volstore"]["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    assert found["Service/volstore-raft"]["spec"]["publishNotReadyAddresses"] is True
    assert stateful["serviceName"] == "volstore-raft"
    pod = stateful["template"]["spec"]
    (container,) = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/agent/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v1/agent/health/live"
    assert pod["terminationGracePeriodSeconds"] >= 30
    (claim,) = stateful["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/var/lib/volstore"} in container["volumeMounts"]
    environment = {
        one["name"]: one.get("value", "volstore-1").replace("$(VOLSTORE_NAME)", "volstore-1")
        for one in container["env"]
    }
    agrees(environment, "volstore-1.volstore-raft")


def agrees(environment: dict[str, str], host: str) -> None:
    """The node that is started like this is one of three, reached under `host`."""
    flags = {"http_addr": "0.0.0.0:4646", "raft_addr": "0.0.0.0:4647", "data_dir": "/var/lib/volstore/data"}
    config, warnings = load(flags, environment, hostname="h")
    assert warnings == []
    assert len(config.servers) == 3
    assert (config.http_advertise, config.raft_advertise) == (f"{host}:4646", f"{host}:4647")


def test_the_container_listens_where_others_reach_it() -> None:
    text = (DEPLOY / "container/Containerfile").read_text()
    assert '"--http-addr", "0.0.0.0:4646", "--raft-addr", "0.0.0.0:4647"' in text
    assert "VOLSTORE_DATA_DIR=/var/lib/volstore/data" in text


@pytest.mark.parametrize("name", ["s1", "s2", "s3"])
def test_compose_runs_three_that_know_each_other(name: str) -> None:
    (compose,) = documents(DEPLOY / "container/compose.yaml")
    assert sorted(compose["services"]) == ["s1", "s2", "s3"]
    service = compose["services"][name]
    agrees(service["environment"], name)
    assert service["volumes"] == [f"{name}:/var/lib/volstore"]
    assert service["environment"]["VOLSTORE_NAME"] == name


def test_backups_are_taken_by_the_command_that_is_there() -> None:
    for path in (DEPLOY / "systemd/volstore-backup.service", DEPLOY / "kubernetes/backup.yaml"):
        assert "operator snapshot save" in path.read_text()
    job = by_kind(DEPLOY / "kubernetes/backup.yaml")["CronJob/volstore-backup"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
