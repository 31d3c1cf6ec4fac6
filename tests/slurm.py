"""Start a Slurm for a test, with its own configuration, key and ports, on this machine."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=600
KillWait=2
MailProg=/bin/true
GresTypes=gpu
PartitionName=cpu Nodes=ALL Default=YES State=UP
PartitionName=gpu Nodes=ALL State=UP
"""
NODE = """
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=20000 \\
  Gres=gpu:2 State=UNKNOWN
"""


def missing() -> str:
    """Return why Slurm cannot start here, or an empty text."""
    absent = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name, path=PATH)]
    if absent:
        return f"Slurm is not installed: no {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "a private Slurm needs root"


@contextmanager
def slurm(nodes: int = 1) -> Iterator[tuple[dict[str, str], Path]]:
    """Yield the environment variables for the commands of Slurm, and the file of its records."""
    folder = Path(tempfile.mkdtemp())  # munge needs a folder that everybody may read
    host = socket.gethostname().split(".")[0]
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(1 + nodes)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        first, *ports = [one.getsockname()[1] for one in sockets]
    names = [f"node{number}" for number in range(nodes)]
    for name in ("state", "bin", *(f"spool/{name}" for name in names)):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key, configuration = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    text = CONFIGURATION.format(host=host, port=first, folder=folder)
    lines = [
        NODE.format(name=name, host=host, port=port)
        for name, port in zip(names, ports, strict=True)
    ]
    configuration.write_text(text.replace("PartitionName", "".join(lines) + "PartitionName", 1))
    devices = "".join(
        f"NodeName={','.join(names)} Name=gpu File=/dev/{file}\n" for file in ("null", "zero")
    )
    (folder / "gres.conf").write_text(devices)
    # a job step drops SLURM_CONF before it calls srun
    wrapper = folder / "bin" / "srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec /usr/bin/srun "$@"\n')
    wrapper.chmod(0o755)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(folder / "bin"), PATH]),
        "SLURM_CONF": str(configuration),
    }

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=10)
        return done.stdout + done.stderr

    try:
        said = run(
            "munged", f"--key-file={key}", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munge.seed", "--num-threads=2",
        )  # fmt: skip
        said += run("slurmctld", "-c", "-i")
        said += "".join(run("slurmd", "-N", name) for name in names)

        def up() -> bool:
            return run("sinfo", "-h", "-N", "-p", "cpu", "-o", "%T").split() == ["idle"] * nodes

        for _ in range(150):
            time.sleep(0.2)
            if not (folder / "munge.socket").exists() or up():
                break
        if not up():
            logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
            raise RuntimeError(f"Slurm did not come up: {said}\n{logs}")
        yield environment, folder / "jobs.txt"
    finally:
        run("scancel", "-u", "root")
        for path in sorted(folder.glob("*.pid"), reverse=True):  # munged last
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int(path.read_text()), signal.SIGTERM)
        time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)
