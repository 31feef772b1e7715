import subprocess
import sys

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "mujoco", "metaworld", "gymnasium", "av"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import kinema.bench.run, kinema.bench.tabletop, kinema.bench.metaworld.demos, kinema.bench.expert
from kinema.bench.metaworld.benchmark import MetaworldBenchmark
from kinema.bench.tabletop import TabletopBenchmark
from kinema.schema import KinemaError

assert len(MetaworldBenchmark().tasks()) == 50
makers = {"metaworld": lambda: MetaworldBenchmark().make("push-v3"), "tabletop": TabletopBenchmark}
for extra, make in makers.items():
    try:
        make()
    except KinemaError as error:
        assert f"kinema[{extra}]" in str(error), error
    else:
        raise AssertionError(extra)
"""


def test_the_runner_needs_no_simulator_and_no_torch_and_says_which_extra_is_missing():
    subprocess.run([sys.executable, "-c", ABSENT], check=True)
