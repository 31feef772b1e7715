"""Captions of videos by any OpenAI-compatible vision endpoint, given by its URL; nothing is sent without one.

A clip is shown as a few pictures; the model answers with five layers as JSON; a second question lets it judge
them against the pictures, and a bad judgement is handed back with a request to do better, a few times.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from kinema.data.captions import LAYERS
from kinema.data.chat import Chat, ChatEndpoint, UnansweredError, json_in
from kinema.schema import KinemaError

KEY_VARIABLE = "KINEMA_VISION_KEY"
_LENGTHS = {"comprehensive": (50, 100), "concise": (15, 30)}
_ASK = (
    "These {count} pictures show one clip in the order of time, the views {cameras} side by side. "
    "The body is {body}; it is told: {instruction}. Describe what is seen. Answer with one JSON object that "
    "has the keys goal (what is to be done), action (how the body moves, from which view), feedback (what "
    "the things do), comprehensive (all of it in 50 to 100 words) and concise (in 15 to 30 words), all text."
)
_JUDGE = (
    "Here is a description of the clip in these pictures:\n{caption}\nDoes it agree with what is seen: "
    "objects, directions, gripper, order? Answer with one JSON object: score (0 to 10) and criticism (text)."
)


@dataclass(frozen=True, kw_only=True)
class Endpoint(ChatEndpoint):
    """A chat endpoint that sees.

    pictures: shown of a clip; picture_px: their largest side
    rounds:   of asking anew after a bad judgement
    """

    pictures: int = 8
    picture_px: int = 512
    rounds: int = 2
    good_score: float = 7.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.pictures, self.picture_px) <= 0 or self.rounds < 0:
            told = f"{self.pictures} pictures of {self.picture_px} px, {self.rounds} rounds"
            raise KinemaError(f"pictures and picture_px must be above 0, rounds not below; got {told}")

    @classmethod
    def given(cls, url: str, model: str) -> Endpoint:
        """With the key from the environment, if there is one."""
        return cls(url=url, model=model, key=os.environ.get(KEY_VARIABLE, ""))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What is shown: frames uint8 (F, H, W, 3), views side by side in the order of `cameras`."""

    frames: np.ndarray
    cameras: tuple[str, ...]
    body: str
    instruction: str


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Five layers of text, the judge's score of them, and how many answers it took."""

    layers: Mapping[str, str]
    score: float
    rounds: int


class Annotator:
    """Asks an endpoint about clips. `check` names what is wrong with the layers beyond the judge's word."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        check: Callable[[Mapping[str, str]], Sequence[str]] = lambda _: (),
        sleep: Callable[[float], None] = time.sleep,
        seed: int = 0,
    ) -> None:
        self._chat = Chat(endpoint, sleep=sleep, seed=seed)
        self._endpoint, self._check = endpoint, check

    def __enter__(self) -> Annotator:
        return self

    def __exit__(self, *_: object) -> None:
        self._chat.close()

    def describe(
        self, clip: Clip, check: Callable[[Mapping[str, str]], Sequence[str]] | None = None
    ) -> Annotation:
        """A description that the judge finds good. Raises UnansweredError saying what was wrong with all."""
        pictures = self._pictures(clip.frames)
        ask = _ASK.format(
            count=len(pictures),
            cameras=" and ".join(clip.cameras),
            body=clip.body,
            instruction=clip.instruction,
        )
        best, faults = None, ["no answer"]
        wish = ""
        for number in range(1, self._endpoint.rounds + 2):
            layers, faults = self._layers(pictures, ask + wish, check or self._check)
            score = 0.0
            if layers and not faults:
                score, criticism = self._judge(pictures, layers)
                if best is None or score > best.score:
                    best = Annotation(layers=layers, score=score, rounds=number)
                faults = [criticism or f"it scored {score:g}"]
            if score >= self._endpoint.good_score:
                return Annotation(layers=layers, score=score, rounds=number)
            wish = f"\nAn earlier answer was not good: {'; '.join(faults)[:600]}. Do better."
        if best is None:
            raise UnansweredError(
                f"no usable caption after {self._endpoint.rounds + 1} rounds: {'; '.join(faults)}"
            )
        raise UnansweredError(f"the best caption scored {best.score:g}: {'; '.join(faults)[:300]}")

    def _layers(
        self, pictures: list[str], text: str, check: Callable[[Mapping[str, str]], Sequence[str]]
    ) -> tuple[dict[str, str], list[str]]:
        """The five layers of one answer, and what is wrong with them."""
        try:
            answer = json_in(self._ask(pictures, text))
        except ValueError as error:
            return {}, [str(error)]
        lacking = [
            layer for layer in LAYERS if not isinstance(answer.get(layer), str) or not answer[layer].strip()
        ]
        if lacking:
            return {}, [f"the keys {', '.join(lacking)} are missing or no text"]
        layers = {layer: " ".join(answer[layer].split()) for layer in LAYERS}
        faults = [
            f"{layer} has {len(layers[layer].split())} words instead of {least} to {most}"
            for layer, (least, most) in _LENGTHS.items()
            if not least <= len(layers[layer].split()) <= most
        ]
        return layers, faults + list(check(layers))

    def _judge(self, pictures: list[str], layers: Mapping[str, str]) -> tuple[float, str]:
        """The score (0 to 10) and the criticism; an answer that is no judgement scores 0."""
        text = self._ask(pictures, _JUDGE.format(caption=json.dumps(layers)))
        try:
            answer = json_in(text)
        except ValueError as error:
            return 0.0, str(error)
        score = answer.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 10:
            return 0.0, f"the judge's score is {score!r}"
        return float(score), str(answer.get("criticism", ""))[:300]

    def _ask(self, pictures: list[str], text: str) -> str:
        """The answer to a text with pictures. Raises UnansweredError."""
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        content += [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        return self._chat.complete(content)

    def _pictures(self, frames: np.ndarray) -> list[str]:
        """Evenly spaced frames as data URLs, first and last among them."""
        count = min(self._endpoint.pictures, len(frames))
        urls = []
        for i in np.linspace(0, len(frames) - 1, count).round().astype(int):
            picture, data = Image.fromarray(frames[i]), io.BytesIO()
            picture.thumbnail((self._endpoint.picture_px, self._endpoint.picture_px))
            picture.save(data, "PNG")
            urls.append(f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}")
        return urls
