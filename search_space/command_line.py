"""What every command of SnapNAS shares: options from a dataclass, errors and signals turned into exit codes.

    0  done                                         4  the database cannot be reached
    1  the run failed, or nobody reads its stdout   130  stopped by Ctrl-C
    2  a wrong argument, config or file             143  stopped by SIGTERM
    3  no architecture keeps the constraints

People read stderr: progress, log lines, and errors of at most three lines (the whole traceback with `--debug`).
Programs read stdout, where `print_json` writes one line.
"""

import contextlib
import dataclasses
import difflib
import inspect
import io
import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import tyro

from search_space.errors import SnapNASError, UsageError
from search_space.version import version_text

OptionsT = TypeVar("OptionsT")

INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT
TERMINATED_EXIT_CODE = 128 + signal.SIGTERM

_PACKAGES = ("search_space", "training", "deploy", "proxies", "profilers", "studies", "dashboard")
_MAX_LINE_LENGTH = 400
_SECONDS_TO_LEAVE_A_CALLBACK = 0.05


class Terminated(BaseException):
    """SIGTERM arrived. Raised in the main thread so that `finally` blocks run, like KeyboardInterrupt for Ctrl-C."""


def run(command: Callable[[OptionsT], None], options_class: type[OptionsT], *, prog: str) -> NoReturn:
    """Runs one command with the process's arguments and ends the process.

    Args:
        command: What to do with the options.
        options_class: A frozen dataclass; each field's docstring is its help, `tyro.conf.Positional` makes a field
            positional, and the class's docstring describes the command.
        prog: The command's name after `python -m`, such as `studies.run`.
    """
    arguments = sys.argv[1:]
    is_debug = "--debug" in arguments
    try:
        handle_signals()
        _log_to_stderr(is_debug=is_debug)
        if "--version" in arguments:
            print(version_text())
        else:
            command(parse_options(options_class, arguments, prog=prog))
        sys.stdout.flush()
        exit_code = 0
    except BrokenPipeError:
        # Whoever read our stdout is gone (`... | head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        exit_code = 1
    except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001 - the process ends here
        message, exit_code = _explain(error)
        print("".join(traceback.format_exception(error)) if is_debug else message, file=sys.stderr)
    sys.exit(exit_code)


def print_json(document: object) -> None:
    """Prints one strict JSON document as one line on stdout; NaN and infinity raise ValueError."""
    print(json.dumps(document, allow_nan=False), flush=True)


def parse_options(options_class: type[OptionsT], arguments: Sequence[str], *, prog: str) -> OptionsT:
    """Turns command-line arguments into the options; a wrong argument prints at most three lines and exits with 2."""
    class_with_common_options = _with_common_options(options_class)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: Any = tyro.cli(
                class_with_common_options,
                prog=f"python -m {prog}",
                description=inspect.getdoc(options_class),
                args=arguments,
                config=(
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.PositionalMetavarFromFieldName,
                    tyro.conf.DisallowNone,
                ),
            )
    except SystemExit as stop:
        if stop.code:
            flags = _flags(class_with_common_options)
            print(_shorten_complaint(complaint.getvalue(), arguments, flags, prog=prog), file=sys.stderr)
        raise
    return options_class(**{field.name: getattr(parsed, field.name) for field in _fields(options_class)})


def require_folder_of(path: str, *, option: str) -> None:
    """Refuses a file to be written whose folder is not there, before hours of work go into its content."""
    if path and not Path(path).parent.is_dir():
        raise UsageError(f"{option} {path} was given", allowed="a file in a folder that exists", fix="make the folder")


def _with_common_options(options_class: type[object]) -> type[object]:
    """The options, and with them the flags that every command has and `run` reads."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class CommandLine(options_class):  # type: ignore[misc, valid-type]
        debug: bool = False
        """Show the whole traceback of an error, and more log lines."""
        version: bool = False
        """Show the versions of SnapNAS and of what it stands on, and exit."""

    return CommandLine


def _fields(options_class: type[object]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(options_class)  # type: ignore[arg-type]


def _flags(options_class: type[object]) -> list[str]:
    return [f"--{field.name.replace('_', '-')}" for field in _fields(options_class)]


def _shorten_complaint(complaint: str, arguments: Sequence[str], flags: Sequence[str], *, prog: str) -> str:
    """Takes tyro's first paragraph out of its box and adds the flags nearest to the ones it does not know."""
    lines = [line.strip("│ ") for line in complaint.splitlines()]
    paragraph = [line for line in lines if line and not line.startswith("╭")]
    first_end = next((i for i, line in enumerate(paragraph) if line.startswith(("─", "╰", "Got errors"))), len(lines))
    given = " ".join(" ".join(paragraph[:first_end]).split())
    unknown = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    near = {
        match: None for word in unknown if word not in flags for match in difflib.get_close_matches(word, flags, n=1)
    }
    given = given.removeprefix("Error parsing CommandLine: ")  # from the dataclass's own checks
    result = re.split(r" (?=(?:allowed|fix): )", given)
    if near:
        result.append(f"did you mean: {' '.join(near)}")
    return "\n".join([*result, f"help: python -m {prog} --help"][:3])


def _explain(error: BaseException) -> tuple[str, int]:
    """An error's message for people and the process's exit code."""
    match error:
        case KeyboardInterrupt():
            return "stopped by Ctrl-C; to resume, type the same command again", INTERRUPTED_EXIT_CODE
        case Terminated():
            return "stopped by SIGTERM; to resume, type the same command again", TERMINATED_EXIT_CODE
        case SnapNASError():
            return str(error), error.exit_code
    # Anything else is our mistake or the machine's.
    first_line = (str(error).strip() or "no message").splitlines()[0][:_MAX_LINE_LENGTH]
    where = _write_traceback(error)
    return f"{type(error).__name__}: {first_line}\n{where}\nfix: run again with --debug to see it here", 1


def _write_traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="snapnas-", suffix=".log", delete=False) as log:
            log.write(text)
    except OSError as disk_error:  # a full disk may be what stopped the run in the first place
        return f"the traceback could not be written: {disk_error}"
    return f"traceback: {log.name}"


def handle_signals() -> None:
    """The first Ctrl-C or SIGTERM raises in the main thread; the second one ends the process at once.

    Where Python drops what is raised (in a `__del__`, or in the callback of a weak reference, which can run at any
    time), the signal is sent once more a moment later.

    `run` calls this. Call it again after a library has put its own handlers in place, as `ray.init` does for SIGTERM.
    """
    exceptions = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
    seen: set[int] = set()
    main_thread, report_dropped = threading.get_ident(), sys.unraisablehook

    def stop(number: int, _frame: FrameType | None) -> None:
        if number in seen:
            os._exit(128 + number)
        seen.add(number)
        raise exceptions[signal.Signals(number)]

    def send_again(dropped: "sys.UnraisableHookArgs") -> None:
        for number, exception in exceptions.items():
            if issubclass(dropped.exc_type, exception):
                seen.discard(number)
                threading.Timer(_SECONDS_TO_LEAVE_A_CALLBACK, signal.pthread_kill, [main_thread, number]).start()
                return
        report_dropped(dropped)

    for number in exceptions:
        signal.signal(number, stop)
    sys.unraisablehook = send_again


class _StderrHandler(logging.Handler):
    """Looks stderr up for every line, because an open progress bar replaces it to print above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def _log_to_stderr(*, is_debug: bool) -> None:
    logging.basicConfig(handlers=[_StderrHandler()], format="%(levelname)s %(name)s: %(message)s")
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if is_debug else logging.INFO)
