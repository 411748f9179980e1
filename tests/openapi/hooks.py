"""What the description cannot say, so that no request is taken for a right one that is not."""

import datetime

import schemathesis


def is_given_twice(case):
    """`file` may stand in the query or in the body, but not, differently, in both."""
    in_query = (case.query or {}).get("file")
    in_body = case.body.get("file") if isinstance(case.body, dict) else None
    return in_query is not None and in_body is not None


def lies_too_far_ahead(case):
    """`runAt` lies at most 366 days ahead."""
    run_at = case.body.get("runAt") if isinstance(case.body, dict) else None
    next_year = str(datetime.date.today() + datetime.timedelta(days=365))
    return isinstance(run_at, str) and run_at > next_year


def is_used_again(case, keys=set()):
    """An `Idempotency-Key` is for one request."""
    key = (case.headers or {}).get("Idempotency-Key")
    if key is None or key not in keys:
        keys.add(key)
        return False
    return True


@schemathesis.hook
def filter_case(context, case):
    return not (
        is_given_twice(case) or lies_too_far_ahead(case) or is_used_again(case)
    )
