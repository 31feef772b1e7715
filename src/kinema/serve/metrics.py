"""What the server counts, for Prometheus. One registry per server, so that two in one process do not mix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Answers, actions, verdicts and refusals are counted; requests, batches and connections measured."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        registry = self.registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._answers = counter("kinema_answers", "Chunks answered", ["route", "card"])
        self._actions = counter("kinema_actions", "Actions in the answered chunks", ["card"])
        self._stopped = counter("kinema_verdicts_refused", "Chunks the gate refused", ["card"])
        self._refusals = counter("kinema_refusals", "Requests refused", ["route", "code"])
        self._total = histogram("kinema_request_seconds", "Question to answer", ["route"], buckets=_SECONDS)
        self._infer = histogram("kinema_infer_seconds", "One batch", buckets=_SECONDS)
        self._batch = histogram("kinema_batch_size", "Questions per batch", buckets=(1, 2, 4, 8, 16, 32, 64))
        self.connections = Gauge("kinema_connections", "Open websockets", ["route"], registry=registry)
        Gauge("kinema_waiting", "Questions waiting", registry=registry).set_function(waiting)

    def answered(self, route: str, answer: Answer, took_s: float) -> None:
        card = answer.chunk.card
        self._answers.labels(route, card).inc()
        self._actions.labels(card).inc(len(answer.chunk.values))
        if not answer.chunk.allowed:
            self._stopped.labels(card).inc()
        self._total.labels(route).observe(took_s)
        self._infer.observe(answer.infer_s)
        self._batch.observe(answer.batch)

    def refused(self, route: str, refusal: Refusal) -> None:
        self._refusals.labels(route, refusal.code).inc()
