"""The commands of the guide's page about Kafka."""

import os
import re
import shlex

PAGE = os.path.join(os.path.dirname(__file__), "../../../docs/guide/kafka.md")
# The page's addresses: of the administrator's listener, and of the one where users log in.
ADMINISTRATOR, USERS = "broker1:9092", "broker1:9093,broker2:9093"


def recipe():
    """The blocks of "Grow onto a cluster" in their order: commands, and ("toml", text)."""
    with open(PAGE) as page:
        text = page.read()
    text = text[text.index("### Grow onto a cluster"):text.index("### What to know about clusters")]
    steps = []
    for toml, command in re.findall(r"```toml\n([^`]*)```|^    \$ ((?:.*\\\n)*.*)", text, re.M):
        steps.append(("toml", toml) if toml else command)
    return steps


def acls():
    """The arguments of the recipe's kafka-acls.sh commands, without those of the copy."""
    commands = [shlex.split(step.replace("\\\n", " ")) for step in recipe() if isinstance(step, str)]
    until = next(at for at, command in enumerate(commands) if "kafka-topics.sh" in command)
    found = []
    for command in commands[:until]:
        if command[0] == "kafka-acls.sh":
            assert command[1:4] == ["--bootstrap-server", ADMINISTRATOR, "--add"], command
            found.append(command[3:])
    assert len(found) == 4, f"the guide has {len(found)} commands"
    return found
