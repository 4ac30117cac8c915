"""Who runs the embedded servers, and what that account can reach.

Postgres refuses to run as root, so root hands it (and Valkey) to an account that owns nothing.
"""

import os
import stat
from pathlib import Path
from typing import TypedDict

from embedded.errors import CannotStart

NOBODY = 65534


class AccountOptions(TypedDict, total=False):
    """The part of Popen's arguments that drops root."""

    user: int
    group: int
    extra_groups: list[int]


def server_uid() -> int:
    return NOBODY if os.geteuid() == 0 else os.geteuid()


def account_options() -> AccountOptions:
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def closed_folder_above(path: Path, uid: int) -> Path | None:
    """The outermost folder above `path` that `uid` cannot pass through; None when the way is open."""
    for folder in reversed(path.parents):
        entry = folder.stat()
        bit = stat.S_IXUSR if entry.st_uid == uid else stat.S_IXOTH
        if not entry.st_mode & bit:
            return folder
    return None


def can_execute(program: Path, uid: int) -> bool:
    """Whether `uid` can run `program`; for another account only the permission bits are read."""
    if uid == os.geteuid():
        return os.access(program, os.X_OK)
    mode = program.stat().st_mode
    open_to_all = stat.S_IROTH | stat.S_IXOTH
    return mode & open_to_all == open_to_all and closed_folder_above(program, uid) is None


def make_server_folder(folder: Path) -> None:
    """Make `folder` if needed, closed to everyone but the account that runs the servers."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != server_uid():
        os.chown(folder, server_uid(), server_uid() if os.geteuid() == 0 else -1)
    folder.chmod(0o700)


def prepare_state_folder(state: Path) -> None:
    """Make the state folder and see that the servers' account can reach inside it."""
    try:
        _refuse_closed_way(state)
        state.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            state.chmod(0o711)
        (state / "logs").mkdir(mode=0o700, exist_ok=True)
        _refuse_closed_way(state)  # the mask may have closed a folder made on the way
    except OSError as error:
        raise CannotStart(
            f"The state folder {state} cannot be used: {error.strerror}. "
            "Set OUTSAMPLE_STATE to a folder of yours."
        ) from error


def _refuse_closed_way(state: Path) -> None:
    """A closed folder above is named and never opened: it is not ours."""
    known = next(folder for folder in state.parents if folder.exists())
    closed = closed_folder_above(known / "inside", server_uid())
    if closed is not None:
        raise CannotStart(
            f"The folder {closed} is closed to the account that runs Postgres (uid {server_uid()}), "
            f"so {state} cannot be used. Set OUTSAMPLE_STATE to a folder it can reach."
        )
