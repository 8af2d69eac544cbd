"""The event types of the live faces: five words for people's programs, over the engine's own events."""

from typing import Literal

from interlock.runs import model as m

FaceType = Literal["status_change", "task_completed", "agent_communication", "error", "completion"]


def face_type(event: m.RunEvent) -> FaceType:
    """The word for an event; its own type stays in the data."""
    match event:
        case m.RunFinished():
            return "completion"
        case m.TaskCompleted():
            return "task_completed"
        case m.TaskFailed() | m.CallRefused():
            return "error"
        case m.TaskReported() | m.TaskParked() | m.TaskAnswered():
            return "agent_communication"
        case _:
            return "status_change"
