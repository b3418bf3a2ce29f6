"""Finds out while computing how many threads are fastest now, and how they should wait.

ggml's threads wait for each other after every operation, so one thread that shares its core with a
busy neighbour holds up all of them. Measured on two cores: an idle machine wants both, waiting in a
loop ("spinning"); beside busy neighbours one thread is twice as fast as two; on a machine full of
work two that sleep at once get more than one. No fixed setting is right, so the time per token
decides. The governor is told each measured step and answers with the setting for the next one; it
knows no clock and no native code.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

TRIAL_SECONDS = (0.08, 0.3)
"""Computing time after which a setting is judged: with two steps or more, and with one."""

WINDOW_SECONDS = 0.2
"""Computing time that says how fast the setting in use is; at least three steps, of which those of
calm times may be several in one."""

SLOWER = 1.3
"""A mean this much above the usual makes the governor look around."""

COLLAPSE = 2.5
"""Two of three steps this much above the usual are enough: one alone is somebody's hiccup."""

HOLD_UP = 3.0
"""A step that takes this much longer than the usual is held up: the governor's limit."""

BETTER = 0.95
"""What another setting has to cost of the one in use to be taken."""

SETTLE_SECONDS = (0.3, 5.0)
"""Computing time a choice gets before it is doubted: at first, and where the doubling ends that
every doubt without a result brings."""

RETRY_SECONDS = (2.0, 10.0)
RETRY_STEPS = (20, 150)
"""Likewise before more threads are tried again, and both must have passed: beside a busy neighbour
one step with too many threads costs as much as several with the right number."""

ROOM = 0.6
"""Idle cores from which on more threads are tried soon."""

SOON_SECONDS = 0.4

TOGETHER_SECONDS = 0.1
"""Computing time of which the steps are judged as one in calm times: between two tokens there is
none to spare."""

CALM_SECONDS = 1.0
"""Computing time without a doubt after which nobody is expected to come in between."""


class Setting(NamedTuple):
    """How to compute."""

    threads: int
    short: bool = False
    """Threads that wait sleep at once, and spin else."""


class Recent:
    """The last steps: what a unit of work cost in each, and how long it took; sums, because this
    is asked between any two tokens.
    """

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float, float]] = deque()
        self._cost = self._count = 0.0
        self.seconds = 0.0
        """Of all of them together."""

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def mean(self) -> float:
        """What a unit cost, on average."""
        return self._cost / self._count

    def last(self, count: int) -> list[float]:
        """The costs of so many, the newest first."""
        return [cost for (cost, _, _), _ in zip(reversed(self._steps), range(count), strict=False)]

    def add(self, cost: float, seconds: float, count: float = 1.0) -> None:
        """One step, or several that cost the same."""
        self._steps.append((cost, seconds, count))
        self._cost += cost * count
        self._count += count
        self.seconds += seconds

    def keep(self, least: int, seconds: float) -> None:
        """Forget the oldest, but for so many, as long as the others took so long."""
        while len(self._steps) > least and self.seconds - self._steps[0][1] >= seconds:
            cost, spent, count = self._steps.popleft()
            self._cost -= cost * count
            self._count -= count
            self.seconds -= spent

    def clear(self) -> None:
        self._steps.clear()
        self._cost = self._count = self.seconds = 0.0


class ThreadGovernor:
    """Chooses the setting.

    Args:
        most: the number of threads an idle machine should use.
        fixed: never another number; the person chose it.
        suspicious: look around at once, because there are neighbours already.
        waits: how threads wait can be changed while running.
    """

    def __init__(
        self, most: int, *, fixed: bool = False, suspicious: bool = True, waits: bool = False
    ) -> None:
        self.setting = Setting(most)
        self._most = most
        self._fixed = fixed
        self._waits = waits
        self._usual: float | None = None
        """Seconds per unit of work of the setting in use, in its good moments."""
        self._recent = Recent()
        """The last steps with this setting."""
        self._reference: float | None = None
        """While looking around: what the setting in use before cost at the end."""
        self._trial: dict[Setting, float] = {}
        """While looking around: what each setting tried so far costs."""
        self._untried: list[Setting] = []
        self._home = self.setting
        """The setting in use before looking around."""
        self._settle = SETTLE_SECONDS[0]
        self._patience = 0.0
        """How long to wait before more threads are tried: 0.0 is the shortest, 1.0 the longest."""
        self._room = False
        """Cores were idle of late."""
        self._age, self._steps = 0.0, 0
        """Computing time and steps since the last choice."""
        self._first = False
        """The next step is the first one after a pause."""
        self._together, self._together_seconds = 0, 0.0
        """Steps that were as usual and are not judged yet."""
        self.allowed = 0.0
        """In calm times: the limit of a step with one row; 0.0 has to be asked for."""
        self._rows: dict[int, float] = {}
        """What a step with several rows costs, by their number, in steps with one."""
        if suspicious and (around := self._around(self.setting)):
            # The setting that suffers most from neighbours comes last: by then there is a limit.
            self._untried = [*around[1:], self.setting]
            self.setting = around[0]

    @property
    def most(self) -> int:
        """The number of threads on an idle machine."""
        return self._most

    @property
    def threads(self) -> int:
        return self.setting.threads

    @property
    def short(self) -> bool:
        return self.setting.short

    @property
    def calm(self) -> bool:
        """Whether all threads compute undisturbed, for some time now."""
        undoubted = self._usual is not None and self._age > CALM_SECONDS
        return undoubted and self.setting == Setting(self._most)

    def limit(self, work: int = 1, rows: int = 1) -> float | None:
        """Seconds after which a step of that size is certainly held up by somebody."""
        if self.short or self.threads == 1:
            return None
        size = work * (self._rows.get(rows, float(rows)) if rows > 1 else 1.0)
        if self._usual is not None:
            return HOLD_UP * self._usual * size
        best = self._best()
        return HOLD_UP * best * size if best is not None else None

    def hint(self, room: float) -> None:
        """Tell how many cores were idle of late: the fewer, the later more threads are tried."""
        self._room = room >= ROOM
        if room < ROOM / 3:
            self._patience = max(0.5, self._patience)

    def resume(self) -> None:
        """Tell that nothing was computed for a while.

        The caches are cold and the threads asleep, so that the first step is slow whoever else is
        there; and what was measured before says nothing about now.
        """
        self._first = True
        self.allowed = 0.0
        self._together, self._together_seconds = 0, 0.0
        if self._usual is not None:
            self._recent.clear()

    def note(self, seconds: float, work: int = 1, rows: int = 1) -> Setting:
        """Tell how long a step took.

        Args:
            work: how many equal units it did: 1, or the tokens of a piece of prompt.
            rows: of a step of generation that checks guesses: the tokens in it.

        Returns:
            The setting for the next step.
        """
        if seconds < self.allowed * (SLOWER / HOLD_UP) and work == rows == 1:
            self._together += 1
            self._together_seconds += seconds
            if self._together_seconds >= TOGETHER_SECONDS:
                self._judge_together()
            return self.setting
        if self._together:
            self._judge_together()
            if self._usual is None:  # It looks around now, and this step was made before.
                return self.setting
        if self._first:
            self._first = False
            return self.setting
        cost = seconds / max(1, work)
        if rows > 1:
            known = self._as_one(cost, rows)
            if known is None:
                return self.setting
            cost = known
        self._age += seconds
        self._steps += 1
        self._recent.add(cost, seconds)
        if self._usual is None:
            self._try(cost)
        else:
            self._watch(cost)
        return self.setting

    def _judge_together(self) -> None:
        count, seconds = self._together, self._together_seconds
        self._together, self._together_seconds = 0, 0.0
        self._age += seconds
        self._steps += count
        # As two of them, where there are so many: what was late before is no longer the last.
        parts = min(2, count)
        for _ in range(parts):
            self._recent.add(seconds / count, seconds / parts, count / parts)
        self._watch(seconds / count, count)

    def _as_one(self, cost: float, rows: int) -> float | None:
        """What the step would have cost with one row; None while that is being learned."""
        if self._usual is None:
            return None
        ratio = cost / self._usual
        known = self._rows.get(rows)
        if known is None:
            self._rows[rows] = max(1.0, ratio)
            return None
        if ratio < SLOWER * known:
            self._rows[rows] = max(1.0, known + (0.5 if ratio < known else 0.05) * (ratio - known))
        return cost / known

    # --- looking around ---------------------------------------------------------------------------

    def _try(self, cost: float) -> None:
        """Judge the setting on trial as soon as it is clear what it is worth."""
        so_far = self._recent.mean
        best = self._best()
        hopeless = best is not None and (
            cost > HOLD_UP * best or (len(self._recent) > 1 and so_far > 1.6 * best)
        )
        if not hopeless and self._recent.seconds < TRIAL_SECONDS[len(self._recent) < 2]:
            return
        self._trial[self.setting] = so_far
        self._recent.clear()
        if not self._untried and self._climbs():
            best_setting = min(self._trial, key=lambda setting: self._trial[setting])
            self._untried = [s for s in self._around(best_setting) if s not in self._trial]
        if self._untried:
            self.setting = self._untried.pop(0)
        else:
            self._choose()

    def _best(self) -> float | None:
        """What the best setting known costs, while looking around."""
        return min(self._trial.values(), default=self._reference)

    def _climbs(self) -> bool:
        """Whether the best so far is not the setting the look around began with."""
        return min(self._trial.values()) < BETTER * self._trial.get(self._home, 0.0)

    def _choose(self) -> None:
        """Settle on the best of what was tried; the figures go stale and are not kept."""
        if self._climbs():
            best = min(self._trial, key=lambda s: self._trial[s])
            self._settle = SETTLE_SECONDS[0]
            self._patience = 0.0
        else:
            best = self._home
            self._settle = min(2 * self._settle, SETTLE_SECONDS[1])
            self._patience = min(1.0, self._patience + 0.25)
        self._usual = self._trial[best]
        self._trial, self._reference = {}, None
        self._age, self._steps = 0.0, 0
        self.setting = best

    def _look(self, now: float, *, grow: bool) -> None:
        self._home = self.setting
        self._untried = self._around(self.setting)
        if grow:
            self._trial = {self.setting: now}
        else:
            # What made it slow may be over: it is measured again, after the others.
            self._untried.append(self.setting)
        self._reference = now
        self._usual = None
        self._recent.clear()
        self.setting = self._untried.pop(0)

    # --- watching ---------------------------------------------------------------------------------

    def _watch(self, cost: float, count: int = 1) -> None:
        usual = self._usual
        assert usual is not None
        self._recent.keep(3, WINDOW_SECONDS)
        now = self._recent.mean
        # An answer slows down as its context grows, so the usual may rise, but slowly: what comes
        # at once is a neighbour. A single lucky step must not lower it either.
        if cost > usual:
            self._usual = min(cost, 1.003**count * usual)
        else:
            self._usual = usual + (1 - 0.9**count) * (cost - usual)
        slower = len(self._recent) >= 3 and now > SLOWER * usual and self._age > self._settle
        late = sum(cost > COLLAPSE * usual for cost in self._recent.last(3))
        collapsed = late >= 2 and self._age > self._settle / 4
        # More threads are no cure for a slow one: they have their own time.
        doubt = (slower or collapsed) and self.threads > 1
        if (doubt or self._grows()) and self._around(self.setting):
            self._look(now, grow=not doubt)
        self.allowed = (self.limit() or 0.0) if self.calm else 0.0

    def _grows(self) -> bool:
        """Whether it is time to try more threads, or longer waiting."""
        if not (self.short or (self.threads < self._most and not self._fixed)):
            return False
        if self._room:
            return self._age > max(SOON_SECONDS, self._settle) and self._steps >= 3
        seconds, steps = (
            low + self._patience * (high - low) for low, high in (RETRY_SECONDS, RETRY_STEPS)
        )
        return self._age > seconds and self._steps > steps

    def _around(self, setting: Setting) -> list[Setting]:
        """The settings to try from this one, the likeliest first."""
        threads, short = setting
        found: list[Setting] = []
        if not self._fixed:
            fewer = (max(1, threads - max(1, threads // 4)), max(1, threads // 2))
            more = min(self._most, threads + max(1, threads // 3))
            found += [Setting(few, short and few > 1) for few in fewer]
            found.append(Setting(more, short))
        if self._waits and threads > 1:
            found.append(Setting(threads, not short))
        elif self._waits and not self._fixed and self._most > 1:
            found.append(Setting(min(2, self._most), not short))
        return [s for s in dict.fromkeys(found) if s != setting]
