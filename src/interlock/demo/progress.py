"""The events of a run in the words of the story."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from interlock.demo.api import Doc
from interlock.demo.telling import Teller


class Progress:
    """Tells what happens to a run, and remembers what it saw last. ``last_event`` may be read by another thread."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._started: dict[str, str] = {}
        self._titles: dict[str, str] = {}
        self._messages: dict[str, str] = {}
        self.last_event = "none, the run had not begun"
        self.status = ""
        self.adoptions = 0

    def tell(self, events: Iterator[Doc]) -> str:
        """Tell every event; returns the status with which the run ended."""
        for event in events:
            task = event.get("task", "")
            self.last_event = f"{event['seq']} {event['type']}" + (f" of {task}" if task else "")
            self._notice(event)
        return self.status

    def _notice(self, event: Doc) -> None:
        match event["type"]:
            case "RunSubmitted":
                self._titles = {task["id"]: task["title"] for task in event["run"]["graph"]["tasks"]}
            case "RunAdopted":
                self.adoptions += 1
                self._teller.event("↻", "bold yellow", "the run", "is taken over by the new control plane where it stood")
            case "RunFinished":
                self.status = event["status"]
                message = event["error"].get("message", "")
                words = self.status.replace("_", " ") + (f": {message}" if message else "")
                self._teller.event("■", "bold", "the run", words)
            case _:
                self._notice_task(event)

    def _notice_task(self, event: Doc) -> None:
        task: str = event.get("task", "")
        match event["type"]:
            case "TaskStarted":
                self._started[task] = event["at"]
                self._teller.note(f"{task}: {self._titles.get(task, '')}")
            case "TaskReported":
                self._messages[task] = event["message"]
                if event["message"].startswith("incident"):
                    self._teller.event("!", "bold red", task, event["message"])
                else:
                    self._tell_numbers(task, event["data"].get("analysis", {}).get("comparisons", []))
            case "TaskRetryScheduled":
                self._teller.event("↻", "bold yellow", task, f"is tried again: {event['error'].get('message', '')}")
            case "TaskFailed":
                self._teller.event(
                    "✗", "bold red", task, f"{self._lasted(event):>5.1f} s  {event['error'].get('message', 'failed')}"
                )
            case "TaskCompleted":
                message = self._messages.get(task) or self._titles.get(task, "")
                self._teller.event("✓", "green", task, f"{self._lasted(event):>5.1f} s  {message}")
            case _:
                pass

    def _tell_numbers(self, task: str, comparisons: Sequence[Doc]) -> None:
        for comparison in comparisons:
            self._teller.event("·", "cyan", task, comparison["detail"])

    def _lasted(self, event: Doc) -> float:
        ended: str = event["at"]
        began = self._started.get(event["task"], ended)
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
