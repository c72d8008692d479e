"""How far a deployment is, stack by stack, read from what the CDK CLI prints."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mediactl.deploying.assembly import AssemblyStack

if TYPE_CHECKING:
    from rich.table import Table

_EVENT = re.compile(
    r"^\s*(?P<stack>\S+) \|\s*(?P<done>\d+)(/(?P<all>\d+))? \| [^|]+ \| (?P<status>[A-Z_]+)\s*\|"
    r" (?P<type>\S+)\s*\| (?P<rest>.*)$"
)
_STARTS = re.compile(r"^(?P<id>\S+)(?: \(\S+\))?: (?P<what>deploying|destroying)\.\.\.")
_ENDS = re.compile(r"^\s*(?P<mark>✅|❌)\s+(?P<id>\S+?)(?: \(\S+\))?(?P<rest>:? .*)?$")
STEP = 25
"""Percent of a stack after which a line is told where there is no terminal."""


@dataclass
class StackProgress:
    """How far one stack is.

    Attributes:
        id: Id of the stack in the app.
        name: Its name in CloudFormation.
        state: What happens to it.
        done: Resources that are done.
        total: Resources in all, as far as known.
        started: When it began, on the monotonic clock.
        seconds: How long it took, once it is over.
        failed: Whether a resource failed.
    """

    id: str
    name: str
    state: str = "waits"
    done: int = 0
    total: int = 0
    started: float = 0.0
    seconds: float | None = None
    failed: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.seconds is not None

    @property
    def percent(self) -> int:
        """How much of it is done."""
        return 100 * self.done // self.total if self.total else 0


class DeployProgress:
    """Follows the output of ``cdk deploy`` or ``cdk destroy``.

    Args:
        stacks: Stacks that are deployed, in their order.
        say: Told a line about every step, where there is no terminal to draw on.
    """

    def __init__(
        self, stacks: Sequence[AssemblyStack], say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.stacks = {stack.id: StackProgress(stack.id, stack.name) for stack in stacks}
        self._say = say

    def heard(self, line: str) -> None:
        """Read a line of output; lines that say nothing of progress change nothing."""
        starts, ends, event = _STARTS.match(line), _ENDS.match(line), _EVENT.match(line)
        if starts:
            self._begin(starts["id"], starts["what"])
        elif ends:
            self._end(ends["id"], ends["mark"], ends["rest"] or "")
        elif event:
            self._event(event)

    def _begin(self, stack_id: str, what: str) -> None:
        stack = self.stacks.get(stack_id)
        if stack is None:
            return
        stack.state, stack.started = what, time.monotonic()
        self._say(f"{stack.id}: {what}")

    def _end(self, stack_id: str, mark: str, rest: str) -> None:
        stack = self.stacks.get(stack_id)
        if stack is None or stack.is_over:
            return
        stack.seconds = time.monotonic() - stack.started if stack.started else 0.0
        if mark == "❌":
            stack.failed = True
            stack.state = "failed"
        elif "no changes" in rest:
            stack.state = "has no changes"
        else:
            stack.state = "destroyed" if stack.state == "destroying" else "deployed"
            stack.done = stack.total
        self._say(f"{stack.id}: {stack.state} ({stack.seconds:.0f} s)")

    def _event(self, event: re.Match[str]) -> None:
        # Stacks of several regions have one name; the paths of their resources tell them apart.
        running = [
            one
            for one in self.stacks.values()
            if one.name == event["stack"] and one.started and not one.is_over
        ]
        named = [one for one in running if event["rest"].startswith(f"{one.id}/")]
        stack = next(iter(named or (running if len(running) == 1 else [])), None)
        if stack is None:
            return
        before = stack.percent
        stack.done = max(stack.done, int(event["done"]))
        stack.total = max(int(event["all"] or 0), stack.total)
        if event["status"].endswith("_FAILED") and "cancelled" not in event["rest"]:
            stack.failed = True
            self._say(f"{stack.id}: {event['status']}: {event['rest'].strip()}")
        elif stack.percent // STEP > before // STEP and stack.percent < 100:  # noqa: PLR2004
            self._say(f"{stack.id}: {stack.done} of {stack.total} resources")

    def table(self) -> Table:
        """Return the state of all stacks, for a terminal."""
        from rich.progress_bar import ProgressBar  # noqa: PLC0415 - slow to import
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        for stack in self.stacks.values():
            bar: Any = ""
            if stack.started and not stack.is_over:
                bar = ProgressBar(total=stack.total or None, completed=stack.done, width=20)
            seconds = stack.seconds
            if seconds is None and stack.started:
                seconds = time.monotonic() - stack.started
            count = f"{stack.done}/{stack.total}" if stack.total else ""
            told = f"{seconds:.0f} s" if seconds else ""
            state = Text(stack.state, style="red" if stack.failed else "")
            table.add_row(stack.id, state, bar, count, told)
        return table


@contextlib.contextmanager
def shown(
    stacks: Sequence[AssemblyStack], say: Callable[[str], None]
) -> Iterator[Callable[[str], None]]:
    """Show how far a deployment is, and yield what takes the lines of the CDK CLI.

    A terminal gets a table that is drawn anew, everything else a line about every step.

    Args:
        stacks: Stacks that are deployed.
        say: Tells a line.
    """
    from mediactl.output import talk  # noqa: PLC0415 - not where nothing is shown

    console = talk()
    if not console.is_terminal:
        yield DeployProgress(stacks, say).heard
        return
    from rich.live import Live  # noqa: PLC0415 - slow to import

    progress = DeployProgress(stacks)
    with Live(console=console, get_renderable=progress.table, refresh_per_second=4) as live:

        def heard(line: str) -> None:
            progress.heard(line)
            # What lasts less than a turn of the drawing is seen, too.
            live.refresh()

        yield heard
