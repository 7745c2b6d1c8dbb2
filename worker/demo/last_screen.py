"""What the demo says at its end: three sentences on what was seen, two commands to go on with, and what is not shown.

`summary` is the same for programs: names and numbers.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.demo.independent_count import QUESTIONS
from worker.demo.traffic import Tally
from worker.experiment import wording
from worker.experiment.readout import Comparison, Readout, Report
from worker.experiment.statistics.confidence import Verdict

MAX_REASON_CHARS = 160  # of a rationale: one line of a terminal and a half
NOT_PROVEN = "not proven on the embedded broker"
PROVEN = "exactly once for readers with isolation.level=read_committed"
README = "README.md"


def lines(tally: Tally, report: Report, bootstrap: str | None) -> list[str]:
    """Return the last screen, a line each; the first three are what was seen."""
    return [
        verdict(report),
        counted(tally),
        example(tally),
        "",
        "Next:",
        *(f"  {own_command()} {words}" for words in next_commands(bootstrap)),
        "",
        *cannot_tell(bootstrap),
    ]


def next_commands(bootstrap: str | None) -> list[str]:
    """Return two commands to go on with, and what each is for."""
    if bootstrap is None:
        return [
            "demo --bootstrap HOST:PORT   # the same on your own Kafka",
            "check --bootstrap HOST:PORT  # what is still missing for your own impressions",
        ]
    return [
        f"check --bootstrap {bootstrap}           # what is still missing for your own impressions",
        f"topics create --bootstrap {bootstrap}   # the topics that they need",
    ]


def verdict(report: Report) -> str:
    """Return which list simulated users prefer, with the interval that decides."""
    if not report.readouts or not report.readouts[0].current.comparisons:
        return "Nothing can be said about the two lists: no event has an answer for both."
    readout = report.readouts[0]
    return _verdict(readout, readout.current.comparisons[0])


def _verdict(readout: Readout, one: Comparison) -> str:
    overall = one.primary.overall
    if overall.value is None or overall.interval is None:
        return f"Which of two lists simulated users prefer is {overall.withheld}."
    share, _, ends = wording.told(one.primary).rstrip(")").partition(" (")
    sure = f"{wording.level(readout.alpha)} interval {ends}; {wording.tie(one.primary.null)} is a tie"
    seen = f"{overall.users:,} simulated users compared two lists of films"
    margin = f"{readout.definition.margin:g}" if readout.definition and readout.definition.margin else "the margin"
    said = {
        Verdict.CANDIDATE_PREFERRED: "they prefer the candidate's list to control's",
        Verdict.CONTROL_PREFERRED: "they prefer control's list to the candidate's",
        Verdict.NO_DIFFERENCE: f"the lists differ by less than {margin}",
        Verdict.KEEP_RUNNING: "no preference is shown yet",
        Verdict.DO_NOT_TRUST: "but a check failed, so do not trust it (the page says which)",
    }[one.verdict]
    return f"{seen}: {said} (of their choices {share} went to the candidate's list, {sure})."


def counted(tally: Tally) -> str:
    """Return whether every answer came exactly once."""
    count, wanted = tally.count, QUESTIONS * (tally.count.sent + tally.count.unsent)
    speed = f"the first after {tally.first_s:.0f} s, then {events_per_s(tally):.1f} events a second"
    empty = sum(answer.missing for answer in tally.answers)  # came in time to say that there is no answer
    if not (count.missing or count.duplicates or tally.dead_letters or empty):
        return f"Each of {wanted:,} questions about {count.sent:,} events was answered exactly once, {speed}."
    troubles = {
        "missing": count.missing, "too many": count.duplicates, "without a choice": empty,
        "dead-lettered events": tally.dead_letters,
    }  # fmt: skip
    told = ", ".join(f"{number:,} {name}" for name, number in troubles.items() if number)
    return f"Of {wanted:,} answers {wanted - count.missing:,} came: {told}; {speed}."


def example(tally: Tally) -> str:
    """Return the last answer: who chose what, and the model's rationale."""
    response = tally.count.last
    if not response or response["choice"] is None:
        return "The last user asked chose nothing."
    chosen = tally.name(response["options"][response["choice"]]["item_id"])
    others = len(response["options"]) - 1
    told = f"One of them, {response['user_id']}, chose {chosen} over {others} other{'s' if others != 1 else ''}"
    words = next((said for draw in response["draws"] if (said := _said(draw))), "")
    return f"{told}, in the model's words: \u201c{words}\u201d" if words else f"{told}; this engine gives no reasons."


def cannot_tell(bootstrap: str | None) -> list[str]:
    """Return what is not shown, in two lines, and where to read more."""
    delivery = "the embedded broker proves nothing about delivery" if bootstrap is None else f"delivery is {PROVEN}"
    return [
        f"What this does not show: what real users would choose; {delivery}.",
        f"More: {README}, and \u201cWhat these figures do not show\u201d at the end of the page.",
    ]


def summary(tally: Tally, bootstrap: str | None) -> dict[str, object]:
    """Return what was counted, by name."""
    return {
        "consumed": tally.consumed,
        "responses": sum(tally.count.seen.values()),
        "dead_letters": tally.dead_letters,
        "missing": tally.count.missing,
        "duplicates": tally.count.duplicates,
        "events_per_s": round(events_per_s(tally), 1),
        "first_response_s": round(tally.first_s, 1),
        "engine": tally.engine,
        "broker": bootstrap or "embedded",
        "guarantee": PROVEN if bootstrap else NOT_PROVEN,
    }


def events_per_s(tally: Tally) -> float:
    """Return how many events were answered a second, from the first answer to the last."""
    seconds = tally.last_s - tally.started_s - tally.first_s
    return tally.consumed / seconds if tally.first_s and seconds > 0 else 0.0


def no_answer(engine: str, waited_s: float) -> str:
    """Return that no answer came, likely reasons, and what to do."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    busy = f"{load:.0f} programs want {cores} cores" if load > 2 * cores else f"load {load:.1f} on {cores} cores"
    quick = (
        "make demo ENGINE=choice-model" if "MAKELEVEL" in os.environ else own_command() + " demo --engine choice-model"
    )
    instead = f", or take the quick look without vLLM: {quick}" if engine != "choice-model" else ""
    return f"No answer after {waited_s:.0f} s ({busy}). Close other programs{instead}."


def own_command() -> str:
    """Return how this command was called, for lines that one can copy."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "mirrorstream" else "mirrorstream"


def process_age_s() -> float:
    """Return how long ago this process was started, so that its imports count; in steps of 10 ms."""
    started_ticks = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]  # since boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(started_ticks) / os.sysconf("SC_CLK_TCK")


def _said(draw: Mapping[str, Any]) -> str:
    """Return the sentences of a rationale without their labels, in one line and cut to its length; "" without one."""
    sections = draw["rationale"] or {}
    sentences = [sections[name] for name in ("stimulus", "knowledge", "evaluation") if sections.get(name)]
    one_line = " ".join((" ".join(sentences) or draw["text"] or "").split())
    return one_line if len(one_line) <= MAX_REASON_CHARS else f"{one_line[:MAX_REASON_CHARS].rsplit(' ', 1)[0]} ..."
