"""Measures times with hyperfine. All contestants run in turn in each round, so that slow changes of the speed of the
machine affect all of them equally and the ratios stay correct.
"""
import json
import os
import shlex
import statistics
import tempfile
from dataclasses import dataclass, field

from namespace import tool


@dataclass
class Contestant:
    """A command to measure.

    `namespace` is the network namespace that it runs in. `before` runs once per round and `prepare` before each run;
    both are not measured. `check` is called after each round and fails if the command did not do its work.
    """
    command: list
    namespace: object
    runs: int
    warmup: int = 1
    before: list = None
    prepare: list = None
    env: dict = None
    check: object = None


@dataclass
class Series:
    """All measured values of one thing, and the median of each round."""
    values: list = field(default_factory=list)
    rounds: list = field(default_factory=list)

    def add(self, values):
        self.values += values
        self.rounds.append(statistics.median(values))

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def spread(self):
        return quartiles(self.values)

    def divided_by(self, other):
        """The ratio to another series, round by round."""
        ratios = [a / b for a, b in zip(self.rounds, other.rounds)]
        return Series(ratios, ratios)


def quartiles(values):
    if len(values) < 4:
        return min(values), max(values)
    first, _, third = statistics.quantiles(values, n=4)
    return first, third


def measure_in_turn(contestants, rounds):
    """Runs every contestant in every round, every second round in reverse order. Returns {name: Series} in seconds."""
    series = {name: Series() for name in contestants}
    for number in range(rounds):
        order = list(contestants)
        if number % 2:
            order.reverse()
        for name in order:
            series[name].add(run_times(contestants[name]))
    return series


def run_times(contestant):
    if contestant.before:
        contestant.namespace.run(contestant.before)
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "times.json")
        command = [tool("hyperfine"), "-N", "--style", "none", "--runs", str(contestant.runs),
                   "--warmup", str(contestant.warmup), "--export-json", report]
        if contestant.prepare:
            command += ["--prepare", shlex.join(contestant.prepare)]
        contestant.namespace.run(command + [shlex.join(contestant.command)], env=contestant.env)
        with open(report) as file:
            times = json.load(file)["results"][0]["times"]
    if contestant.check:
        contestant.check()
    return times
