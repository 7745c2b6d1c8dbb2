"""vLLM somewhere else: one or more `vllm serve MODEL` over HTTP, for fleets where GPUs are served apart from workers.

Prompts are tokenised here and sent as token ids; the letters' probabilities come back by token id, as exact as from
vLLM in this process, and `letter_mass` is what they have of all tokens.  There is no second-best way to read them: a
server that cannot tell them is not asked, since letters cut off by a top-k would look impossible.  A draw takes two
passes: one would need a stop string for each letter, and a server takes no more than four.

A server is used only after a look: it serves the model under the name that we have for it, with room for our prompts,
and has our letters at our token ids.  Provenance tells what folder or name it says it loaded (`served_from`).  Which
revision, which data type and which quantisation run there, it does not tell: `revision` is what the tokenizer is loaded
with here, and what provenance then claims.
"""

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from os import getpid
from pathlib import Path
from socket import gethostname
from typing import Any

from worker.core.errors import BadSettings, EngineDead, Fatal, Retryable, Withdrawn
from worker.core.prompts.prompt import Profile, letter
from worker.core.resilience.spare_seats import HighMarks
from worker.core.service_requests import ServerWatch, Unwatched
from worker.core.simulation.draws import Ask, Drawn, EngineCard
from worker.core.simulation.questions import MAX_OPTIONS
from worker.engines.passes import Passes, mass_of
from worker.engines.prompted_engine import PromptedEngine, sampling
from worker.engines.remote import completions_api
from worker.engines.remote.client import Server, Unanswered
from worker.engines.remote.fleet import Fleet
from worker.settings import prompt_profiles
from worker.settings.groups import PromptedEngineSettings
from worker.system.daemon_thread import in_thread

log = logging.getLogger(__name__)

SELF_TEST_S = 30.0  # on one server; the first use of letter probabilities costs seconds
_TOKEN = re.compile(r"[ -~]*")  # what a header can carry, and an operator can read
LETTERS = frozenset(letter(slot) for slot in range(MAX_OPTIONS))


def make(settings: PromptedEngineSettings) -> "VllmServerEngine":
    """Return the engine of these settings, not started."""
    return VllmServerEngine(settings, prompt_profiles.load(settings.prompt_profile))


class VllmServerEngine(PromptedEngine):
    """The engine; one event loop for each of its lives."""

    def __init__(self, settings: PromptedEngineSettings, profile: Profile) -> None:
        """Store the settings; no server is asked before `start`."""
        super().__init__(settings, profile)
        self._fleet: Fleet | None = None
        self._counts: ServerWatch = Unwatched()
        self._max_model_len = 0  # what every server must have room for, once that is known
        self._served: dict[str, int | None] = {}  # longest sequence by server
        self.card = EngineCard(
            engine="vllm-server",
            engine_version="unknown",
            model=settings.model,
            revision=settings.revision,
            sampling=sampling(settings, profile),
            reads_prompt=True,
        )

    def watch_servers(self, watch: ServerWatch) -> None:
        """Have requests to the servers counted; to be called before `start`."""
        self._counts = watch

    @property
    def why_not(self) -> dict[str, str]:
        """Why each server is not asked, "" if it is."""
        return self._fleet.why_not if self._fleet else {}

    async def start(self) -> None:
        """Load the tokenizer, look at all servers, test both passes.  Raises `Fatal`, `Retryable` if none answers."""
        self._tokens = await in_thread(self._load_tokens)
        self._passes = Passes(self._settings, self._profile, self._tokens, completions_api.params, None)
        token = _token(self._settings.server_auth_file)
        self._max_model_len = 0
        servers = [Server(url, token) for url in dict.fromkeys(self._settings.server_urls)]
        self._fleet = Fleet(servers, self._look, self._counts)
        if self._settings.server_sharing == "shared":
            self._share(self._fleet)
        try:
            await self._fleet.open()
            await self._introduce(self._fleet.up)
            await self._test()
        except (ValueError, RuntimeError) as error:
            await self.stop()
            raise Fatal(f"the servers failed at the self-test: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close all connections; the servers abort what they were asked."""
        fleet, self._fleet = self._fleet, None
        if fleet is not None:
            await fleet.close()

    def on_step(self, hear: Callable[[int, int], None]) -> None:
        """Know nothing of the servers' queues."""

    async def probe(self) -> None:
        """Have a token from each server.  Raises `Retryable` if none gives one."""
        await self._alive().probe()

    @asynccontextmanager
    async def admitted(self, ask: Ask) -> AsyncIterator[None]:
        """Enclose a draw: wait, however long, until a server that others use too has room for it."""
        async with self._alive().seat(ask):
            yield

    async def draw(self, ask: Ask) -> Drawn:
        """Answer one draw, `admitted` or not yet; what servers did to it is known until it has an answer.

        Raises `Withdrawn` if it was admitted before, and its server is left to others now; else it waits again here.
        """
        is_admitted = self._alive().has_seat(ask)
        while True:
            try:
                async with self.admitted(ask):
                    drawn = await super().draw(ask)
                break
            except Withdrawn:
                if is_admitted:
                    raise
        if self._fleet is not None:
            self._fleet.forget(ask.ask_id)
        return drawn

    async def _send(self, ask: Ask, ids: Sequence[int], params: Any, trace: Mapping[str, str]) -> Any:
        return await self._ask(ask.ask_id, ask.impression.user.user_id, ids, params, trace)

    async def _run(self, ids: Sequence[int], params: Any, trace: Mapping[str, str], *, priority: int = 0) -> Any:
        del priority  # of ours among each other; `server_priority` is that of all of ours against others
        return await self._ask("self-test", "", ids, params, trace)

    async def _ask(
        self, name: str, user_id: str, ids: Sequence[int], params: Mapping[str, Any], trace: Mapping[str, str]
    ) -> Any:
        body = {**params, "model": self._settings.model, "prompt": list(ids), **self._priority()}
        return completions_api.output(ids, await self._alive().ask(name, user_id, body, trace))

    def _share(self, fleet: Fleet) -> None:
        ours = self._settings
        limit = math.inf if ours.server_max_token_s is None else ours.server_max_token_s
        marks = HighMarks(waiting=ours.server_max_waiting, kv_usage=ours.server_max_kv_usage, token_s=limit)
        # Workers differ in their chance: those that yield together return one after the other.
        fleet.share(marks, most=ours.max_num_seqs, seed=f"{gethostname()} {getpid()}")

    def _priority(self) -> dict[str, int]:
        """Return the field of the body, none if it is not set: most servers refuse it."""
        priority = self._settings.server_priority
        return {} if priority is None else {"priority": priority}

    def _alive(self) -> Fleet:
        if self._fleet is None:
            raise EngineDead("no server is asked any more")
        return self._fleet

    # -- starting

    async def _test(self) -> None:
        """Test both passes, again on another server where one says nothing.  Raises `Retryable` if neither answers."""
        for _ in range(2):
            with suppress(TimeoutError):
                async with asyncio.timeout(SELF_TEST_S):
                    return await self._self_test()
        raise Retryable(f"the servers give no answer to the self-test within {SELF_TEST_S:.0f} s")

    async def _introduce(self, servers: Sequence[Server]) -> None:
        """Fill in the card: versions, and room for what every server that is there can take."""
        lengths = [length for server in servers if (length := self._served.get(server.url))]
        self._max_model_len = min([self._settings.max_model_len, *lengths])
        versions = sorted(set(await asyncio.gather(*(server.version() for server in servers))))
        if len(versions) > 1:
            log.warning("servers of different versions: %s", ", ".join(versions))
        self.card = replace(
            self.card,
            engine_version=", ".join(versions),
            max_prompt_tokens=self._room(self._max_model_len),
            runs=self._loaded(servers),
        )

    def _loaded(self, servers: Sequence[Server]) -> dict[str, str]:
        """Return what the servers say they loaded under our model's name, for provenance; they tell no data types."""
        model = self._settings.model
        found = sorted({root for server in servers if (root := server.loaded.get(model, model)) != model})
        if found:
            log.info("model %s is served from %s, as the servers say", model, ", ".join(found))
        return {"served_from": ", ".join(found)} if found else {}

    # -- looking

    async def _look(self, server: Server) -> None:
        """See that a server is the one wanted.  Raises `Fatal` if it is not, `Unanswered` if it cannot say now."""
        served = await server.models()
        if not served:  # a gateway whose own servers are not there yet
            raise Unanswered("serves no model", begun=False)
        model = self._settings.model
        if model not in served:
            others = server.told(", ".join(served))
            aliases = sorted(name for name in served if server.loaded.get(name) == model)
            hint = (
                f"it serves {model} under another name: set model={server.told(aliases[0])} and tokenizer={model}"
                if aliases
                else f"start it with --served-model-name {model}, or set model to what it serves and tokenizer=FOLDER"
            )
            raise BadSettings(f"{server.url}: serves {others}, want {model}: {hint}")
        length = self._served[server.url] = served[model]
        if length and length < self._max_model_len:
            raise BadSettings(f"{server.url}: max_model_len {length}, want {self._max_model_len} as the others have")
        await self._look_at_letters(server)

    async def _look_at_letters(self, server: Server) -> None:
        """Have all letters told by name: an older vLLM gives others, another tokenizer has them at other ids."""
        body = {
            **self._passes.letters(MAX_OPTIONS),
            "model": self._settings.model,
            "prompt": list(self._probe_ids()),
            "return_tokens_as_token_ids": False,
            **self._priority(),
        }
        try:
            logprobs = (await server.complete(body, {})).choices[0].logprobs
        except ValueError as error:
            if "priority" in str(error).lower() and self._priority():
                raise BadSettings(
                    f"{server.url}: refuses server_priority {self._settings.server_priority}: {error}; start it with"
                    " --scheduling-policy priority, or leave server_priority unset"
                ) from error
            raise Fatal(f"{server.url}: refuses letter probabilities: {error}; want vLLM 0.32 or newer") from error
        told = next(iter(logprobs.top_logprobs), None) if logprobs else None
        if missing := sorted(LETTERS - {name.strip() for name in told or ()}):
            raise Fatal(
                f"{server.url}: tells no probability of {' '.join(missing)} at our token ids; want vLLM 0.32 or newer,"
                f" with the tokenizer of {self._settings.model}"
            )
        try:
            mass_of(list((told or {}).values()))
        except ValueError as error:  # as with --logprobs-mode raw_logits
            raise Unanswered(f"tells letter probabilities that are none: {error}", begun=False) from error


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        token = path.read_text(encoding="latin-1").strip()
    except OSError as error:
        message = f"server_auth_file: {path}: {error.strerror}; want a file with the bearer token"
        raise BadSettings(message) from error
    if not _TOKEN.fullmatch(token):
        message = f"server_auth_file: {path}: not one line of printable ASCII; want a file with the bearer token"
        raise BadSettings(message)
    return token
