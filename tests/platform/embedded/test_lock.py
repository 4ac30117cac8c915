import subprocess
import sys

from embedded.lock import RunningUp, UpLock, running_up


def test_nobody_runs_in_a_fresh_folder(tmp_path):
    assert running_up(tmp_path) is None


def test_holder_is_told_with_pid_address_and_trouble(tmp_path):
    lock = UpLock(tmp_path)
    told = RunningUp(4711, "http://127.0.0.1:8000", is_ready=True, troubled=("beat",))

    assert lock.acquire()
    lock.tell(told)

    assert running_up(tmp_path) == told
    lock.release()


def test_second_holder_is_refused_until_the_first_lets_go(tmp_path):
    first, second = UpLock(tmp_path), UpLock(tmp_path)
    assert first.acquire()

    assert not second.acquire()
    first.release()

    assert second.acquire()
    second.release()


def test_killed_holder_holds_nothing(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from embedded.lock import *;"
        "lock = UpLock(Path(sys.argv[1])); lock.acquire(); lock.tell(RunningUp(1, 'x'));"
        "print('held', flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert running_up(tmp_path) == RunningUp(1, "x")
        holder.kill()

    assert running_up(tmp_path) is None
    lock = UpLock(tmp_path)
    assert lock.acquire()
    assert running_up(tmp_path) == RunningUp(0, "")  # the dead holder's note is gone
    lock.release()
