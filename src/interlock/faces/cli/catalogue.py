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
        "report": Entry("runs:report", "Write the report of a run as Markdown."),
        "why": Entry("runs:why", "Say what a run, or one step of it, waits for."),
        "pause": Entry("runs:pause", "Let no further step of a run start until it is resumed."),
        "resume": Entry("runs:resume", "End the pause of a run."),
        "cancel": Entry("runs:cancel", "End a run; what it changed is brought back."),
    },
    "What is delivered": {
        "service add": Entry("delivery:add_service", "Register a service and its repository."),
        "service list": Entry("delivery:list_services", "List the services."),
        "service watch": Entry("delivery:set_watch", "Set a service's own thresholds."),
        "status": Entry("delivery:status", "Show what serves where, as observed now."),
        "drift": Entry("delivery:drift", "Show where what runs is not what should run."),
        "logs": Entry("logs:logs", "Print what a service writes, or follow it over switches."),
        "releases": Entry("delivery:releases", "List releases, newest first."),
        "incidents": Entry("incidents:incidents", "List incidents, or show one."),
        "incidents show": Entry("incidents:show_incident", "Show an incident with its evidence and a draft of the cause."),
        "incidents ack": Entry("incidents:acknowledge", "Say that you take care of an incident."),
        "incidents note": Entry("incidents:note", "Add what was found out."),
        "incidents resolve": Entry("incidents:resolve", "Close an incident by hand."),
        "incidents export": Entry("incidents:export", "Write the report of an incident as Markdown."),
        "quarantine list": Entry("delivery:list_quarantine", "List what must not be deployed again."),
        "quarantine lift": Entry("delivery:lift_quarantine", "Allow a quarantined version again."),
    },
    "Who may change what, and when": {
        "environment list": Entry("environments:list_environments", "List the environments: rules, windows, what serves."),
        "environment set": Entry("environments:set_rules", "Set rules of an environment."),
        "environment freeze": Entry("environments:freeze", "Let nothing new begin in an environment."),
        "environment thaw": Entry("environments:thaw", "End a freeze."),
        "user add": Entry("users:add_user", "Add a user; prints the token, this once."),
        "user list": Entry("users:list_users", "List the users."),
        "user remove": Entry("users:remove_user", "Remove a user and void the token."),
    },
    "What waits for you": {
        "inbox": Entry("inbox:inbox", "List what waits for a person; answer it."),
        "inbox answer": Entry("inbox:answer", "Answer an item."),
    },
    "Telling others": {
        "notify add": Entry("notifications:add", "Send events to a webhook or an e-mail address."),
        "notify list": Entry("notifications:channels", "List the channels."),
        "notify test": Entry("notifications:send_test", "Send a test event and show what came of it."),
        "notify rotate": Entry("notifications:rotate", "Make a new signing secret; the former one stays valid for a while."),
        "notify enable": Entry("notifications:enable", "Deliver to a disabled channel again."),
        "notify remove": Entry("notifications:remove", "Take a channel away."),
        "notify deliveries": Entry("notifications:deliveries", "List what was sent, and what became of it."),
        "notify redrive": Entry("notifications:redrive", "Send again what was given up."),
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
    "incidents": "List incidents, or show one.",
    "quarantine": "See and lift what must not be deployed again.",
    "environment": "See and change the rules of environments.",
    "user": "Add, list and remove users.",
    "inbox": "List what waits for a person; answer it.",
    "notify": "Tell people and programs outside what happens.",
    "module": "Work with ai-module.yaml, without a server.",
    "audit": "Verify and export the record.",
}

COMMANDS: dict[str, Entry] = {path: entry for section in SECTIONS.values() for path, entry in section.items()}

SHOWN_BY_ID = {"incidents": ("inc_", "show")}
"""Group -> how its ids begin, and the command that an id alone stands for."""
