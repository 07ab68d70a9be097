"""The pipeline's stages, one thin script each: read the settings, call `alit`, write the outs.

Importing this package, which every stage does before anything else, settles how OpenMP's threads wait, lets Ctrl-C end
a script while its libraries load, unsets variables that are empty, and checks that the packages of the extras that the
script needs are installed: a machine that only trains and measures does without `notebooks`.
"""

import os
import signal
import sys

# Python sets "-m" while it looks for the module that it is to run. An exception of Ctrl-C would come out of the middle
# of an import; `alit.errors.run_command` takes it up again.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from alit.environment import settle_environment
from alit.errors import AlitError, require_extras

# Threads that spin while they wait keep the core from the caller they wait for as soon as the cores are shared:
# a training step on two threads took 9 times as long beside other jobs, and as long as ever with waiting threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Scripts that train or measure, and draw nothing. All others need notebooks too, and those that start stages ask for it
# before any of them runs.
NETWORK_SCRIPTS = frozenset(
    f"experiments.{name}"
    for name in (
        *("data", "task_models", "pretrained", "base", "distill", "finetune", "variants"),
        *("length_predictor", "sweep", "baselines", "measure", "memory", "training_cost"),
    )
)

try:
    settle_environment()
    require_extras("pipeline", "tasks")
    if NETWORK_SCRIPTS.isdisjoint(sys.orig_argv):
        require_extras("notebooks")
except AlitError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
