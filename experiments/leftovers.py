"""What a killed `dvc repro` leaves behind: stages that run on without it, and locks of dead processes."""

import json
from pathlib import Path

import psutil

LOCKS = Path(".dvc/tmp/rwlock")  # DVC's list of who reads and writes which file


def end_orphans(root: Path) -> None:
    """End the stages of this checkout that outlived their `dvc repro`; they continue from their last saved state.

    Left alone, they would write the same files as the run that follows.
    """
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            in_stage = environment.get("DVC_ROOT") == str(root) and "DVC_STAGE" in environment
            if in_stage and not any(is_dvc(parent) for parent in process.parents()):
                stage = environment["DVC_STAGE"]
                print(f"Ending process {process.pid} of stage {stage}, left over from a killed run", flush=True)
                process.kill()
                process.wait()
        except psutil.Error:  # gone by now, or another user's
            continue


def release_locks(root: Path) -> None:
    """Wait for a run that is at work on this checkout, then forget the locks of runs that are not.

    DVC forgets the lock of a dead process by itself, unless another program has got its number since, or the kill
    cut the list short.
    """
    for pid in _holders(root / LOCKS):
        if psutil.pid_exists(pid) and is_dvc(psutil.Process(pid)):
            print(f"Waiting for process {pid}, which works on this checkout already", flush=True)
            psutil.Process(pid).wait()
    (root / LOCKS).unlink(missing_ok=True)


def is_dvc(process: psutil.Process) -> bool:
    """Whether a process is a DVC command."""
    try:
        return any(Path(word).name == "dvc" for word in process.cmdline()[:4])
    except psutil.Error:
        return False


def _holders(path: Path) -> list[int]:
    """Return the process ids in DVC's list of locks; none when the list is missing or cut short."""
    try:
        locks = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return []
    readers = [info["pid"] for infos in locks.get("read", {}).values() for info in infos]
    return sorted({*readers, *(info["pid"] for info in locks.get("write", {}).values())})
