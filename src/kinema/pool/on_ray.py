"""Workers that are actors on Ray, each with one CPU of any node of a cluster.

Ray pickles what it carries between its processes and runs whatever its nodes are sent: a cluster is for a
network in which everybody is trusted. Nothing of it is stored by us.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kinema.card.card import EmbodimentCard
from kinema.pool.backend import DiedError, NoRoomError
from kinema.pool.parcel import content_digest, pack
from kinema.pool.ray_actor import Actor, Sent
from kinema.pool.work import THREAD_LIMITS, Done, Failed, Ready, Unfit, Work
from kinema.schema import KinemaError
from kinema.versions import differences

LOCAL = "local"
_RENDERING = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
_CONNECT_S = 5.0
_HEALTH_S = 30.0  # of which Python takes some to start, more on a busy machine
_PLACE_S = 60.0  # until a worker has a CPU and has imported what it needs
_HOME_S = 10.0  # for a worker that was sent home


class OnRay:
    """address: `local` (a cluster of this machine for this run alone) or host:port of a cluster's first node,
    to which this machine belongs. Raises KinemaError for anything else, and without Ray."""

    def __init__(self, address: str) -> None:
        if address != LOCAL and not re.fullmatch(r"[^\s:/]+:\d{1,5}", address):
            raise KinemaError(f"--ray {address!r} is no address of a cluster; choices: {LOCAL}, or host:port")
        if find_spec("ray") is None:
            raise KinemaError("--ray needs Ray; install it with: pip install 'kinema[ray]'")
        self.address = address
        self.ray: Any = None
        self.live: list[RayHandle] = []  # those that hold a CPU, or wait for one
        self.about: Mapping[str, Any] = {}

    def open(self, work: Work[Any, Any], cards: tuple[EmbodimentCard, ...], count: int) -> None:
        self.ray = self._connect(count)
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        self.about = {"ray_nodes": len(nodes)}
        if count > self.cpus():
            raise KinemaError(
                f"{count} workers need as many CPUs, and the {len(nodes)} nodes of {self.address} have "
                f"{self.cpus()}; choose --workers {self.cpus()} or fewer"
            )
        limits = dict.fromkeys(THREAD_LIMITS, "1")
        drawing = {name: os.environ[name] for name in _RENDERING if name in os.environ}
        self._actor = self.ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Actor)
        self._environment = limits | drawing
        self.versions = Actor({}).versions()
        self.work = (work, cards, {path: self._sent(path) for path in work.files()})

    def _connect(self, count: int) -> Any:
        """Join the cluster; returns the library."""
        if self.address != LOCAL:
            _check_answers(self.address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as it will be; else it warns
        ray: Any = import_module("ray")
        if ray.is_initialized():
            raise KinemaError("this process is connected to Ray already; one pool at a time")
        own = {"num_cpus": count, "include_dashboard": False} if self.address == LOCAL else {}
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", **own)
        except (Exception, SystemExit) as error:  # Ray raises many kinds, and some end the process
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise KinemaError(f"cannot join the Ray cluster {self.address}: {first[0]}") from None
        return ray

    def _sent(self, path: str) -> Sent:
        where = Path(path).absolute()
        return Sent(str(where), content_digest(where), self.ray.put(pack(where)))

    def cpus(self) -> int:
        """Of all nodes that are alive."""
        return int(self.ray.cluster_resources().get("CPU", 0))

    def start(self) -> RayHandle:
        if len(self.live) >= self.cpus():
            raise NoRoomError(f"no node of {self.address} is left that has a CPU free")
        handle = RayHandle(self, self._actor.remote(self._environment))
        self.live.append(handle)
        return handle

    def wait(self, busy: Sequence[RayHandle], timeout_s: float) -> Sequence[RayHandle]:
        ready, _ = self.ray.wait([handle.pending for handle in busy], timeout=timeout_s)
        return [handle for handle in busy if handle.pending in ready]

    def close(self) -> None:
        if self.ray is None:
            return
        if going := [handle.pending for handle in self.live]:
            self.ray.wait(going, num_returns=len(going), timeout=_HOME_S)
        for handle in list(self.live):
            handle.kill()
        self.ray.shutdown()


class RayHandle:
    """One actor. pending: Ray's reference to what it was last asked"""

    def __init__(self, cluster: OnRay, actor: Any) -> None:
        self._cluster, self._ray, self._actor = cluster, cluster.ray, actor
        self.pending = actor.versions.remote()

    def ready(self) -> Ready | Unfit:
        """Raises NoRoomError as soon as the cluster has become too small for it."""
        began = time.monotonic()
        while not self._ray.wait([self.pending], timeout=1.0)[0]:
            too_small = len(self._cluster.live) > self._cluster.cpus()
            if too_small or time.monotonic() - began > _PLACE_S:
                self.kill()
                why = "no node is left for it" if too_small else f"none came free in {_PLACE_S:g} s"
                raise NoRoomError(f"a worker needs a CPU of {self._cluster.address}: {why}")
        try:
            versions = self._ray.get(self.pending)
        except self._ray.exceptions.RayError as error:
            if "No module named" in str(error) or "has no attribute" in str(error):
                return Unfit(f"a node of {self._cluster.address} has no kinema, or another: {_reason(error)}")
            raise DiedError("the worker process died on its node") from None
        if differs := differences(self._cluster.versions, versions):
            return Unfit(
                f"a node of {self._cluster.address} has {'; '.join(differs)}, as here: "
                "the same must be installed on all"
            )
        self.pending = self._actor.begin.remote(*self._cluster.work)
        word = self._read()
        return Unfit(f"on a node of {self._cluster.address}: {word.why}") if isinstance(word, Unfit) else word

    def send(self, item: Any) -> None:
        self.pending = self._actor.do.remote(item)

    def receive(self) -> Done | Failed:
        return self._read()

    def _read(self) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(self.pending)
        except errors.RayTaskError:
            raise  # an answer that cannot travel: ours to mend
        except errors.RayError:
            raise DiedError("the worker process died on its node, or the node did") from None

    def leave(self) -> None:
        self.pending = self._actor.close.remote()

    def kill(self) -> None:
        with suppress(ValueError):
            self._cluster.live.remove(self)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)


def _check_answers(address: str) -> None:
    """Raises KinemaError within seconds where no cluster is; Ray itself would try for a minute, then exit."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise KinemaError(
            f"no cluster answers at --ray {address} ({error}); is `ray start` running?"
        ) from None
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_HEALTH_S)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise KinemaError(
            f"what listens at --ray {address} did not answer as the first node of a Ray cluster (waited up "
            f"to {_HEALTH_S:g} s)"
        )


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "Error" in line]
    return lines[-1] if lines else str(error).splitlines()[0]
