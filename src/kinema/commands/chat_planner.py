"""A planner behind any OpenAI-compatible chat endpoint. Its answer is read strictly.

Nothing of it is obeyed that the policy cannot act on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from kinema.data.chat import Chat, ChatEndpoint, UnansweredError, json_in
from kinema.runtime.long_task import Tried
from kinema.schema import KinemaError
from kinema.worlds.tabletop.long.words import canonical

KEY_VARIABLE = "KINEMA_PLANNER_KEY"
MOST_STEPS = 16
_ROUNDS = 2  # of asking, the second with what was wrong with the first answer
_MOST_CHARACTERS = 200  # of one step
_TOLD_TRIES = 20  # the latest
_ASK = """You plan for a robot arm at a table. It is told: {goal}
It sees: {seen}.
What it has tried so far, in order: {tried}.
It understands only sentences of these forms, with the names of things that it sees:
put the <color> block in the <color> bowl; put the <color> block on the <color> plate; put the <color> \
block in the box; stack the <color> block on the <color> block; press the <color> button
Answer with one JSON object {{"steps": [...]}}: the sentences that are still to be done, in order, at most \
{most}; an empty list when nothing can be done. To stack several blocks, stack the second on the first, then \
the third on the second.{wish}"""


class ChatPlanner:
    """Asks an endpoint for the steps. Its errors name the endpoint.

    url: the base of the API, such as http://localhost:8000/v1; the key comes from KINEMA_PLANNER_KEY
    """

    def __init__(self, url: str, model: str, timeout_s: float = 30.0, tries: int = 2) -> None:
        self._endpoint = ChatEndpoint(
            url=url, model=model, key=os.environ.get(KEY_VARIABLE, ""), timeout_s=timeout_s, tries=tries,
            max_tokens=600, max_bytes=100_000, max_answer_bytes=200_000,
        )  # fmt: skip
        self._chat = Chat(self._endpoint)

    def plan(self, goal: str, seen: Sequence[str], tried: Sequence[Tried]) -> Sequence[str]:
        """The steps from now on. Raises UnansweredError."""
        told = [f"{one.step}: {'done' if one.done else 'not done'}" for one in tried[-_TOLD_TRIES:]]
        fault = ""
        for _ in range(_ROUNDS):
            wish = f"\nAn earlier answer was refused: {fault[:400]}." if fault else ""
            text = _ASK.format(
                goal=goal, seen=", ".join(seen) or "nothing that it knows", most=MOST_STEPS,
                tried="; ".join(told) or "nothing", wish=wish,
            )  # fmt: skip
            try:
                return steps_in(self._chat.complete(text, temperature=0.0))
            except UnansweredError as error:
                raise UnansweredError(f"the planner at {self._endpoint.url}: {error}") from None
            except KinemaError as error:
                fault = str(error)
        raise UnansweredError(f"the planner at {self._endpoint.url} gave no plan: {fault}")


def steps_in(answer: str) -> tuple[str, ...]:
    """The steps of an answer, in the policy's words. Raises KinemaError naming what is wrong with it."""
    try:
        found = json_in(answer)
    except ValueError as error:
        raise KinemaError(str(error)) from None
    steps = found.get("steps")
    if set(found) != {"steps"} or not isinstance(steps, list):
        raise KinemaError(
            f'the answer must be {{"steps": [...]}} and no more; its keys are {list(found)[:5]}'
        )
    if len(steps) > MOST_STEPS:
        raise KinemaError(f"the answer has {len(steps)} steps; at most {MOST_STEPS} are taken")
    return tuple(map(_step, steps))


def _step(step: object) -> str:
    if not isinstance(step, str) or len(step) > _MOST_CHARACTERS:
        raise KinemaError(
            f"a step must be a sentence of at most {_MOST_CHARACTERS} characters: {str(step)[:80]!r}"
        )
    try:
        return canonical(step)
    except KinemaError as error:
        raise KinemaError(
            f"the policy cannot act on the step {step!r}: {str(error).splitlines()[0]}"
        ) from None
