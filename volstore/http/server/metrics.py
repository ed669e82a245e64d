"""A node's figures by name, and their two forms: JSON as Nomad's `/v1/metrics`, and Prometheus' text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from volstore.core.state import State
from volstore.http.cluster_admin import NodeView
from volstore.http.server.admission import Admission
from volstore.http.server.requests import BOUNDS, Histogram, RequestFigures

__all__ = ["CONTENT_TYPE_LATEST", "Family", "Figures", "as_json", "as_text", "families"]

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one name, which is without its `volstore_`; `kind` is gauge, counter or histogram."""

    name: str
    kind: str
    help: str
    series: tuple[tuple[Labels, float | Histogram], ...]


@dataclass(slots=True)
class Figures:
    """Counters of a running node. `events` counts the cluster's log events by their names."""

    requests: RequestFigures
    syncs: Histogram = field(default_factory=Histogram)
    applies: Histogram = field(default_factory=Histogram)
    events: Mapping[str, int] = field(default_factory=dict)
    certificate_expires: float | None = None
    """Seconds since 1970; None without TLS."""
    admission: Admission | None = None
    started: float = field(default_factory=time.monotonic)


def families(node: NodeView, state: State, waiters: int, figures: Figures) -> Iterator[Family]:
    """Everything, as it is now."""
    yield _one("up", "1 while the node answers", 1, version=node.version)
    yield _one("uptime_seconds", "Since the node started", time.monotonic() - figures.started)
    if figures.certificate_expires is not None:
        yield _one(
            "tls_certificate_expires", "When this node's certificate does (since 1970)", figures.certificate_expires
        )
    yield from _raft(node)
    yield from _peers(node)
    yield Family("raft_sync_seconds", "histogram", "Syncs of the log to disk", (((), figures.syncs),))
    yield Family("fsm_apply_seconds", "histogram", "Commands applied to the state", (((), figures.applies),))
    events = tuple(((("event", name),), float(count)) for name, count in sorted(figures.events.items()))
    yield Family("cluster_events", "counter", "Events of the replicated log, by their names in the node's log", events)
    yield from _registry(state, waiters)
    yield from _requests(figures.requests, figures.admission)


def _one(name: str, help: str, value: float, **labels: str) -> Family:
    return Family(name, "gauge", help, ((tuple(labels.items()), value),))


def _raft(node: NodeView) -> Iterator[Family]:
    yield _one("raft_term", "Raft's term", node.term)
    yield _one("raft_is_leader", "1 on the leader", node.role == "leader")
    yield _one("raft_has_leader", "1 while this node knows a leader", bool(node.leader))
    yield _one("raft_role", "1 for the role that this node has", 1, role=node.role)
    yield _one("raft_first_index", "The first entry that is still in the log", node.first_index)
    yield _one("raft_last_index", "The last entry in the log", node.last_index)
    yield _one("raft_commit_index", "The last entry known to be on a majority of disks", node.commit_index)
    yield _one("raft_applied_index", "The last entry that was applied", node.applied_index)
    yield _one("raft_snapshot_index", "The last entry in the newest snapshot", node.snapshot_index)
    yield _one("raft_last_contact_seconds", "Since the leader was heard, 0 on the leader", node.last_contact)
    yield _one("raft_last_sync_seconds", "What the latest sync of the log took", node.last_sync_seconds)
    yield _one("raft_fault", "1 while this node acknowledges nothing", bool(node.fault))
    dropped = (((), float(node.log_dropped)),)
    yield Family("log_lines_dropped", "counter", "Lines of the node's log that could not be written", dropped)
    yield _one("log_fault", "1 while the node's log can't be written, or lately couldn't", bool(node.log_fault))
    yield _one("disk_free_bytes", "Free where the data directory is", node.disk_free_bytes)
    yield _one("raft_voters", "Members with a vote", sum(peer.server.voter for peer in node.peers))


def _peers(node: NodeView) -> Iterator[Family]:
    connected = tuple(((("peer", p.server.name),), float(p.server.status == "alive")) for p in node.peers)
    yield Family("raft_peer_connected", "gauge", "1 while the member is connected", connected)
    lags = tuple(((("peer", p.server.name),), float(p.lag)) for p in node.peers if p.lag is not None)
    yield Family("raft_peer_lag_entries", "gauge", "Entries that the member lacks; on the leader only", lags)
    contacts = tuple(
        ((("peer", p.server.name),), float(p.last_contact)) for p in node.peers if p.last_contact is not None
    )
    yield Family("raft_peer_last_contact_seconds", "gauge", "Since the member was heard; on the leader only", contacts)


def _registry(state: State, waiters: int) -> Iterator[Family]:
    yield _one("fsm_index", "The index of the state", state.index)
    objects = tuple(((("kind", name),), float(count)) for name, count in state.counts().items())
    yield Family("fsm_objects", "gauge", "Rows of each table of the state", objects)
    yield _one("blocking_queries", "Blocking queries that wait now", waiters)


def _requests(requests: RequestFigures, admission: Admission | None) -> Iterator[Family]:
    counts = tuple(
        ((("route", route), ("method", method), ("code", str(status))), float(count))
        for (route, method, status), count in sorted(requests.counts.items())
    )
    yield Family("http_requests", "counter", "Requests by route, method and status", counts)
    if admission is not None:
        refused = tuple(((("code", str(status)),), float(count)) for status, count in sorted(admission.refused.items()))
        yield _one("http_connections", "Connections that are open", admission.connections)
        yield _one("http_connections_limit", "Connections that may be open at a time", admission.most)
        yield Family("http_refused", "counter", "What was refused before any route saw it, by status", refused)
    durations = tuple(
        ((("route", route), ("method", method)), histogram)
        for (route, method), histogram in sorted(requests.durations.items(), key=lambda item: item[0])
    )
    yield Family("http_request_seconds", "histogram", "From a request's first byte to its answer", durations)


def as_json(found: Iterable[Family], now: float) -> dict[str, Any]:
    """In the shape of Nomad's `/v1/metrics`; `now` in seconds since 1970. Counters and samples count from the start."""
    gauges: list[dict[str, Any]] = []
    counters: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for family in found:
        name = f"volstore.{family.name.replace('_', '.', 1)}"
        for labels, value in family.series:
            head = {"Labels": dict(labels), "Name": name}
            if isinstance(value, Histogram):
                samples.append(head | _sample(value))
            elif family.kind == "counter":
                counters.append(
                    head
                    | {"Count": int(value), "Max": value, "Mean": value, "Min": value, "Rate": 0.0}
                    | {"Stddev": 0.0, "Sum": value}
                )
            else:
                gauges.append(head | {"Value": float(value)})
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
    return {"Counters": counters, "Gauges": gauges, "Points": [], "Samples": samples, "Timestamp": stamp}


def _sample(histogram: Histogram) -> dict[str, Any]:
    count = histogram.count
    return {
        "Count": count,
        "Max": histogram.longest,
        "Mean": histogram.sum / count if count else 0.0,
        "Min": histogram.shortest if count else 0.0,
        "Rate": 0.0,
        "Stddev": 0.0,
        "Sum": histogram.sum,
    }


def as_text(found: Iterable[Family]) -> bytes:
    """Prometheus' text, of type CONTENT_TYPE_LATEST."""
    metrics = [_metric(family) for family in found]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(metrics))
    return generate_latest(registry)


class _Collected:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metric(family: Family) -> Metric:
    name = f"volstore_{family.name}"
    names = [label for label, _ in family.series[0][0]] if family.series else []
    metric: Any
    if family.kind == "histogram":
        metric = HistogramMetricFamily(name, family.help, labels=names)
    elif family.kind == "counter":
        metric = CounterMetricFamily(name, family.help, labels=names)
    else:
        metric = GaugeMetricFamily(name, family.help, labels=names)
    for labels, value in family.series:
        values = [text for _, text in labels]
        if isinstance(value, Histogram):
            metric.add_metric(values, _buckets(value), value.sum)
        else:
            metric.add_metric(values, value)
    found: Metric = metric
    return found


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    below = 0
    found = []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), histogram.counts, strict=True):
        below += count
        found.append((bound, below))
    return found
