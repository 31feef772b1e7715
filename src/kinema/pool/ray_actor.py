"""A pool's worker on a node of Ray: what runs there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kinema.card.card import EmbodimentCard
from kinema.pool.parcel import cache_folder, content_digest, unpack
from kinema.pool.work import Done, Failed, Ready, Unfit, Work, Worker, answer, begin
from kinema.schema import KinemaError
from kinema.versions import package_versions, source_digest


@dataclass(frozen=True)
class Sent:
    """A file or folder that lies at `path` where the pool is. content: Ray's reference to what it holds"""

    path: str
    digest: str
    content: Any

    def here(self) -> str:
        """Where it lies on this node: at the same path, if the same lies there, else in the cache."""
        if content_digest(Path(self.path)) == self.digest:
            return self.path
        cache, name = cache_folder(), Path(self.path).name
        held = (cache / self.digest / name).exists()
        content = {} if held else import_module("ray").get(self.content)
        return str(unpack(content, self.digest, name, cache))


class Actor:
    """One worker. environment: variables that libraries read when they are imported"""

    def __init__(self, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._worker: Worker[Any, Any] | None = None

    def versions(self) -> dict[str, str]:
        """Of everything here that can change a result."""
        return {**package_versions(), "kinema's source": source_digest()[:12]}

    def begin(
        self, work: Work[Any, Any], cards: tuple[EmbodimentCard, ...], sent: Mapping[str, Sent]
    ) -> Ready | Unfit:
        try:
            places = {path: one.here() for path, one in sent.items()}
        except (KinemaError, OSError) as error:
            return Unfit(str(error))
        self._worker, word = begin(work.moved(places), cards)
        return word

    def do(self, item: Any) -> Done | Failed:
        assert self._worker is not None
        return answer(self._worker, item)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
