# Says what runs and how long the workflow still takes: a line whenever jobs start, and on a terminal
# a line that stays at its bottom. nnpipe.runtime.time_left estimates; these are Snakemake's events.
import logging
import threading
import time
import traceback
from dataclasses import replace

from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from nnpipe.config.work import work_of
from nnpipe.runtime.status_line import StatusLine, has_screen
from nnpipe.runtime.time_left import (
    Record,
    Task,
    append_record,
    benchmark_seconds,
    expected_seconds,
    read_records,
    readable_time,
    relative_speed,
    seconds_left,
)

SHIPPED_TIMES = REPOSITORY / "resources/times.csv"  # jobs of a smoke run and of a default run
HISTORY = ".snakemake/nnpipe_times.csv"  # jobs that ended in this folder


class TimeLeft(logging.Handler):
    """A handler that logs how long the jobs of a workflow still take.

    No error in here reaches the run; `snakemake --verbose` shows it.
    """

    def __init__(self, workflow, config):
        super().__init__()
        self.name, self.workflow, self.config = "time left", workflow, config
        self.tasks, self.limits, self.counts = {}, {}, 0
        self.begun, self.ended = {}, []  # {job: time of its start}, [(expected, real) s]
        self.line, self.closing = None, threading.Event()

    def emit(self, record):
        try:
            event = getattr(getattr(record, "event", None), "name", "")
            if event == "RUN_INFO" and not self.counts:
                self.plan()
            if event == "RUN_INFO":
                self.counts += 1
                self.announce()
            elif event == "JOB_STARTED" and self.tasks:
                self.observe()
                if not self.line:
                    self.say(f"Time left: {self.left()}. Running: {self.running()}")
        except Exception:
            logger.debug(f"no estimate of the time left: {traceback.format_exc()}")

    def close(self):
        """Record the last jobs and give the terminal back."""
        try:
            self.closing.set()
            if self.line:
                self.line.close()
            self.observe()
        except Exception:
            logger.debug(f"the last jobs are not recorded: {traceback.format_exc()}")
        super().close()

    def say(self, text):
        quiet = {} if self.workflow.dryrun else {"quietness": Quietness.PROGRESS}
        logger.info(text, extra=quiet)

    def plan(self):
        """Estimate all jobs before the first one starts, which removes its benchmark file."""
        workflow = self.workflow
        amounts = workflow.scheduler.global_resources.items()
        self.limits = {name: amount for name, amount in amounts if amount < sys.maxsize}
        shipped, own = read_records(SHIPPED_TIMES), read_records(HISTORY)
        known = {(record.rule, record.job) for record in own}
        sizes = {job: size for job in workflow.dag.jobs if (size := self.size(job))}
        for job, (step, name, *size) in sizes.items():
            if (step, name) not in known and (seconds := benchmark_seconds(job.benchmark)):
                own.append(Record(step, name, *size, seconds))
        self.sizes, waits = sizes, workflow.dag.dependencies
        self.tasks = {
            job: Task(
                0.0 if job.is_norun else self.expected(job, shipped + own),
                frozenset(waits[job]),
                {name: n for name, n in job.scheduler_resources.items() if isinstance(n, int)},
                job.priority,
            )
            for job in workflow.dag.needrun_jobs()
        }
        self.total = (
            f"Time for {len(self.tasks)} jobs"
            + (
                f" on {n} core{'s' * (n > 1)}: "
                if (n := self.limits.get("_cores"))
                else " besides queues: "
            )
            + self.left()
        )

    def announce(self):
        """Log the time of the whole run, at its start; at the end of a dry run that is not quiet."""
        workflow = self.workflow
        quiet = {what.name for what in workflow.output_settings.quiet or ()}
        if not workflow.dryrun or self.counts == 2 or quiet == {"RULES", "PROGRESS"}:
            self.say(self.total)
        stream = sys.stdout if workflow.output_settings.stdout else sys.stderr
        if not workflow.dryrun and not quiet & {"ALL", "PROGRESS"} and has_screen(stream):
            self.line = StatusLine(stream)
            threading.Thread(target=self.refresh, daemon=True).start()

    def size(self, job):
        """Return the rule, job, work and cores of a record, None for a job without benchmark."""
        if not job.benchmark:
            return None
        path = Path(job.benchmark)
        work = work_of(self.config, path.parent.name, dict(job.wildcards.items()))
        cores = min(job.threads, self.limits.get("_cores", job.threads))
        return path.parent.name, path.stem, work, cores

    def expected(self, job, records):
        return expected_seconds(records, *self.sizes[job]) if job in self.sizes else None

    def observe(self):
        """Note which jobs have started since the last event, and record which have ended."""
        now, dag = time.monotonic(), self.workflow.dag
        for job in [job for job in self.begun if dag.finished(job)]:
            del self.begun[job]
            task = self.tasks.pop(job, None)
            if job in self.sizes and (seconds := benchmark_seconds(job.benchmark)):
                append_record(Record(*self.sizes[job], seconds), HISTORY)
                if task and task.seconds:
                    self.ended.append((task.seconds, seconds))
        for entry in self.workflow.scheduler.running:
            for job in entry if entry.is_group() else [entry]:
                self.begun.setdefault(job, now)
        for job in [job for job in self.tasks if dag.finished(job)]:
            del self.tasks[job]

    def current(self):
        """Return the tasks with the time since their start, and the speed of this run."""
        now, begun = time.monotonic(), dict(self.begun)
        tasks = {
            job: replace(task, elapsed=now - begun[job]) if job in begun else task
            for job, task in self.tasks.items()
        }
        slow = [
            (task.seconds, task.elapsed)
            for task in tasks.values()
            if task.seconds and (task.elapsed or 0) > task.seconds
        ]
        return tasks, relative_speed([*self.ended, *slow])

    def left(self):
        tasks, speed = self.current()
        unknown = sorted({job.name for job, task in tasks.items() if task.seconds is None})
        seconds = seconds_left(tasks, self.limits, speed)
        if unknown and not seconds:
            return "unknown"
        text = f"about {readable_time(seconds)}"
        return text + (f", without {', '.join(unknown)} (unknown)" if unknown else "")

    def running(self):
        tasks, speed = self.current()
        begun = [(job, task) for job, task in tasks.items() if task.elapsed is not None]
        return ", ".join(
            " ".join([job.name, *job.wildcards])
            + (f" ({readable_time(task.seconds_left(speed))})" if task.seconds else "")
            for job, task in begun
        )

    def refresh(self):
        while not self.closing.wait(1):
            try:
                done, total = self.workflow.scheduler.finished_jobs, len(self.workflow.dag)
                self.line.show(
                    f"{done} of {total} jobs. Left: {self.left()}. Running: {self.running()}"
                )
            except Exception:
                logger.debug(f"no status line: {traceback.format_exc()}")


# once, also where several modules include this file, and not in the jobs of a cluster
if workflow.is_main_process and "time left" not in [one.name for one in logger.handlers]:
    logger.addHandler(TimeLeft(workflow, config))
