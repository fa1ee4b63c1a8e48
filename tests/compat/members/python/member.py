"""What members of all Python clients share: their options, the lines that they write and the word
to leave. The lines are described in tests/compat/matrix/events.rs."""

import json
import sys
import threading


class Options:
    """What the test asks for, from the one argument."""

    def __init__(self):
        asked = json.loads(sys.argv[1])
        self.client = asked["client"]
        self.name = asked["name"]
        self.broker = asked["broker"]
        self.topic = asked["topic"]
        self.group = asked["group"]
        self.protocol = asked["protocol"]
        self.assignor = asked["assignor"]
        self.instance = asked["instance"]
        self.session_ms = asked["session_ms"]
        self.heartbeat_ms = asked["heartbeat_ms"]
        self.poll_ms = asked["poll_ms"]


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def word_to_leave():
    """Is set when the standard input ends."""
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
    return told


def say_read(records, generation):
    """Tells of (partition, offset) pairs as ranges without holes; gives where each partition goes
    on."""
    ends = {}
    spans = []
    for partition, offset in records:
        if spans and spans[-1][0] == partition and spans[-1][2] == offset:
            spans[-1][2] += 1
        else:
            spans.append([partition, offset, offset + 1])
        ends[partition] = offset + 1
    for partition, first, end in spans:
        say("read", partition=partition, first=first, end=end, generation=generation)
    return ends
