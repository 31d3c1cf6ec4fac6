"""Mutated inputs run or end in one line; see fuzz.py."""

import os
import signal
import time

import pytest

from fuzz import KINDS, Case, make_case, verdicts


def failures(cases):
    return [
        f"{case.kind} {case.seed}: {why}"
        for case, verdict, why in verdicts(cases)
        if verdict == "bad"
    ]


def test_mutated_inputs_run_or_end_in_one_line():
    cases = [make_case(kind, seed) for kind in KINDS for seed in range(25)]
    assert not failures(cases)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_mutated_inputs_run_or_end_in_one_line(kind):
    assert not failures([make_case(kind, seed) for seed in range(1000)])


def misbehave(case):
    """In place of `fuzz.judge`: the case says how."""
    if case.name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if case.name == "hang":
        time.sleep(60)
    return "ran", ""


def test_crashes_and_hangs_are_bad():
    """And the next case runs."""
    cases = [Case("", 0, name, b"") for name in ("", "crash", "hang", "")]
    found = [(verdict, why) for _, verdict, why in verdicts(cases, misbehave, 0.5, ())]
    assert found == [
        ("ran", ""),
        ("bad", "crash, exit code -11"),
        ("bad", "more than 0.5 s"),
        ("ran", ""),
    ]
