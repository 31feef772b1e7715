"""The 50 Meta-World tasks: their difficulty groups and one instruction sentence each.

Groups as in Seo et al. 2023 ("Masked World Models for Visual Control", appendix) and in lerobot's Meta-World
configuration: 28 easy, 11 medium, 6 hard, 5 very hard. The sentences are this project's own wording.
"""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "easy": (
        "button-press-v3",
        "button-press-topdown-v3",
        "button-press-topdown-wall-v3",
        "button-press-wall-v3",
        "coffee-button-v3",
        "dial-turn-v3",
        "door-close-v3",
        "door-lock-v3",
        "door-open-v3",
        "door-unlock-v3",
        "drawer-close-v3",
        "drawer-open-v3",
        "faucet-close-v3",
        "faucet-open-v3",
        "handle-press-v3",
        "handle-press-side-v3",
        "handle-pull-v3",
        "handle-pull-side-v3",
        "lever-pull-v3",
        "peg-unplug-side-v3",
        "plate-slide-v3",
        "plate-slide-back-v3",
        "plate-slide-back-side-v3",
        "plate-slide-side-v3",
        "reach-v3",
        "reach-wall-v3",
        "window-close-v3",
        "window-open-v3",
    ),
    "medium": (
        "basketball-v3",
        "bin-picking-v3",
        "box-close-v3",
        "coffee-pull-v3",
        "coffee-push-v3",
        "hammer-v3",
        "peg-insert-side-v3",
        "push-wall-v3",
        "soccer-v3",
        "sweep-v3",
        "sweep-into-v3",
    ),
    "hard": (
        "assembly-v3",
        "hand-insert-v3",
        "pick-out-of-hole-v3",
        "pick-place-v3",
        "push-v3",
        "push-back-v3",
    ),
    "very_hard": (
        "disassemble-v3",
        "pick-place-wall-v3",
        "shelf-place-v3",
        "stick-pull-v3",
        "stick-push-v3",
    ),
}

INSTRUCTIONS: dict[str, str] = {
    "assembly-v3": "fit the ring of the wrench over the upright peg",
    "basketball-v3": "drop the basketball through the hoop",
    "bin-picking-v3": "move the block from the red bin to the blue bin",
    "box-close-v3": "put the lid on the box",
    "button-press-topdown-v3": "press the red button down from above",
    "button-press-topdown-wall-v3": "reach over the bricks and press the red button down from above",
    "button-press-v3": "push the red button straight in",
    "button-press-wall-v3": "reach over the bricks and push the red button straight in",
    "coffee-button-v3": "start the coffee machine with its button",
    "coffee-pull-v3": "pull the mug away from the coffee machine",
    "coffee-push-v3": "push the mug under the coffee machine",
    "dial-turn-v3": "turn the dial",
    "disassemble-v3": "lift the wrench ring off the peg",
    "door-close-v3": "swing the safe door shut",
    "door-lock-v3": "turn the lock to lock the door",
    "door-open-v3": "swing the safe door open",
    "door-unlock-v3": "turn the lock to unlock the door",
    "drawer-close-v3": "push the green drawer shut",
    "drawer-open-v3": "pull the green drawer open",
    "faucet-close-v3": "turn the faucet handle to close it",
    "faucet-open-v3": "turn the faucet handle to open it",
    "hammer-v3": "pick up the hammer and drive the nail into the box",
    "hand-insert-v3": "move the gripper down into the hole in the table",
    "handle-press-side-v3": "press the handle down from the side",
    "handle-press-v3": "press the handle down",
    "handle-pull-side-v3": "pull the handle up from the side",
    "handle-pull-v3": "pull the handle up",
    "lever-pull-v3": "lift the lever until it stands up",
    "peg-insert-side-v3": "insert the peg into the hole in the side of the block",
    "peg-unplug-side-v3": "pull the peg out of the side of the block",
    "pick-out-of-hole-v3": "lift the puck out of the hole and bring it to the mark",
    "pick-place-v3": "pick up the puck and hold it at the mark",
    "pick-place-wall-v3": "pick up the puck, carry it over the wall and hold it at the mark",
    "plate-slide-back-side-v3": "slide the plate sideways out of the goal net",
    "plate-slide-back-v3": "slide the plate back out of the goal net",
    "plate-slide-side-v3": "slide the plate sideways into the goal net",
    "plate-slide-v3": "slide the plate forward into the goal net",
    "push-back-v3": "push the block back towards the robot to the mark",
    "push-v3": "push the puck along the table to the mark",
    "push-wall-v3": "push the puck around the wall to the mark",
    "reach-v3": "move the gripper to the mark",
    "reach-wall-v3": "move the gripper over the wall to the mark",
    "shelf-place-v3": "place the block on the shelf",
    "soccer-v3": "push the ball into the goal",
    "stick-pull-v3": "hook the stick into the handle of the flask and pull it",
    "stick-push-v3": "push the flask with the stick",
    "sweep-into-v3": "sweep the block into the square hole",
    "sweep-v3": "sweep the block off the edge of the table",
    "window-close-v3": "slide the window shut",
    "window-open-v3": "slide the window open",
}

TASKS: tuple[str, ...] = tuple(sorted(INSTRUCTIONS))
GROUP_OF: dict[str, str] = {task: group for group, tasks in GROUPS.items() for task in tasks}


def interleaved() -> tuple[str, ...]:
    """All tasks in an order whose every prefix holds the four groups about in proportion."""
    rank = {
        task: (position + 0.5) / len(tasks)
        for tasks in GROUPS.values()
        for position, task in enumerate(tasks)
    }
    return tuple(sorted(TASKS, key=lambda task: (rank[task], task)))
