"""Rules that the description states in words only. Cases that break one are valid by the schemas, and rejected."""

import datetime
import unicodedata

import schemathesis


def fields_of(case):
    return case.body if isinstance(case.body, dict) else {}


def lacks_a_script(case):
    """A request needs `code`, `file` or `source`. An empty part of a form counts as absent."""
    if not isinstance(case.body, dict) or (case.query or {}).get("file") is not None:
        return False
    absent = (None, "") if case.media_type == "multipart/form-data" else (None,)
    return all(case.body.get(name) in absent for name in ("code", "file", "source"))


def names_two_files(case):
    """`file` may be in the query or in the body, but not with two values in both."""
    in_query = (case.query or {}).get("file")
    return in_query is not None and fields_of(case).get("file") is not None


def has_a_file_of_another_kind(case):
    """`file` is a script, and no function or module."""
    file = (case.query or {}).get("file") is not None or fields_of(case).get("file") is not None
    return file and fields_of(case).get("kind") not in (None, "", "script")


def is_scheduled_too_late(case):
    """`runAt` is at most 366 days ahead."""
    run_at = fields_of(case).get("runAt")
    next_year = str(datetime.date.today() + datetime.timedelta(days=365))
    return isinstance(run_at, str) and run_at > next_year


def reuses_a_key(case, keys=set()):
    """An `Idempotency-Key` is for one request."""
    key = (case.headers or {}).get("Idempotency-Key")
    if key is None or key not in keys:
        keys.add(key)
        return False
    return True


def has_an_unquoted_string(case):
    """The tool writes a string into a JSON part of a form without its quotes."""
    json = (type(None), bool, int, float, list, dict)
    return case.media_type == "multipart/form-data" and not isinstance(fields_of(case).get("input"), json)


def is_of_no_report(case):
    """`from` is at most 366 days before `to`. By default it begins the month of `to`, which is now by default."""
    if case.path != "/api/usage":
        return False
    now = datetime.datetime.now(datetime.timezone.utc)
    query = case.query or {}
    try:
        start, end = (
            datetime.datetime.fromisoformat(query[name]) if query.get(name) else None
            for name in ("from", "to")
        )
        end = end or now
        start = start or end.replace(day=1, hour=0, minute=0)
        return not start <= end <= start + datetime.timedelta(days=364)
    except (TypeError, ValueError, OverflowError):
        return True


def names_a_script_ambiguously(case):
    """A name in a path has no `/`, `\\`, `;` or `%`, no control character, and no space at its ends."""
    name = (case.path_parameters or {}).get("name")
    if case.path != "/api/scripts/{name}" or not isinstance(name, str):
        return False
    return name != name.strip() or any(letter in "/\\;%" or unicodedata.category(letter) == "Cc" for letter in name)


def breaks_a_rule_of_tools(case):
    """`replay` is a text of the service, other fields of tools need `tools`, and each name is an identifier of its own."""
    fields = fields_of(case)
    tools = fields.get("tools")
    if tools is not None or fields.get("replay") is not None:
        is_form = case.media_type == "multipart/form-data"
        is_answer = any(fields.get(name) is not None for name in ("answers", "replay"))
        return is_form or is_answer or tools != ["getOrder"] or "tools" in (fields.get("globals") or {})
    limits = fields.get("limits")
    of_tools = {"argumentBytes", "callTimeoutMs", "callsMax", "concurrentCallsMax", "logBytes", "resultBytes", "waitTimeoutS"}
    named = limits if isinstance(limits, dict) else {}
    if any(named.get(name) is not None for name in of_tools):
        return True
    return any(fields.get(name) is not None for name in ("answers", "unawaited"))


RULES = (
    breaks_a_rule_of_tools,
    names_a_script_ambiguously,
    is_of_no_report,
    has_an_unquoted_string,
    lacks_a_script,
    names_two_files,
    has_a_file_of_another_kind,
    is_scheduled_too_late,
    reuses_a_key,
)


@schemathesis.hook
def filter_case(context, case):
    return not any(breaks_rule(case) for breaks_rule in RULES)
