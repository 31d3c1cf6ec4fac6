"""How long jobs take, from jobs of earlier runs, and when the last of many ends.

Standard library only: it runs beside the workflow, on hosts that have nothing but Snakemake.
"""

import csv
import heapq
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

PRIOR_SECONDS = 20  # of finished jobs, after which the speed of this run counts more than 1
OVERDUE = 0.1  # of its time so far that a job still takes which takes longer than expected


@dataclass(frozen=True)
class Record:
    """A job that has finished: its work in units of its rule, its cores and its wall time."""

    rule: str
    job: str
    work: float
    cores: int
    seconds: float


@dataclass(frozen=True)
class Task:
    """A job that has not finished.

    `seconds` is its expected wall time, None if nothing is known, `elapsed` the time since its
    start, None if it has not started. `uses` holds amounts of limited resources.
    """

    seconds: float | None
    after: frozenset[Hashable] = frozenset()
    uses: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    elapsed: float | None = None

    def seconds_left(self, speed: float = 1.0) -> float:
        """Return the time until its end (s), without the wait for its start; 0 if unknown."""
        if self.seconds is None:
            return 0.0
        elapsed = self.elapsed or 0.0
        return max(self.seconds / speed - elapsed, OVERDUE * elapsed)


def read_records(path: str | Path) -> list[Record]:
    """Return the records of a CSV file, none if there is no file."""
    if not Path(path).is_file():
        return []
    with open(path, newline="") as file:
        return [
            Record(
                row["rule"], row["job"], float(row["work"]), int(row["cores"]),
                float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def append_record(record: Record, path: str | Path) -> None:
    """Append a record to a CSV file, which is created if missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(Record)])
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(asdict(record))


def benchmark_seconds(path: str | Path) -> float | None:
    """Return the wall time in a benchmark file of Snakemake (s), None if there is none."""
    try:
        with open(path, newline="") as file:
            return float(list(csv.DictReader(file, delimiter="\t"))[-1]["s"])
    except (OSError, IndexError, KeyError, ValueError):
        return None


def expected_seconds(
    records: Iterable[Record], rule: str, job: str, work: float, cores: int
) -> float | None:
    """Return the expected wall time of a job (s), None without a record of its rule.

    Records of the same job count; without any, records of its rule. The time is linear in the work
    between two records, constant below the least and proportional above the largest. Of records
    with equal work the last counts. Cores are taken to share the work without loss.
    """
    of_rule = [record for record in records if record.rule == rule]
    own = [record for record in of_rule if record.job == job]
    known: dict[float, list[float]] = {}
    for record in own or of_rule:
        known.setdefault(record.work, []).append(record.seconds * record.cores / cores)
    if not known:
        return None
    points = [(at, times[-1] if own else sum(times) / len(times)) for at, times in known.items()]
    below = max((point for point in points if point[0] <= work), default=None)
    above = min((point for point in points if point[0] >= work), default=None)
    if below is None or above is None:
        at, seconds = below or above or (0.0, 0.0)
        return seconds * max(1.0, work / at) if at else seconds
    share = (work - below[0]) / (above[0] - below[0]) if above[0] > below[0] else 0.0
    return below[1] + share * (above[1] - below[1])


def relative_speed(finished: Iterable[tuple[float, float]]) -> float:
    """Return how fast this run is, from (expected, real) times of its finished jobs (s).

    It is near 1 until jobs of about PRIOR_SECONDS have finished.
    """
    expected = real = float(PRIOR_SECONDS)
    for one, other in finished:
        expected, real = expected + one, real + other
    return expected / real


def seconds_left(
    tasks: Mapping[Hashable, Task], limits: Mapping[str, int], speed: float = 1.0
) -> float:
    """Return the time until the last task ends (s); tasks of unknown time count as 0.

    Tasks run as Snakemake runs them: a task starts when all tasks that it waits for have ended and
    its resources are free. Tasks of higher priority start first, then longer tasks.
    """
    waits = {key: {other for other in task.after if other in tasks} for key, task in tasks.items()}
    followers: dict[Hashable, list[Hashable]] = {}
    for key, others in waits.items():
        for other in others:
            followers.setdefault(other, []).append(key)
    order = {
        key: (task.elapsed is None, -task.priority, -task.seconds_left(speed), number)
        for number, (key, task) in enumerate(tasks.items())
    }
    ready = sorted((key for key in tasks if not waits[key]), key=order.__getitem__)
    free, now = dict(limits), 0.0
    running: list[tuple[float, int, Hashable]] = []
    while ready or running:
        held = []
        for key in ready:
            wanted = tasks[key].uses.items()
            uses = {name: min(n, limits[name]) for name, n in wanted if name in free}
            if all(free[name] >= amount for name, amount in uses.items()) or not running:
                for name, amount in uses.items():
                    free[name] -= amount
                end = now + tasks[key].seconds_left(speed)
                heapq.heappush(running, (end, order[key][3], key))
            else:
                held.append(key)
        now, _, key = heapq.heappop(running)
        for name, amount in tasks[key].uses.items():
            if name in free:
                free[name] += min(amount, limits[name])
        ready = held
        for follower in followers.get(key, []):
            waits[follower].discard(key)
            if not waits[follower]:
                ready.append(follower)
        ready.sort(key=order.__getitem__)
    return now


def readable_time(seconds: float) -> str:
    """Return a time as people say it: "40 s", "25 min", "2 h 10 min"."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60) if seconds < 3570 else 5 * round(seconds / 300)
    hours, minutes = divmod(minutes, 60)
    return " ".join(
        text for text in (f"{hours} h" * bool(hours), f"{minutes} min" * bool(minutes)) if text
    )
