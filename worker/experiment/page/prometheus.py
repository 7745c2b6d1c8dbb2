"""Verdicts and failed checks as Prometheus metrics, for an alert that watches an experiment.

    mirrorstream_experiment_verdict{experiment, candidate, verdict}    1 for the verdict of now, 0 for the others
    mirrorstream_experiment_check_failed{experiment, candidate, check} 1 while a check has failed, else 0
    mirrorstream_experiment_users{experiment, candidate}               users behind the primary figure
    mirrorstream_experiments_left_out                                  experiments beyond the bound, not in the above
    mirrorstream_experiment_webhook_{delivered_total,failures_total,pending}    with `--on-verdict-change` alone

Names come from outside, so there is a bound on how many there are and on how long each is.  The current epoch is told.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from worker.experiment.page.text import visible
from worker.experiment.readout import CheckState, Comparison, Readout, Report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.webhook.deliveries import Deliveries

MAX_EXPERIMENTS = 200  # those with the newest events
MAX_CANDIDATES = 20  # of an experiment, the best ones
MAX_LABEL_CHARS = 128
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(report: Report, deliveries: Deliveries | None = None) -> bytes:
    """Return the metrics of a report, and of a webhook if there is one, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Verdicts(report))
    if deliveries is not None:
        registry.register(_Webhook(deliveries))
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
        for labels, one in _candidates(self._shown):
            for each in Verdict:
                verdict.add_metric([*labels, each.value], float(one.verdict is each))
            for check in {_label(check.name): check for check in one.checks}.values():
                failed.add_metric([*labels, _label(check.name)], float(check.state is CheckState.FAILED))
            users.add_metric(labels, one.primary.overall.users)
        yield from (verdict, failed, users)
        yield GaugeMetricFamily(
            "mirrorstream_experiments_left_out",
            f"Experiments without metrics: only the {MAX_EXPERIMENTS} with the newest events have them.",
            value=self._left_out,
        )


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
