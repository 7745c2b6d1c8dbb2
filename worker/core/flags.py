"""What a reader of a response should know before using it; nothing is decided by a flag here."""

from enum import StrEnum


class Flag(StrEnum):
    """One thing to know about an answer; the values are those of the schema's `Flag`."""

    DEPTH_CUT = "depth_cut"
    """The slate is longer than `slate_depth`, or the duel than its depth; the rest was not compared."""

    HISTORY_CUT = "history_cut"
    """The user has more history than `history_limit` or the token budget allow; the reference saw 10 at most."""

    TEXT_CUT = "text_cut"
    """A text was shortened, in the prompt, or in the response for a topic that takes only smaller messages."""

    SANITISED = "sanitised"
    """A text was changed: it had HTML, invisible characters or line breaks, or looked like the prompt's structure."""

    INJECTION_SUSPECTED = "injection_suspected"
    """A text reads like an instruction to the model; leave the answer out and look at the item."""

    UNTRAINED_MODE = "untrained_mode"
    """Direct mode, for which no model here was trained; never pool it with other answers."""

    GIVEN_ORDER = "given_order"
    """Every draw shows the options in the event's own order: for evaluation; the letters' bias is not cancelled."""

    UNIFORM = "uniform"
    """protocol=reference: the prompt is longer than the reference's limit, so all options are equally probable."""

    ENRICHED_LATER = "enriched_later"
    """An item, or what is known of the user, came from a source that only knows values of after the event."""
