"""What a word on the command line of `kinema serve` puts behind the server: a policy, and its gate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from kinema.card.load import card_names, load_card
from kinema.commands import policies
from kinema.data.picture import resize
from kinema.schema import ActionChunk, Policy, Question
from kinema.serve.service import Answerer, Served

if TYPE_CHECKING:
    from kinema.model.gate.gate import GatedPolicy
    from kinema.model.gate.memory import Memory
    from kinema.model.policy.act import LocalPolicy
    from kinema.model.policy.loading import Loading

T = TypeVar("T")
_CLIENTS = 256  # whose sessions are remembered
_SESSIONS = 32  # of one client


def served(artifact: str, *, gate: bool = False, threads: int = 1, loading: Loading | None = None) -> Served:
    """The policy that a word names, ready to be served. Raises KinemaError.

    gate: judge its chunks by the shipped gate, for the bodies which that knows.
    """
    factory = policies.policy_factory(artifact, loading=loading)
    if factory.target != policies.ARTIFACT_TARGET:
        policy = factory.build()
        answering = policy if hasattr(policy, "answer") else OneByOne(policy)
        cards = getattr(policy, "cards", None) or {name: load_card(name) for name in card_names()}
        return Served(name=artifact, cards=cards, policy=answering)

    from kinema.data.sample import prompt_tokens
    from kinema.model.policy.act import LocalPolicy

    local = LocalPolicy(**factory.arguments, threads=threads)
    folder = local.artifact.folder

    @lru_cache(maxsize=4096)
    def check_instruction(card: str, instruction: str) -> None:
        made = local.artifact
        prompt_tokens(made.tokenizer, made.codec(card).card, instruction, made.policy.config.decoder.horizon)

    return Served(
        name=folder.name,
        cards={name: codec.card for name, codec in local.artifact.codecs.items()},
        policy=_gated(local) if gate else local,
        provenance=local.artifact.provenance,
        check_instruction=check_instruction,
    )


def _gated(policy: LocalPolicy) -> Answerer:
    folder = policies.gate_folder()
    if folder is None:
        return policy
    from kinema.model.gate.gate import Gate, GatedPolicy

    return GatedSessions(GatedPolicy(policy, Gate(folder, device=policy.loading.device)))


class OneByOne:
    """A policy that answers one observation at a time, asked by the batch."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        chunks = []
        for question in questions:
            self._policy.reset(question.noise_seed)
            chunks.append(self._policy.infer(question.observation, question.card, question.committed))
        return chunks


class GatedSessions:
    """A gated policy for many sessions at once; of each the gate remembers what it saw and the way it came.

    A session is `client/session`: who opens many forgets its own, never another's.

    Bodies that the gate does not know are answered without a verdict, as on this machine (`kinema run`).
    """

    def __init__(self, gated: GatedPolicy) -> None:
        self._gated = gated
        self._clients: OrderedDict[str, OrderedDict[str, Memory]] = OrderedDict()

    def answer(self, questions: Sequence[Question]) -> list[ActionChunk]:
        known = [question.card in self._gated.gate.bodies for question in questions]
        judged = iter(self._judged([q for q, knows in zip(questions, known) if knows]))
        others = [q for q, knows in zip(questions, known) if not knows]
        plain = iter(self._gated.policy.answer(others) if others else [])
        return [next(judged if knows else plain) for knows in known]

    def _judged(self, questions: Sequence[Question]) -> list[ActionChunk]:
        if not questions:
            return []
        proposals = self._gated.policy.propose(questions, self._gated.candidates)
        return [self._decided(question, chunks) for question, chunks in zip(questions, proposals)]

    def _decided(self, question: Question, chunks: list[ActionChunk]) -> ActionChunk:
        """By what the session remembers, where there is one; this question is remembered for the next."""
        if not question.session:
            return self._gated.pick(question.observation, chunks)
        memory = self._memory(f"{question.session} {question.card}")
        # As small as the gate will look at it: what a client sent may be a hundred times larger.
        image = next(iter(question.observation.images.values()))
        small = resize(image, self._gated.gate.artifact.model.config.image_size)
        earlier = memory.see(question.observation, small)
        return self._gated.decide(question.observation, chunks, memory, earlier)

    def _memory(self, whose: str) -> Memory:
        from kinema.model.gate.memory import Memory

        client = whose.partition("/")[0]
        sessions = _newest(self._clients, client, OrderedDict, _CLIENTS)
        return _newest(sessions, whose, Memory, _SESSIONS)


def _newest(kept: OrderedDict[str, T], name: str, make: Callable[[], T], most: int) -> T:
    """What is kept under a name, made where there was nothing; the oldest gives way."""
    found = kept.pop(name, None)
    kept[name] = made = make() if found is None else found
    while len(kept) > most:
        kept.popitem(last=False)
    return made
