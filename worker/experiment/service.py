"""The commands of `mirrorstream experiment`: fill a state from the topics, and report from it."""

import logging
import signal
import sqlite3
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from threading import Event, Thread

from worker.core.errors import BadSettings, Fatal
from worker.core.pseudonyms import pseudonym
from worker.core.records import MAX_ID, Message, Record
from worker.experiment.definition import DRAFT, Definition, as_record, check_known, load
from worker.experiment.ingest import Records, Topics, catch_up, keep_up, outcome_fields
from worker.experiment.publish_readouts import ReadoutPublisher
from worker.experiment.readout import Report
from worker.experiment.report import assemble, compare_configurations
from worker.experiment.report.assemble import Defaults, is_placebo
from worker.experiment.report.compare_configurations import ConfigurationComparison
from worker.experiment.report.readout_record import record
from worker.experiment.store import tables
from worker.experiment.store.database import State
from worker.experiment.webhook.deliveries import Deliveries
from worker.experiment.webhook.watch import Post, VerdictWatch
from worker.kafka import admin, registry
from worker.kafka.follower import Following, Reached
from worker.settings import mappings, secret_files
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

MAX_SHOWN = 40  # characters of an id that no user has
LEAST_S, REST = 1.0, 9.0  # between two reports: at least so long, and so many times what the last one took


@dataclass(frozen=True, slots=True)
class Options:
    """Options that the commands share."""

    definitions: tuple[Definition, ...] = ()
    definitions_topic: str = ""
    outcomes_topic: str = ""
    state: Path | None = None  # None: in memory, read anew each time
    include_test: bool = False
    defaults: Defaults = field(default_factory=Defaults)
    defined_at: int | None = None  # when `definitions` were given, microseconds; None: now, or when the state took them


def report(settings: KafkaClientSettings, options: Options, *, experiment: str | None) -> Report:
    """Read the topics to their ends, from the positions of the state on, and report.

    Raises `Retryable`, `Fatal`; `BadSettings` for an experiment that nothing was read of.
    """
    with closing(_state(options)) as state, _following(settings, options, state) as following:
        catch_up(following, _records(settings, options, state))
        if experiment is not None:
            check_known(experiment, (one for one in state.experiments() if not is_placebo(one)))
        return assemble.report(state, options.defaults, experiment=experiment)


def compare(
    settings: KafkaClientSettings, options: Options, experiment: str, fingerprints: tuple[str, str]
) -> list[ConfigurationComparison]:
    """Read as `report` does, and compare two configurations on the events that both answered."""
    with closing(_state(options)) as state, _following(settings, options, state) as following:
        catch_up(following, _records(settings, options, state))
        check_known(experiment, (one for one in state.experiments() if not is_placebo(one)))
        rule = options.defaults
        return compare_configurations.compare(
            state.db, experiment, fingerprints, alpha=rule.alpha, planned_users=rule.planned_users
        )


def define(settings: KafkaClientSettings, path: Path, *, topic: str) -> Definition:
    """Publish the definition of a file to the definitions topic.  Raises `BadSettings` with all its problems."""
    definition = load(path)
    _publish(settings, topic, "ExperimentDefinition", {definition.experiment_id: as_record(definition)})
    return definition


def publish(settings: KafkaClientSettings, found: Report, *, topic: str) -> None:
    """Publish the readout of each experiment that has an id."""
    now = time.time_ns() // 1_000
    records = {one.experiment_id: record(one, produced_at=now) for one in found.readouts if one.experiment_id}
    _publish(settings, topic, "ExperimentReadout", records)


def rebuild(settings: KafkaClientSettings, options: Options) -> Report:
    """Empty a state, of any version, and read the topics again; definitions and forgotten users are kept."""
    if options.state and options.state.exists():
        tables.start_over(options.state)
    with closing(_state(options)) as state:
        state.reset()
    return report(settings, options, experiment=None)


def forget(options: Options, user_id: str, *, pseudonym_key_file: Path | None = None) -> int:
    """Delete a user from the state, also by the pseudonym; return the number of answers that were deleted.

    Raises `BadSettings` for an id that no user can have: to say that it is forgotten would be untrue of who was meant.
    """
    if not 1 <= len(user_id) <= MAX_ID or any(unicodedata.category(sign) == "Cs" for sign in user_id):
        shown = ascii(user_id[:MAX_SHOWN])
        raise BadSettings(f"USER: {shown}: no user has such an id; want 1 to {MAX_ID} characters of UTF-8")
    key = secret_files.pseudonym_key(pseudonym_key_file)
    if options.state is None or not options.state.exists():
        raise BadSettings(f"--state {options.state}: want the file that a reader keeps")
    with closing(_state(options)) as state:
        names = [user_id] if key is None else [user_id, pseudonym(key, user_id)]
        return sum(state.forget(name) for name in names)


class Live:
    """The report of a state that another connection writes; computed again after a change, at a limited rate."""

    def __init__(self, state: State, defaults: Defaults) -> None:
        """Report from `state`, a connection that nothing else uses."""
        self._state, self._defaults = state, defaults
        self._version, self._report = -1, Report(())
        self._made_s, self._took_s = -inf, 0.0

    @property
    def db(self) -> sqlite3.Connection:
        """The connection of the state."""
        return self._state.db

    def version(self) -> int:
        """Return the version of what `report` would return."""
        rested = time.monotonic() - self._made_s >= max(LEAST_S, REST * self._took_s)
        return self._state.version if rested else self._version

    def report(self) -> Report:
        """Return the latest report; it may lag behind the state by the rate limit."""
        version = self.version()
        if version != self._version:
            start_s = time.monotonic()
            self._version, self._report = version, assemble.report(self._state, self._defaults)
            self._made_s = time.monotonic()
            self._took_s = self._made_s - start_s
        return self._report


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where changed verdicts are told, and the counts of that."""

    sender: Post
    counts: Deliveries = field(default_factory=Deliveries)


@dataclass(frozen=True, slots=True)
class Readouts:
    """Where readouts are published while a page is served, and the counts of that."""

    topic: str
    interval_s: float  # between two of one experiment whose verdicts are the same
    counts: Deliveries = field(default_factory=Deliveries)


@contextmanager
def live(
    settings: KafkaClientSettings, options: Options, webhook: Webhook | None = None, readouts: Readouts | None = None
) -> Iterator[Live]:
    """Update a state in a background thread while a page is served from it; send changes to a webhook, and publish.

    If the reader fails, it interrupts the main thread and its error is raised here: a page that is no longer updated
    would look current.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mirrorstream-"))
        options = replace(options, state=options.state or Path(folder) / "state.db")
        state = stack.enter_context(closing(_state(options)))
        following = stack.enter_context(_following(settings, options, state))
        reader = _ReaderThread(following, _records(settings, options, state))
        stack.callback(reader.end)
        reader.start()
        opened = partial(_opened, options.state, options.defaults)
        if readouts is not None:
            send = partial(_publish, settings, readouts.topic, "ExperimentReadout")
            publisher = ReadoutPublisher(
                opened, send, readouts.topic,
                interval_s=readouts.interval_s, counts=readouts.counts, is_ready=reader.caught_up,
            )  # fmt: skip
            stack.callback(publisher.end)
            publisher.start()
        if webhook is not None:
            watch = VerdictWatch(opened, webhook.sender, webhook.counts, reader.caught_up)
            stack.callback(watch.end)
            watch.start()
        yield stack.enter_context(_opened(options.state, options.defaults))


@contextmanager
def _opened(path: Path | None, defaults: Defaults) -> Iterator[Live]:
    """Open a connection to a state, for one thread."""
    with closing(State(path)) as state:
        yield Live(state, defaults)


class _ReaderThread(Thread):
    """Reads the topics in the background."""

    def __init__(self, following: Following, records: Records) -> None:
        super().__init__(name="experiment-reader", daemon=True)
        self._following, self._records = following, records
        self._stop_asked = Event()
        self.caught_up = Event()  # all topics were read to their end once
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            keep_up(self._following, self._records, self._stop_asked, self.caught_up)
        except Exception as error:  # noqa: BLE001 - whatever it is, `end` raises it
            self._error = error
            signal.raise_signal(signal.SIGINT)

    def end(self) -> None:
        self._stop_asked.set()
        self.join()
        if self._error is not None:
            raise self._error


def _publish(settings: KafkaClientSettings, topic: str, name: str, records: Mapping[str, object]) -> None:
    admin.num_partitions(settings, topic)
    encoder = registry.encoder(settings.schema_registry_url, settings.registry_access, topic, name)
    publisher = admin.Publisher(settings)
    for key, one in records.items():
        publisher.send(Message(topic, key.encode(), encoder.encode(one)))
    publisher.close()


def _state(options: Options) -> State:
    state = State(options.state)
    now = time.time_ns() // 1_000 if options.defined_at is None else options.defined_at
    for definition in options.definitions:
        if definition.is_draft:
            log.warning("%s: %s", definition.experiment_id, DRAFT)
        else:
            state.define(definition, taken_at=now)
    return state


@contextmanager
def _following(settings: KafkaClientSettings, options: Options, state: State) -> Iterator[Following]:
    topics = _topics(settings, options)
    start = Reached(state.positions(), state.topic_ids())
    with closing(Following(settings, topics.names, start)) as following:
        if topics.responses in following.missing:
            raise Fatal(f"topic {topics.responses} does not exist at {settings.bootstrap_servers}: no responses yet")
        yield following


def _records(settings: KafkaClientSettings, options: Options, state: State) -> Records:
    schemas = registry.Schemas(settings.schema_registry_url, settings.registry_access)

    mapping = mappings.load(settings.outcomes_mapping) if settings.outcomes_mapping else None

    def decode(raw: Record, name: str) -> Mapping[str, object]:
        if name == "Outcome":
            return outcome_fields(raw, schemas, mapping)
        return registry.decode_now(schemas, raw, name)

    return Records(
        state,
        decode,
        _topics(settings, options),
        include_test=options.include_test,
        pseudonym_key=secret_files.pseudonym_key(settings.pseudonym_key_file),
    )


def _topics(settings: KafkaClientSettings, options: Options) -> Topics:
    return Topics(settings.output_topic, options.definitions_topic, options.outcomes_topic)
