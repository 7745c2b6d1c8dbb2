"""Verdicts and failed checks as Prometheus metrics, for an alert that watches an experiment.

    mirrorstream_experiment_verdict{experiment, candidate, verdict}    1 for the verdict of now, 0 for the others
    mirrorstream_experiment_check_failed{experiment, candidate, check} 1 while a check has failed, else 0
    mirrorstream_experiment_users{experiment, candidate}               users behind the primary figure
    mirrorstream_experiment_outlying_items{experiment, candidate}      items that win far more often than all others
    mirrorstream_experiment_newest_event_age_seconds{experiment}       age of the newest event that was read
    mirrorstream_experiment_skill{experiment, period}                  skill on real clicks: first users, and recently
    mirrorstream_experiment_mirror_aged{experiment}                    1 while that skill is shown to have fallen
    mirrorstream_experiments_left_out                                  experiments beyond the bound, not in the above
    mirrorstream_experiment_records{kind}                              what the reader has read, and left out, by kind
    mirrorstream_experiment_page_{requests_total,seconds}{status}      requests that were answered, such as 2xx
    mirrorstream_experiment_webhook_{delivered_total,failures_total,pending}    with `--on-verdict-change` alone
    mirrorstream_experiment_readouts_{published_total,failures_total,pending}   with `--readouts-topic` alone

Names come from outside, so there is a bound on how many there are and on how long each is.  The current epoch is told.
"""

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.experiment.page.text import visible
from worker.experiment.quality import ageing
from worker.experiment.readout import Check, CheckState, Comparison, Readout, Report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.webhook.deliveries import Deliveries, Outbound

MAX_EXPERIMENTS = 200  # those with the newest events
MAX_CANDIDATES = 20  # of an experiment, the best ones
MAX_LABEL_CHARS = 128
_PAGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Requests:
    """Counts the requests that a page has answered; every series is there at 0 from the start."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry(auto_describe=False)
        count = Counter(
            "mirrorstream_experiment_page_requests_total", "Requests that were answered, by class of status.",
            ["status"], registry=self.registry,
        )  # fmt: skip
        took_s = Histogram(
            "mirrorstream_experiment_page_seconds", "Time until an answer began.", buckets=_PAGE_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._count, self._took_s = {one: count.labels(f"{one}xx") for one in range(1, 6)}, took_s

    def answered(self, status: int, seconds: float) -> None:
        """Count a request by its status, and how long it took until its answer began, seconds."""
        self._count[min(5, max(1, status // 100))].inc()
        self._took_s.observe(seconds)


def exposition(report: Report, deliveries: Outbound | None = None, requests: Requests | None = None) -> bytes:
    """Return the metrics of a report, of a page and of what is told outside, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Verdicts(report))
    registry.register(_Reading(report))
    if requests is not None:
        registry.register(requests.registry)
    if deliveries is not None and deliveries.webhook is not None:
        registry.register(_Webhook(deliveries.webhook))
    if deliveries is not None and deliveries.readouts is not None:
        registry.register(_Readouts(deliveries.readouts))
    return generate_latest(registry)


class _Verdicts(Collector):
    def __init__(self, report: Report) -> None:
        shown = [one for one in report.readouts if one.epochs]
        shown.sort(key=lambda one: -one.current.last_occurred_at)
        self._shown, self._left_out = shown[:MAX_EXPERIMENTS], len(shown[MAX_EXPERIMENTS:])

    def collect(self) -> Iterator[Metric]:
        names = ["experiment", "candidate"]
        verdict = GaugeMetricFamily(
            "mirrorstream_experiment_verdict", "1 for the verdict on a candidate, 0 for every other verdict.",
            labels=[*names, "verdict"],
        )  # fmt: skip
        failed = GaugeMetricFamily(
            "mirrorstream_experiment_check_failed", "1 while a check of a candidate has failed, else 0.",
            labels=[*names, "check"],
        )  # fmt: skip
        users = GaugeMetricFamily(
            "mirrorstream_experiment_users", "Users that the primary figure of a candidate is computed from.",
            labels=names,
        )  # fmt: skip
        outlying = GaugeMetricFamily(
            "mirrorstream_experiment_outlying_items", "Items that win far more often than all others of a candidate.",
            labels=names,
        )  # fmt: skip
        age = GaugeMetricFamily(
            "mirrorstream_experiment_newest_event_age_seconds", "Age of the newest event that was read.",
            labels=names[:1],
        )  # fmt: skip
        for name, at_us in {
            _label(one.experiment_id or ""): one.current.last_occurred_at for one in self._shown
        }.items():
            age.add_metric([name], max(0.0, time.time() - at_us / 1e6))
        for labels, one in _candidates(self._shown):
            for each in Verdict:
                verdict.add_metric([*labels, each.value], float(one.verdict is each))
            for check in {_label(check.name): check for check in one.checks}.values():
                failed.add_metric([*labels, _label(check.name)], float(check.state is CheckState.FAILED))
            users.add_metric(labels, one.primary.overall.users)
            outlying.add_metric(labels, len(one.outlying_items))
        yield from (verdict, failed, users, outlying, age, *_mirror(self._shown))
        yield GaugeMetricFamily(
            "mirrorstream_experiments_left_out",
            f"Experiments without metrics: only the {MAX_EXPERIMENTS} with the newest events have them.",
            value=self._left_out,
        )


def _mirror(shown: Sequence[Readout]) -> tuple[Metric, Metric]:
    """Return the skill on real clicks and its fall, of each experiment that has outcomes enough."""
    skill = GaugeMetricFamily(
        "mirrorstream_experiment_skill",
        "Skill on real clicks against equal chances: of the first users, and since a start that tells most of a fall.",
        labels=["experiment", "period"],
    )
    aged = GaugeMetricFamily(
        "mirrorstream_experiment_mirror_aged", "1 while the skill on real clicks is shown to have fallen, else 0.",
        labels=["experiment"],
    )  # fmt: skip
    for name, check in {_label(one.experiment_id or ""): _age_of(one) for one in shown}.items():
        if check is not None:
            aged.add_metric([name], float(check.state is CheckState.FAILED))
            for period in ("first", "recent"):
                if period in check.figures:
                    skill.add_metric([name, period], check.figures[period])
    return skill, aged


def _age_of(readout: Readout) -> Check | None:
    checks = (check for one in readout.current.comparisons for check in one.checks)
    return next((check for check in checks if check.name == ageing.NAME), None)


class _Reading(Collector):
    """What the reader has read: names of `data_health` are ours, so they are few."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        records = GaugeMetricFamily(
            "mirrorstream_experiment_records", "Records that were read, and that were left out, by kind.",
            labels=["kind"],
        )  # fmt: skip
        for kind, number in ({"read": 0} | dict(self._report.data_health)).items():
            records.add_metric([kind], number)
        yield records


class _Webhook(Collector):
    def __init__(self, counts: Deliveries) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "mirrorstream_experiment_webhook_delivered", "Changes of a verdict that the webhook accepted.",
            value=self._counts.delivered,
        )  # fmt: skip
        yield CounterMetricFamily(
            "mirrorstream_experiment_webhook_failures", "Attempts to tell a change that failed.",
            value=self._counts.failures,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "mirrorstream_experiment_webhook_pending", "Changes of a verdict that the webhook does not know yet.",
            value=self._counts.pending,
        )  # fmt: skip


class _Readouts(Collector):
    def __init__(self, counts: Deliveries) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "mirrorstream_experiment_readouts_published", "Readouts that are in the topic of readouts.",
            value=self._counts.delivered,
        )  # fmt: skip
        yield CounterMetricFamily(
            "mirrorstream_experiment_readouts_failures", "Attempts to publish readouts that failed.",
            value=self._counts.failures,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "mirrorstream_experiment_readouts_pending", "Readouts that are due and not in the topic yet.",
            value=self._counts.pending,
        )  # fmt: skip


def _candidates(readouts: Sequence[Readout]) -> Iterator[tuple[list[str], Comparison]]:
    """Yield the candidates of each experiment with their labels; a pair of labels comes once."""
    seen: set[tuple[str, str]] = set()
    for readout in readouts:
        for one in readout.current.comparisons[:MAX_CANDIDATES]:
            labels = _label(readout.experiment_id or ""), _label(one.candidate)
            if labels not in seen:
                seen.add(labels)
                yield list(labels), one


def _label(name: str) -> str:
    return visible(name[:MAX_LABEL_CHARS])
