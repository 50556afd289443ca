"""Times by hyperfine: contestants in turn, round after round, so that what drifts cancels out of the ratios."""
import json
import os
import shlex
import statistics
import tempfile
from dataclasses import dataclass, field

from ground import tool


@dataclass
class Contestant:
    """`before` runs once a round, `prepare` before each run, both untimed. `where`: the namespace.

    `check` is called after each round: nothing wins by not working.
    """
    command: list
    where: object
    runs: int
    warmup: int = 1
    before: list = None
    prepare: list = None
    env: dict = None
    check: object = None


@dataclass
class Series:
    """All that was measured of one thing, and the median of each round."""
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

    def over(self, other):
        """Round by round, how many times the other."""
        return Series(*[[a / b for a, b in zip(self.rounds, other.rounds)]] * 2)


def quartiles(values):
    if len(values) < 4:
        return min(values), max(values)
    first, _, third = statistics.quantiles(values, n=4)
    return first, third


def race(contestants, rounds):
    """Every contestant in every round, every other round in reverse order. Name to Series, in seconds."""
    series = {name: Series() for name in contestants}
    for number in range(rounds):
        turn = list(contestants)
        for name in turn[::-1] if number % 2 else turn:
            series[name].add(times(contestants[name]))
    return series


def times(contestant):
    if contestant.before:
        contestant.where.run(contestant.before)
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "times.json")
        command = [tool("hyperfine"), "-N", "--style", "none", "--runs", str(contestant.runs),
                   "--warmup", str(contestant.warmup), "--export-json", report]
        if contestant.prepare:
            command += ["--prepare", shlex.join(contestant.prepare)]
        contestant.where.run(command + [shlex.join(contestant.command)], env=contestant.env)
        with open(report) as file:
            measured = json.load(file)["results"][0]["times"]
    if contestant.check:
        contestant.check()
    return measured
