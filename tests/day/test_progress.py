"""Progress tells how long each step took, and not how long ago it was over."""

from __future__ import annotations

import io
import re

from rich.console import Console

from sandbox.day.progress import Steps


def told(*, terminal: bool, fails: bool = False) -> str:
    """What is left on screen of three steps, without colours."""
    screen = io.StringIO()
    try:
        with Steps(Console(file=screen, force_terminal=terminal, width=100)) as steps:
            steps.begin("starting the stack")
            for done in range(1, 4):
                steps.count("replay", done, 3)
            steps.begin("coming to rest")
            steps.say("SAP has 3 events to send")
            if fails:
                raise RuntimeError("the broker is gone")
    except RuntimeError:
        pass
    last_frame = screen.getvalue().split("\x1b[2K")[-1]
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last_frame)


def test_a_log_has_one_line_for_each_step_that_is_over() -> None:
    lines = told(terminal=False).splitlines()
    assert [re.sub(r"\d+\.\d s", "0.0 s", line) for line in lines] == [
        "✓ starting the stack (0.0 s)", "✓ replay: 3 of 3 (0.0 s)", "✓ coming to rest (0.0 s)",
    ]  # fmt: skip


def test_on_a_terminal_every_step_that_is_over_is_ticked_off() -> None:
    frame = told(terminal=True)
    assert [line[0] for line in frame.splitlines() if line.strip()].count("✓") == 3, frame
    assert "3 of 3" in frame and "events to send" not in frame


def test_a_step_that_failed_is_not_told_to_be_over() -> None:
    assert "✓ coming to rest" not in told(terminal=False, fails=True)
    assert [line[0] for line in told(terminal=True, fails=True).splitlines() if line.strip()].count("✓") == 2
