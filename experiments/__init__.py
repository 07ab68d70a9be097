"""The pipeline's stages, one thin script each: read the settings, call `alit`, write the outs.

Importing this package, which every stage does before anything else, settles how OpenMP's threads wait.
"""

import os

# Threads that spin while they wait keep the core from the caller they wait for as soon as the cores are shared:
# a training step on two threads took 9 times as long beside other jobs, and as long as ever with waiting threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
