"""Every command: where it is written and what it is for. Read without loading any of them."""

from typing import NamedTuple


class Entry(NamedTuple):
    """``target`` is ``module:function`` inside `interlock.faces.cli.commands`."""

    target: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Control plane": {
        "serve": Entry("server:serve", "Run the control plane on this machine."),
        "demo": Entry("server:demo", "Tell the whole story, from words to a rollback."),
    },
    "From words to an approved plan": {
        "plan": Entry("plans:plan", "Make a plan of a request in plain words."),
        "show": Entry("plans:show_plan", "Show a plan with every step, command and right."),
        "plans": Entry("plans:plans", "List plans, newest first."),
        "approve": Entry("plans:approve", "Approve exactly what was shown; the run follows."),
        "reject": Entry("plans:reject", "Turn a plan down."),
        "promote": Entry("ways:promote", "Plan to bring what is good in one environment to the next."),
        "drill": Entry("ways:drill", "Plan the proof that a rollback would work; no traffic is moved."),
        "rollback": Entry("plans:rollback", "Plan the way back to a release that was good, and approve it."),
    },
    "Runs": {
        "runs": Entry("runs:runs", "List runs, newest first."),
        "watch": Entry("runs:watch", "Follow a run, live, until it ends."),
        "cancel": Entry("runs:cancel", "End a run; what it changed is brought back."),
    },
    "What is delivered": {
        "service add": Entry("delivery:add_service", "Register a service and its repository."),
        "service list": Entry("delivery:list_services", "List the services."),
        "service watch": Entry("delivery:set_watch", "Set a service's own thresholds."),
        "status": Entry("delivery:status", "Show what serves where, as observed now."),
        "releases": Entry("delivery:releases", "List releases, newest first."),
        "incidents": Entry("delivery:incidents", "List incidents, or show one with its evidence."),
        "quarantine list": Entry("delivery:list_quarantine", "List what must not be deployed again."),
        "quarantine lift": Entry("delivery:lift_quarantine", "Allow a quarantined version again."),
    },
    "What waits for you": {
        "inbox": Entry("inbox:inbox", "List what waits for a person; answer it."),
        "inbox answer": Entry("inbox:answer", "Answer an item."),
    },
    "Files and the record": {
        "module check": Entry("module:check", "Check an ai-module.yaml, with line and column."),
        "module init": Entry("module:init", "Write an ai-module.yaml, filled in with what is found."),
        "module schema": Entry("module:schema", "Print the JSON Schema of ai-module.yaml."),
        "audit verify": Entry("audit:verify", "Verify the record: all of it, or an exported file."),
        "audit export": Entry("audit:export", "Write the record to a file that can be verified elsewhere."),
    },
}
"""Heading -> path of the command -> entry."""

GROUPS = {
    "service": "Register and list services.",
    "quarantine": "See and lift what must not be deployed again.",
    "inbox": "List what waits for a person; answer it.",
    "module": "Work with ai-module.yaml, without a server.",
    "audit": "Verify and export the record.",
}

COMMANDS: dict[str, Entry] = {path: entry for section in SECTIONS.values() for path, entry in section.items()}
