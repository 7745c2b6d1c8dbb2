"""A report for a terminal: one table per epoch, then the state of the data and what the figures do not show."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from worker.experiment import wording
from worker.experiment.readout import Check, CheckState, Comparison, Effect, Epoch, Readout, Report, Where
from worker.experiment.report.compare_configurations import ConfigurationComparison
from worker.experiment.statistics import confidence as stats

MAX_MOVERS = 5  # in a cell


def render(report: Report) -> Group:
    """Return the report as tables; text from outside is shown without markup or control characters."""
    tables = [_table(readout, epoch) for readout in report.readouts for epoch in readout.epochs]
    counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in report.data_health.items()]
    lines = [
        *(() if tables else ("No responses were counted.",)),
        f"Responses: {', '.join(counts) or 'none'}.",
        "What these figures do not show:",
        *(f"- {words}" for words in stats.CANNOT_TELL),
    ]
    return Group(*tables, Text("\n".join(lines)))


def render_configurations(found: Sequence[ConfigurationComparison], first: str, second: str) -> Group:
    """Return the comparison of two configurations on the same events as tables."""
    return Group(
        *(_configurations(one, first, second) for one in found)
        if found
        else (Text("Both configurations answered no pair in common."),)
    )


def _configurations(one: ConfigurationComparison, first: str, second: str) -> Table:
    table = Table(title=_plain(f"{one.candidate} against {one.control}, on the same events"), title_justify="left")
    table.add_column("")
    table.add_column("")
    loss = one.log_loss
    alone = f"only {first}: {one.first_only:,}, only {second}: {one.second_only:,}"
    known = f"{loss.value:+.3f} ({loss.interval}, {loss.label})" if loss else "no clicks"
    rows = {
        "events that both answered": f"{one.events:,} ({alone})",
        f"duel share by {first}": _number(one.first_share, ".3f"),
        f"duel share by {second}": _number(one.second_share, ".3f"),
        "difference, mean over users": wording.figure(one.difference, 0.0),
        "both prefer the same side": _number(one.same_side, ".1%"),
        "correlation of their shares": _number(one.correlation, "+.2f"),
        "log loss on real clicks, difference": known,
    }
    for name, cell in rows.items():
        table.add_row(_plain(name), _plain(cell))
    return table


def _table(readout: Readout, epoch: Epoch) -> Table:
    first, last = (
        datetime.fromtimestamp(at_us // 10**6, UTC) for at_us in (epoch.first_occurred_at, epoch.last_occurred_at)
    )
    title = f"Experiment {readout.experiment_id or '(none)'}, configuration {epoch.config_fingerprint}\n"
    title += (
        f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC; in brackets: {wording.level(readout.alpha)} intervals"
        "\nList A is control's, list B the candidate's"
    )
    table = Table(title=_plain(title), title_justify="left")
    table.add_column("")
    columns = [_column(comparison, readout) for comparison in epoch.comparisons]
    for comparison in epoch.comparisons:
        table.add_column(_plain(f"{comparison.candidate} against {comparison.control}"))
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(_plain(column.get(name, "-")) for column in columns))
    for name, cell in _calibration(epoch):
        table.add_row(name, *([_plain(cell)] * max(1, len(columns))))
    if epoch.backtest:
        table.add_row("backtest", *([_plain(epoch.backtest.sentence)] * max(1, len(columns))))
    table.add_row("responses, of these SLATE", *([f"{epoch.responses:,}, {epoch.slates:,}"] * max(1, len(columns))))
    return table


def _column(one: Comparison, readout: Readout) -> dict[str, str]:
    """Return the cells of a comparison by their row's name."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in one.statuses.items())
    primary = one.primary
    return {
        "verdict": f"{one.verdict.words}: {one.reason}",
        "estimand": f"{primary.estimand}, {one.basis}",
        f"{_words(primary)}, all users": wording.told(primary),
        f"{_words(primary)}, lists differ": wording.figure(
            primary.triggered, primary.null, primary.metric, primary.alpha
        ),
        **({f"{_words(primary)}, by activity": _activity(one, readout)} if one.activity else {}),
        **({f"{_words(primary)}, users after their first day": _closed(one)} if one.closed else {}),
        **{_row_name(effect): _effect(effect) for effect in one.effects[1:]},
        **{f"guardrail {guarded.metric}": f"{guarded.state}: {guarded.words}" for guarded in one.guardrails},
        **{check.name: f"{_state(check)}: {check.words}" for check in one.checks},
        "users": f"{primary.overall.users:,} of {readout.planned_users:,} planned",
        **({"planned users": one.plan_gain} if one.plan_gain else {}),
        "users whose lists differ": f"{primary.triggered.users:,} ({_number(one.trigger_share, '.1%')})",
        "pairs": f"{one.events:,}: {statuses}",
        "choices that go to items of one list alone": _number(one.contested_mass, ".1%"),
        "items in both lists": _number(one.overlap, ".1%"),
        "rank correlation of those": _number(one.rank_correlation, "+.2f"),
        **{f"{name} that made the difference": _movers(rows) for name, rows in _where(one).items() if rows},
        **({"items that win unusually often": _outlying(one)} if one.outlying_items else {}),
        **({"noise": one.noise} if one.noise else {}),
        "missing pairs": f"{one.missing:,} ({one.missing_share:.2%})",
        "if the missing pairs all went to one side": wording.worst_case(one),
    }


def _activity(one: Comparison, readout: Readout) -> str:
    """Return a line per group of users by how often they came, and what the groups are."""
    primary, words = one.primary, wording.by_activity(one.activity, readout.alpha)
    if len(one.activity) == 1:
        return words
    lines = [
        f"{group.name}: {wording.figure(group.estimate, primary.null, primary.metric)}; "
        f"{group.estimate.users:,} users with {group.events}" + ("; stands out" if group.notable else "")
        for group in one.activity
    ]
    return "\n".join((*lines, words))


def _where(one: Comparison) -> dict[str, tuple[Where, ...]]:
    return {"items": one.items, "categories": one.categories, "providers": one.providers}


def _movers(rows: Sequence[Where]) -> str:
    """Return the rows with most points for either side."""
    return "; ".join(
        f"{row.title or row.name} (in list {row.side}): {100 * row.points:+.2f} points for B"
        for row in rows[:MAX_MOVERS]
    )


def _outlying(one: Comparison) -> str:
    """Return the items that win far more often than all others, with how much and over how many users."""
    return "; ".join(
        f"{item.title or item.name}: chosen in {item.chosen:.0%} of its lists, by chance {item.chance:.0%}, over "
        f"{item.users:,} users; the others stay below {item.fence:.0%}"
        for item in one.outlying_items[:MAX_MOVERS]
    )


def _state(check: Check) -> str:
    return f"{check.state} (warning only)" if check.state is CheckState.FAILED and not check.forbids else check.state


def _calibration(epoch: Epoch) -> Iterator[tuple[str, str]]:
    one = epoch.calibration
    if one:
        yield (
            "clicks on control's slates",
            f"{one.clicks:,} of {one.slates:,} slates clicked, {one.pending:,} pending",
        )
        yield (
            "simulated users on real clicks",
            "; ".join(skill.words for skill in wording.skills(epoch)) or wording.no_skill(epoch),
        )
        for figure in one.figures:
            yield figure.name.replace("_", " "), f"{figure.value:.3f} ({wording.agreement(figure)}; valid at one look)"
    else:
        yield "simulated users on real clicks", wording.no_skill(epoch)


def _words(effect: Effect) -> str:
    name = effect.metric.replace("_", " ")
    return name if effect.null else f"{name}, candidate - control"


def _closed(one: Comparison) -> str:
    closed, primary = one.closed, one.primary
    assert closed is not None
    figure = wording.figure(closed, primary.null, primary.metric)
    return f"{figure} over {closed.users:,} users; valid for any number of users"


def _effect(effect: Effect) -> str:
    """Return an effect with its change in per cent where it is of real clicks."""
    return wording.real_change(effect) or wording.told(effect)


def _row_name(effect: Effect) -> str:
    return f"{_words(effect)}, {'all users' if effect.estimand == stats.ESTIMAND else effect.estimand}"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _plain(text: str) -> Text:
    """Return text from outside without markup or control characters, which a terminal would obey."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text))
