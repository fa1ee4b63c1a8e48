"""Makes calls and prints what came of each: a line of JSON, {"call": ..., "answer": ...}."""

import dataclasses
import enum
import json
import uuid


def plain(value):
    """A value of a client's own types as one that JSON has."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.name if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, BaseException):
        return fault(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, dict):
        pairs = {key_of(key): plain(inner) for key, inner in value.items()}
        return dict(sorted(pairs.items()))
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=json.dumps)
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    names = getattr(value, "__slots__", None) or vars(value)
    return plain({name.lstrip("_"): getattr(value, name) for name in names if hasattr(value, name)})


def key_of(key):
    if isinstance(key, str):
        return key
    if isinstance(key, enum.Enum):
        return key.name
    return json.dumps(plain(key))


def fault(error):
    return {"error": type(error).__name__, "text": str(error)}


# Calls that change something; Apache Kafka's parts learn of a change one after another.
CHANGING = ("create", "alter", "incremental", "reset_configs", "delete_topics")

# Returns when what was changed before is known everywhere; each script has its own.
settle = None


def make(name, function, *arguments, **named):
    """One call; an error is an answer too."""
    try:
        answer = plain(function(*arguments, **named))
    except Exception as error:  # noqa: BLE001: whatever it raises is what a user sees
        answer = fault(error)
    print(json.dumps({"call": name, "answer": answer}), flush=True)
    if name.startswith(CHANGING):
        settle()
