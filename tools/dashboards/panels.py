"""What the dashboards show.

`JOB` in a query becomes the selector of the chosen jobs.  A row answers one question; the first one needs no scrolling.
"""

from dataclasses import replace

from tools.dashboards.grafana import Dashboard, Panel

JOB = 'job=~"$job"'
NO_ANSWER = "LENGTH|TIMEOUT|ENGINE_ERROR|OUT_OF_BUDGET"


def _rate(metric: str, by: str = "", where: str = "") -> str:
    """Return the sum of a counter's rate, by these labels."""
    selector = ", ".join(filter(None, (JOB, where)))
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{selector}}}[$__rate_interval]))"


def _share(part: str, whole: str, where: str = "", by: str = "") -> str:
    return f"{_rate(part, by, where)} / {f'ignoring({by}) group_left ' if by else ''}{_rate(whole)}"


def _quantile(q: float, metric: str, by: str = "") -> str:
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({q}, {_rate(f'{metric}_bucket', labels)})"


def _mean(metric: str, where: str = "", by: str = "") -> str:
    return f"{_rate(f'{metric}_sum', by, where)} / {_rate(f'{metric}_count', by, where)}"


def _quantiles(metric: str) -> list[tuple[str, str]]:
    return [(_quantile(q, metric), f"p{int(100 * q)}") for q in (0.5, 0.9, 0.99)]


def _gauge(metric: str, legend: str, how: str = "max", by: str = "instance", where: str = "") -> tuple[str, str]:
    selector = ", ".join(filter(None, (JOB, where)))
    return f"{how} by ({by}) ({metric}{{{selector}}})", legend


def _stat(title: str, query: str, bad_above: float, unit: str = "short", about: str = "") -> Panel:
    return Panel(title, [(query, "")], unit, about, bad_above=bad_above, columns=3)


M = "mirrorstream_"

IS_IT_WELL = [
    _stat("Workers not ready", f"count(mirrorstream_ready{{{JOB}}} == 0) or vector(0)", 1),
    _stat("Oldest impression", f"max({M}lag_seconds{{{JOB}}})", 900, "s", "Age of the oldest without an answer"),
    _stat("Time to catch up", f"max({M}drain_seconds{{{JOB}}})", 3600, "s"),
    _stat("Newest commit", f"max({M}commit_age_seconds{{{JOB}}} and {M}lag_seconds{{{JOB}}} > 0) or vector(0)", 600,
          "s", "Of partitions in which records wait"),
    _stat("Without an answer", _share(M + "responses_total", M + "responses_total", f'status=~"{NO_ANSWER}"'), 0.01,
          "percentunit", "Share of questions; above 1 % there is no verdict"),
    _stat("Dead letters", _share(M + "dead_letters_total", M + "records_consumed_total"), 0.01, "percentunit"),
    _stat("Failed transactions",
          _share(M + "flushes_total", M + "flushes_total", 'outcome=~"aborted|indoubt"'), 0.05, "percentunit"),
    _stat("Engine deaths", f"sum(increase({M}engine_deaths_total{{{JOB}}}[1h]))", 1, about="Within an hour"),
]  # fmt: skip

TRAFFIC = [
    Panel("Events", [(_rate(M + "records_consumed_total"), "received"),
                     (_rate(M + "end_to_end_seconds_count"), "answered and committed"),
                     (_rate(M + "records_skipped_total", "reason"), "skipped: {{reason}}")], "ops"),
    Panel("Lag in time", [_gauge(M + "lag_seconds", "{{topic}}", by="topic")], "s"),
    Panel("Lag in records", [_gauge(M + "lag_records", "{{topic}}", "sum", "topic")]),
    Panel("Why workers are not ready", [_gauge(M + "held_up", "{{reason}}", "sum", "reason")]),
    Panel("End to end", _quantiles(M + "end_to_end_seconds"), "s", "From a record's timestamp to its commit"),
    Panel("Where the time goes", [(_rate(M + "stage_seconds_sum", "stage") + " / ignoring(stage) group_left "
                                   + _rate(M + "end_to_end_seconds_count"), "{{stage}}")], "s",
          "Mean time of an event in each stage"),
    Panel("Time to catch up", [_gauge(M + "drain_seconds", "{{instance}}")], "s"),
    Panel("Event time", [_gauge(M + "event_time_watermark_age_seconds", "{{topic}}", by="topic")], "s",
          "Age of the newest event that was committed"),
    Panel("Held records", [_gauge(M + "held_records", "{{why}}", "sum", "why"),
                           _gauge(M + "unreadable_partitions", "unreadable partitions: {{instance}}")]),
]  # fmt: skip

BATCHING = [
    Panel("Window", [_gauge(M + "window_share", "{{of}}", by="of")], "percentunit", "Share in flight; 1 is full"),
    Panel("Why partitions are paused", [_gauge(M + "window_shut", "{{reason}}", "sum", "reason")]),
    Panel("In flight", [_gauge(M + "in_flight_records", "{{instance}}"),
                        _gauge(M + "engine_seats", "seats: {{instance}}"),
                        _gauge("vllm:num_requests_running", "vLLM runs: {{instance}}"),
                        _gauge("vllm:num_requests_waiting", "vLLM waits: {{instance}}")]),
    Panel("Size of micro-batches", _quantiles(M + "batch_records")),
    Panel("Why micro-batches close", [(_rate(M + "batches_total", "reason"), "{{reason}}")], "ops"),
    Panel("Draws", _quantiles(M + "draw_duration_seconds"), "s", "Duration in the engine"),
    Panel("Tokens", [(_rate(M + "tokens_total", "direction"), "{{direction}}")], "ops"),
    Panel("Prefix cache", [(_rate(M + "tokens_total", where='direction="cached"') + " / "
                            + _rate(M + "tokens_total", where='direction="prompt"'), "share of prompt tokens")],
          "percentunit"),
    Panel("KV cache", [_gauge("vllm:kv_cache_usage_perc", "{{instance}}"),
                       (_rate("vllm:num_preemptions_total"), "preemptions per second")], "percentunit"),
    Panel("Draws asked again", [(_rate(M + "draw_retries_total", "reason"), "{{reason}}")], "ops"),
    Panel("Engine", [_gauge(M + "engine_restarts_left", "restarts left: {{instance}}"),
                     _gauge(M + "engine_load_seconds", "load seconds: {{instance}}"),
                     (_rate(M + "engine_starts_total", "outcome"), "starts per second: {{outcome}}")]),
    Panel("vLLM servers", [_gauge(M + "server_up", "up: {{server}}", "sum", "server"),
                           _gauge(M + "server_yielding", "left to others: {{server}}", "sum", "server"),
                           _gauge(M + "server_requests_in_flight", "in flight: {{server}}", "sum", "server"),
                           (_quantile(0.99, M + "server_request_seconds", "server"), "p99 seconds: {{server}}"),
                           (_rate(M + "server_requests_total", "server, outcome", 'outcome!="answered"'),
                            "{{outcome}} per second: {{server}}")], about="With engine vllm-server"),
]  # fmt: skip

QUALITY = [
    Panel("Responses", [(_rate(M + "responses_total", "status"), "{{status}}")], "ops"),
    Panel("Letter mass", [(_mean(M + "letter_mass"), "mean"), (_quantile(0.1, M + "letter_mass"), "p10")],
          "percentunit", "Probability of all offered letters together"),
    Panel("Entropy", [(_mean(M + "answer_entropy_bits", 'of="total"'), "total"),
                      (_mean(M + "answer_entropy_bits", 'of="within"'), "within")], "none",
          "Bits; what the draws do not agree on is between the two"),
    Panel("Flips", [(_share(M + "answers_flipped_total", M + "answers_compared_total"), "share of answers")],
          "percentunit", "Answers whose draws prefer different options"),
    Panel("Rationales", [(_share(M + "rationales_total", M + "rationales_total", by="parse_status"),
                          "{{parse_status}}")], "percentunit"),
    Panel("Flags", [(_rate(M + "response_flags_total", "flag"), "{{flag}}")], "ops"),
    Panel("Position profile", [_gauge(M + "position_share", "slot {{slot}} of {{options}}", "avg", "options, slot")],
          "percentunit", "Share of choices by slot where all options are alike"),
    Panel("Dead letters", [(_rate(M + "dead_letters_total", "reason"), "{{reason}}"),
                           (_rate(M + "refusals_total", "reason"), "refused: {{reason}}")], "ops"),
]  # fmt: skip

TRANSACTIONS = [
    Panel("Transactions", [(_rate(M + "flushes_total", "outcome"), "{{outcome}}")], "ops"),
    Panel("Duration of transactions", _quantiles(M + "flush_duration_seconds"), "s"),
    Panel("In doubt", [(_rate(M + "in_doubt_seconds_sum"), "seconds per second"),
                       (_rate(M + "producers_rebuilt_total"), "producers rebuilt per second"),
                       (_rate(M + "fences_total", "cause"), "fences per second: {{cause}}")]),
    Panel("Partitions moved", [(_rate(M + "partitions_moved_total", "kind"), "{{kind}}")], "ops"),
    Panel("Duration of rebalances", [(_quantile(0.99, M + "rebalance_duration_seconds", "kind"), "p99 {{kind}}")], "s"),
    Panel("Assigned partitions", [_gauge(M + "assigned_partitions", "{{instance}}"),
                                  _gauge(M + "paused_partitions", "paused: {{instance}}")]),
    Panel("Kafka: round trips", [_gauge(M + "kafka_round_trip_seconds", "{{client}}", by="client"),
                                 _gauge(M + "kafka_throttle_seconds", "throttled: {{client}}", by="client")], "s"),
    Panel("Kafka: queues", [_gauge(M + "kafka_queued_messages", "messages: {{client}}", "sum", "client"),
                            _gauge(M + "kafka_pending_requests", "requests: {{client}}", "sum", "client"),
                            (_rate(M + "kafka_request_failures_total", "client"), "failures per second: {{client}}")]),
    Panel("Registry", [(_rate(M + "registry_requests_total", "outcome"), "{{outcome}}"),
                       (_quantile(0.99, M + "registry_request_seconds"), "p99 seconds")]),
]  # fmt: skip

WORKER = Dashboard(
    "mirrorstream-worker",
    "Mirrorstream: workers",
    "mirrorstream_build_info",
    [
        ("Is it well?", IS_IT_WELL),
        ("Traffic and lag", TRAFFIC),
        ("Batching and engine", BATCHING),
        ("Quality of answers", QUALITY),
        ("Transactions, rebalances, Kafka", TRANSACTIONS),
    ],
)

EXPERIMENT = Dashboard(
    "mirrorstream-experiment",
    "Mirrorstream: experiments",
    "mirrorstream_experiments_left_out",
    [
        ("Is it well?", [
            _stat("Failed checks", f"sum(mirrorstream_experiment_check_failed{{{JOB}}})", 1),
            _stat("Not to be trusted", f'sum(mirrorstream_experiment_verdict{{{JOB}, verdict="DO_NOT_TRUST"}})', 1),
            _stat("Without metrics", f"max(mirrorstream_experiments_left_out{{{JOB}}})", 1),
        ]),
        ("Reader and page", [
            Panel("Records", [_gauge("mirrorstream_experiment_records", "{{kind}}", by="kind")]),
            Panel("Age of the newest event", [_gauge("mirrorstream_experiment_newest_event_age_seconds",
                                                     "{{experiment}}", by="experiment")], "s"),
            Panel("Requests", [(_rate("mirrorstream_experiment_page_requests_total", "status"), "{{status}}"),
                               (_quantile(0.99, "mirrorstream_experiment_page_seconds"), "p99 seconds")]),
        ]),
        ("Experiments", [
            replace(one, columns=12) for one in (
                Panel("Verdicts", [(f"mirrorstream_experiment_verdict{{{JOB}}} == 1",
                                    "{{experiment}}, {{candidate}}: {{verdict}}")]),
                Panel("Users", [_gauge("mirrorstream_experiment_users", "{{experiment}}, {{candidate}}", "max",
                                       "experiment, candidate")]),
                Panel("Failed checks", [(f"mirrorstream_experiment_check_failed{{{JOB}}} == 1",
                                         "{{experiment}}, {{candidate}}: {{check}}")]),
                Panel("Skill on real clicks", [_gauge("mirrorstream_experiment_skill", "{{experiment}}, {{period}}",
                                                      by="experiment, period"),
                                               (f"mirrorstream_experiment_mirror_aged{{{JOB}}} == 1",
                                                "{{experiment}}: aged")]),
            )
        ]),
    ],
)  # fmt: skip

DASHBOARDS = {"worker.json": WORKER, "experiment.json": EXPERIMENT}
