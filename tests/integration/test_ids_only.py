"""Events with ids only, joined with the topics of items and users: answered once, whatever happens to either."""

from tests.support import catalogue
from tests.support.catalogue import ids_only
from tests.support.events import film
from tests.support.harness import Stage, send
from tests.support.judge import Judge

NUM_EVENTS = 60


def test_events_with_ids_alone_are_answered_with_what_the_topics_say(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=3)
    topics = catalogue.create(stage)
    catalogue.publish(stage, items=range(NUM_EVENTS + 10), users=range(NUM_EVENTS))
    send(stage, map(ids_only, range(NUM_EVENTS)))
    assert stage.run("--until-end", **topics).exit_code() == 0
    judge.verdict().assert_exactly_once()
    answers = judge.answers()
    shown = {option["item_id"]: option["attributes"]["category"] for one in answers for option in one["options"]}
    assert shown["film-7"] == film(7)["genres"]
    assert not any("enriched_later" in one["flags"] for one in answers)
    assert judge.read(stage.dead_letters) == []
