"""A day that is broken off: nothing of it is left, however impatient the person is."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
READY_SECONDS = 60


@pytest.mark.timeout(120)
def test_ctrl_c_again_and_again_does_not_cut_the_stopping_short(tmp_path: Path) -> None:
    file = tmp_path / "invoices.csv"
    file.write_text(HEADER + "".join(f"{n},A,x,1,2010-12-01 08:28,1.00,C-1,UK\n" for n in range(50)))
    line = [sys.executable, "-u", "-m", "sandbox.day", "--data", str(file), "--out", str(tmp_path / "out")]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert any("starting the stack (" in said for said in process.stdout)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 6
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        said = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted: everything is stopped" in said and "Traceback" not in said
    assert not psutil.wait_procs(children, timeout=5)[1]
    assert not (tmp_path / "out" / "summary.json").exists()
