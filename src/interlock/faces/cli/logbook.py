"""Printing logs: what a service writes on stdout, what there is to say of it beside it, on stderr."""

import json
import sys
from collections.abc import Iterable

import typer

from interlock.faces.cli.output import patient, say
from interlock.faces.cli.text import Doc, clean, clean_lines


class LogPrinter:
    """Prints the output of the instances of a deployment, each line behind its instance's name where there are several.

    What a stranger writes could act on the terminal; unless ``is_raw`` such characters are shown as signs.
    """

    def __init__(self, *, is_raw: bool) -> None:
        self._is_raw = is_raw
        self._open: str | None = None
        """The instance whose last line has no end yet."""
        self._is_lost = False
        self._out = patient(sys.stdout)

    def text(self, instance: str, text: str) -> None:
        """Something that an instance has written."""
        shown = text if self._is_raw else clean_lines(text)
        if not shown:
            return
        if self._open not in {None, instance}:
            self._end_line()
        name = f"{clean(instance)} | " if instance else ""
        lines = shown.split("\n")
        is_continued, ends = self._open == instance, lines[-1] == ""
        out = [
            ("" if is_continued and not number else name) + line for number, line in enumerate(lines[:-1] if ends else lines)
        ]
        self._out.write("\n".join(out) + ("\n" if ends else ""))
        self._out.flush()
        self._open = None if ends else instance

    def note(self, line: str) -> None:
        """Something that is to be said of the log."""
        self._end_line()
        say(f"--- {clean(line)}")

    def connection(self, problem: str) -> None:
        """The connection is lost, for this reason, or back; said once each."""
        if bool(problem) is not self._is_lost:
            self.note(problem or "the connection is back")
        self._is_lost = bool(problem)

    def end(self) -> None:
        """Nothing more comes."""
        self._end_line()

    def _end_line(self) -> None:
        if self._open is not None and not self._is_raw:
            typer.echo()
        self._open = None


def print_window(window: Doc, printer: LogPrinter) -> None:
    """A window into a log, the instances one after the other."""
    if not window["is_serving"]:
        state = window["state"].replace("_", " ")
        printer.note(f"{window['deployment_id']} ({window['version']}) does not serve: it is {state}")
    for piece in window["pieces"]:
        if piece["lost_bytes"]:
            printer.note(_lost(piece))
        printer.text(piece["instance"], piece["text"])
    printer.end()


def print_event(event: Doc, printer: LogPrinter) -> None:
    """An event of a log that is followed."""
    match event["type"]:
        case "log":
            printer.text(event["instance"], event["text"])
        case "gap":
            printer.note(_lost(event))
        case "deployment" if event["previous"]:
            printer.note(f"{event['deployment_id']} ({event['version']}) takes over from {event['previous']}")
        case "deployment":
            printer.note(f"{event['deployment_id']} ({event['version']})")
        case "away":
            printer.note(f"the log cannot be read now: {event['message']}; it goes on as soon as it can be")
        case "end":
            printer.note(f"{event['deployment_id']} has ended: {event['message']}")
        case _:
            # Of a newer server: whoever does not know it loses nothing of the log.
            return


def print_json_lines(events: Iterable[Doc]) -> None:
    """Each event as one line of JSON, in ASCII, at once."""
    for event in events:
        typer.echo(json.dumps(event))


def _lost(event: Doc) -> str:
    whose = f" of {event['instance']}" if event["instance"] else ""
    return f"{event['lost_bytes']} bytes{whose} are missing here: they were rotated away before they were read"
