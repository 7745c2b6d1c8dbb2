"""A worker says that it is not in its group from the loss on until it is a member again."""

from dataclasses import dataclass

from worker.kafka.membership import LOOK_S, Membership


@dataclass
class FakeConsumer:
    """In the group, by the generation that librdkafka writes into its metadata."""

    generation: int = -1

    def consumer_group_metadata(self) -> bytes:
        return b"CGMDv2:" + self.generation.to_bytes(4, "little", signed=True)


def test_nobody_is_a_member_before_the_first_generation() -> None:
    consumer = FakeConsumer()
    membership = Membership(consumer)
    for number, generation in enumerate((-1, 0)):  # not joined; joining, under KIP-848
        consumer.generation = generation
        membership.look(number * LOOK_S)
        assert "joining" in membership.why_not
    consumer.generation = 1
    membership.look(2 * LOOK_S)
    assert membership.why_not == ""


def test_who_was_lost_is_a_member_again_with_a_later_generation_or_a_share() -> None:
    consumer = FakeConsumer(7)
    membership = Membership(consumer)
    membership.look(0.0)
    membership.lost()
    membership.look(1.0)  # librdkafka keeps the old generation
    assert membership.why_not
    consumer.generation = 8
    membership.look(2.0)
    assert membership.why_not == ""
    membership.lost()
    consumer.generation = 1  # of a group that was made anew
    membership.look(3.0)
    assert membership.why_not
    membership.joined()
    membership.look(4.0)
    assert membership.why_not == ""
