"""The lifecycle node: a sentence on a topic moves the body, until the time is over or something says stop.

unconfigured -> configure: card, topics and policy are read and compared; nothing is sent.
inactive     -> activate:  sentences are heeded. Each begins a run of the control loop in a thread of its own.
active       -> deactivate, shutdown: the run ends; the card's hold action is the last command.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Condition, Event, Thread
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool

from kinema.card.load import CardError, load_card
from kinema.runtime.inference import ThreadedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.record import Step
from kinema.runtime.robot import Body
from kinema.runtime.ros.clock import WakingClock
from kinema.runtime.ros.e_stop import EStop
from kinema.runtime.ros.mapping import RosMapping
from kinema.runtime.ros.topics import read_topics
from kinema.runtime.strategy import strategy
from kinema.runtime.watchdog import Mode
from kinema.runtime.wiring import wiring_for
from kinema.schema import KinemaError, Policy, Verdict, check_instruction
from kinema_ros.policies import Telling, policy_of
from kinema_ros.robot import SENSOR_QOS, STEADY, RosRobot

PARAMETERS: dict[str, Any] = {
    "card": "",  # a shipped card, or the path of one
    "topics": "",  # the path of a topics file
    "policy": "shipped",  # an artifact, ws://host:port, or hold
    "gate": False,
    "instruction": "",  # a sentence that begins with activation
    "seconds": 60.0,  # when a run gives up
    "strategy": "in_painting",
    "timeout_s": 1.0,  # how long a server may take to answer
    "connect_s": 5.0,  # how long the topics may take to speak when a run begins
    "seed": 0,
    "threads": 1,  # CPU threads of a local policy
    "autostart": False,  # configure and activate at once
}
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_LEVELS = {Mode.HOLDING: DiagnosticStatus.WARN, Mode.STOPPED: DiagnosticStatus.ERROR}
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class KinemaNode(LifecycleNode):
    """Topics: ~/instruction in; ~/state, ~/verdict, ~/timing, /diagnostics, /tf out. Service: ~/e_stop.

    make_policy: what gives the policy; tests hand in another
    """

    def __init__(self, make_policy: Callable[..., Policy] = policy_of, **options: Any) -> None:
        super().__init__("kinema", **options)
        self._make_policy = make_policy
        for name, value in PARAMETERS.items():
            self.declare_parameter(name, value)
        self._active, self._wanted, self._ended = False, "", False
        self._change = Condition()
        self._runner: Thread | None = None
        self._running = False
        self._state = ""
        self._handles: list[tuple[Callable[[Any], Any], Any]] = []

    # -- the lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self._configure()
        except (KinemaError, CardError) as error:
            self.get_logger().error(str(error))
            self._take_down()
            return FAILURE
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        with self._change:
            self._active, self._wanted = True, self._told("instruction")
        self._loop_clock.patience_s = self._robot.card.hold.stop_after_s
        self._runner = Thread(target=self._serve, name="kinema-loop", daemon=True)
        self._runner.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._take_down()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        self._take_down()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._rest()
        self._take_down()
        return SUCCESS

    def _configure(self) -> None:
        for name in ("card", "topics"):
            if not self._told(name):
                raise KinemaError(f"the parameter {name} is missing")
        card, topics = load_card(self._told("card")), read_topics(Path(self._told("topics")))
        mapping = RosMapping(card, topics)
        simulated = bool(self.get_parameter("use_sim_time").value)
        self._loop_clock = WakingClock(self._ros_s if simulated else None)
        self._robot = RosRobot(self, mapping, self._loop_clock, connect_s=self._told("connect_s"))
        self._handles.append((lambda robot: robot.destroy(), self._robot))
        e_stop = topics.e_stop
        self._e_stop = EStop(e_stop.within_s if e_stop else None, time.monotonic())
        self._policy = Telling(
            self._make_policy(
                self._told("policy"), card, gate=self._told("gate"), timeout_s=self._told("timeout_s"),
                threads=self._told("threads"),
            ),
            self._tell_verdict,
        )  # fmt: skip
        self._handles.append((lambda policy: getattr(policy, "close", lambda: None)(), self._policy.policy))
        self._inference = ThreadedInference(self._policy)
        self._handles.append((lambda inference: inference.close(), self._inference))
        self._body = Body(card, self._robot, wiring_for(card, self._robot))
        self._loop = ControlLoop(
            self._body,
            self._inference,
            self._loop_clock,
            strategy(self._told("strategy"), card),
            recorder=self._see,
        )
        if simulated:
            every = JumpThreshold(
                min_forward=Duration(nanoseconds=1),
                min_backward=Duration(nanoseconds=-1),
                on_clock_change=True,
            )
            jumps = self.get_clock().create_jump_callback(
                every, post_callback=lambda _: self._loop_clock.tick()
            )
            self._handles.append((lambda handle: handle.unregister(), jumps))
        self._open(e_stop.topic if e_stop else None)

    def _open(self, e_stop_topic: str | None) -> None:
        """The node's own topics, service and timers."""
        self._state_topic = self.create_publisher(String, "~/state", LATCHED)
        self._verdict_topic = self.create_publisher(DiagnosticArray, "~/verdict", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timing_topic = self.create_publisher(Float64MultiArray, "~/timing", 10)
        made = [
            (self.destroy_publisher, self._state_topic),
            (self.destroy_publisher, self._verdict_topic),
            (self.destroy_publisher, self._diagnostics),
            (self.destroy_publisher, self._timing_topic),
            (
                self.destroy_subscription,
                self.create_subscription(String, "~/instruction", self._instruct, 10),
            ),
            (self.destroy_service, self.create_service(SetBool, "~/e_stop", self._ask_e_stop)),
            (self.destroy_timer, self.create_timer(1.0, self._diagnose, clock=STEADY)),
            (self.destroy_timer, self.create_timer(0.05, self._watch_e_stop, clock=STEADY)),
        ]
        if e_stop_topic:
            heard = self.create_subscription(Bool, e_stop_topic, self._hear_e_stop, SENSOR_QOS)
            made.append((self.destroy_subscription, heard))
        self._handles += made
        self._say("idle")

    def close(self) -> None:
        """End whatever runs and take everything down, from any state."""
        self._rest()
        self._take_down()
        self.destroy_node()

    def _take_down(self) -> None:
        for destroy, handle in reversed(self._handles):
            destroy(handle)
        self._handles = []

    def _rest(self) -> None:
        """End the run; the hold action is sent by the loop's thread before this returns."""
        with self._change:
            self._active = False
            self._change.notify_all()
        if self._runner is not None:
            # Nobody takes a simulation's clock while this waits.
            self._loop_clock.patience_s = 1.0 / self._robot.card.control_hz
            self._loop_clock.wake()
            self._runner.join()
            self._runner = None

    # -- what others say

    def _instruct(self, message: String) -> None:
        """A sentence begins a new run; an empty one ends the one that is under way."""
        with self._change:
            if not self._active:
                self.get_logger().warning("not active: the sentence is not heeded")
                return
            self._wanted, self._ended = message.data, not message.data
            self._change.notify_all()
        self._end_run()

    def _hear_e_stop(self, message: Bool) -> None:
        self._e_stop.hear(message.data, time.monotonic())
        self._watch_e_stop()

    def _ask_e_stop(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """true stops, false releases."""
        if request.data:
            self._e_stop.press("somebody called the service e_stop")
            self._watch_e_stop()
            response.success, response.message = True, "stopped"
            return response
        why = self._e_stop.release(time.monotonic())
        response.success, response.message = not why, why or "released; a new sentence begins a run"
        if not why and not self._running:
            self._say("idle")
        return response

    def _watch_e_stop(self) -> None:
        if why := self._e_stop.why(time.monotonic()):
            with self._change:
                self._ended = True  # also where it is let go before the loop has asked
            self._end_run()
            if not self._state.startswith("e-stop"):
                self._say(f"e-stop: {why}")

    def _end_run(self) -> None:
        """The loop asks `_is_over` at once, if a run is under way."""
        if self._running:
            self._loop_clock.wake()

    # -- the run

    def _serve(self) -> None:
        """The thread of the runs."""
        while True:
            with self._change:
                self._change.wait_for(lambda: not self._active or self._wanted)
                if not self._active:
                    return
                sentence, self._wanted, self._ended = self._wanted, "", False
            if why := self._e_stop.why(time.monotonic()):
                self._say(f"e-stop: {why}")
                continue
            self._running = True
            try:
                self._run(sentence)
            except KinemaError as error:
                self.get_logger().error(str(error))
                self._say(f"refused: {error}")
            except Exception as error:  # ends the run, whose hold was sent, and not the node
                self.get_logger().error(f"{type(error).__name__}: {error}")
                self._say(f"fault: {type(error).__name__}")
            finally:
                self._running = False

    def _run(self, sentence: str) -> None:
        card = self._robot.card
        check_instruction(sentence)
        self._robot.forget()
        self._policy.reset(self._told("seed"))
        loop = self._loop
        with self._body:
            self.get_logger().info(f"begins: {sentence}")
            steps = round(self._told("seconds") * card.control_hz)
            mode = loop.run(sentence, max_steps=steps, done=self._is_over)
        why = self._e_stop.why(time.monotonic())
        end = f"e-stop: {why}" if why else f"stopped: {loop.reason}" if mode == Mode.STOPPED else "idle"
        self._say(end)
        self.get_logger().info(f"ended after {loop.counts.asked} questions: {end}")

    def _is_over(self) -> bool:
        with self._change:
            if not self._active or self._wanted or self._ended:
                return True
        return bool(self._e_stop.why(time.monotonic()))

    def _see(self, step: Step) -> None:
        word = step.mode.value if not step.reason else f"{step.mode.value}: {step.reason}"
        if not self._e_stop.why(time.monotonic()):
            self._say(word)
        self._timing_topic.publish(Float64MultiArray(data=self._robot.timing))
        if hasattr(self._policy.policy, "mode"):
            self._policy.policy.mode = step.mode.value  # for a server's console

    # -- what is told

    def _say(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._state_topic.publish(String(data=state))

    def _tell_verdict(self, verdict: Verdict) -> None:
        values = {"horizon_s": f"{verdict.horizon_s:.3g}"}
        for hazard, risk in verdict.risk.items():
            values[hazard] = f"{risk:.4g} of {verdict.limit[hazard]:.4g}"
        level = DiagnosticStatus.OK if verdict.allowed else DiagnosticStatus.WARN
        self._verdict_topic.publish(self._array(level, "gate", verdict.reason or "allowed", values))

    def _diagnose(self) -> None:
        values = {f"age of {topic}": f"{age_s:.3f} s" for topic, age_s in self._robot.ages_s().items()}
        values["messages out of order"] = str(sum(newest.out_of_order for newest in self._robot.inboxes))
        values["messages stamped ahead"] = str(sum(newest.ahead for newest in self._robot.inboxes))
        counts, level = self._loop.counts, DiagnosticStatus.OK
        for name in ("asked", "answered", "thrown_away", "refused", "failed", "missing"):
            values[name] = str(getattr(counts, name))
        if counts.latency_s:
            values["median latency"] = f"{1e3 * median(counts.latency_s[-50:]):.0f} ms"
        if self._running:
            level = _LEVELS.get(self._loop.watchdog.mode, DiagnosticStatus.OK)
        if self._state.startswith(("e-stop", "stopped", "refused", "fault")):
            level = DiagnosticStatus.ERROR
        self._diagnostics.publish(self._array(level, self._robot.card.name, self._state, values))

    def _array(self, level: bytes, name: str, message: str, values: dict[str, str]) -> DiagnosticArray:
        status = DiagnosticStatus(
            level=level,
            name=f"{self.get_name()}: {name}",
            message=message,
            hardware_id=self._robot.card.name,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        return array

    def _told(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _ros_s(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)


def main(arguments: list[str] | None = None) -> None:
    # ROS's own handlers would close the topics before the hold action is sent.
    rclpy.init(
        args=sys.argv if arguments is None else arguments, signal_handler_options=SignalHandlerOptions.NO
    )
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    node = KinemaNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter("autostart").value and node.trigger_configure() == SUCCESS:
            node.trigger_activate()
        while not stopping.is_set():
            executor.spin_once(timeout_sec=0.2)
    finally:
        node.close()
        rclpy.shutdown()


if __name__ == "__main__":
    main()
