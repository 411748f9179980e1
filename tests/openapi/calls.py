"""Calls a service through an ingress that requires keys, with the client that openapi-python-client generated.

    calls.py URL KEY
"""

import importlib
import json
import pkgutil
import sys
import uuid

import sandpiper
from sandpiper import AuthenticatedClient, Client
from sandpiper.api.jobs import cancel_job, follow_job, get_job, list_jobs
from sandpiper.api.run import execute, submit_job
from sandpiper.api.scripts import get_script, list_scripts
from sandpiper.api.service import check_network, get_info, get_liveness, get_readiness, list_nodes
from sandpiper.models import (
    ExecuteForm,
    ExecuteRequest,
    Execution,
    Globals,
    Info,
    Job,
    JobPage,
    JobRequest,
    JobState,
    Modules,
    NetCheck,
    Nodes,
    Problem,
    Ready,
    RequestedLimits,
    ScriptError,
    ScriptKind,
    StatusWord,
)
from sandpiper.types import UNSET

url, key = sys.argv[1:]


def is_a(kind, parsed):
    """Returns what was parsed, which must be of this type."""
    assert isinstance(parsed, kind), parsed
    return parsed


def is_refused(status, code, response):
    """Returns the problem of a response, which must have this status and code."""
    problem = is_a(Problem, response.parsed)
    assert (response.status_code, problem.status, problem.code) == (status, status, code), response
    assert response.headers["x-request-id"]
    return problem


for module in pkgutil.walk_packages(sandpiper.__path__, "sandpiper."):
    importlib.import_module(module.name)

with Client(base_url=url) as client:
    answer = execute.sync_detailed(client=client, body=ExecuteRequest(code="1"))
    is_refused(401, "unauthorized", answer)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert is_a(Info, get_info.sync(client=client)).name == "sandpiper"
    assert get_liveness.sync(client=client).status == "UP"
    assert is_a(Ready, get_readiness.sync(client=client)).status == "UP"

with AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True) as client:
    body = ExecuteRequest(code="console.log('Hello!'); input.a * input.b", input_={"a": 6, "b": 7}, seed=1)
    answer = execute.sync_detailed(client=client, body=body)
    done = is_a(Execution, answer.parsed)
    assert (done.status, done.outcome, done.result, done.result_type) == (StatusWord.SUCCESS, "succeeded", 42, "number")
    assert done.error is False and done.limit_hit is UNSET
    assert (done.log[0].type_, done.log[0].data) == ("log", ["Hello!"])
    assert answer.headers["ratelimit-policy"].startswith('"key-run"')

    thrown = is_a(Execution, execute.sync(client=client, body=ExecuteRequest(code="let x = 1;\nnull.y")))
    error = is_a(ScriptError, thrown.error)
    assert (thrown.outcome, thrown.result, thrown.result_type) == ("threw", None, None)
    assert (error.name, error.line_number, error.cause) == ("TypeError", 2, UNSET)

    limits = RequestedLimits(timeout_ms=50)
    ended = is_a(Execution, execute.sync(client=client, body=ExecuteRequest(code="for (;;);", limits=limits)))
    assert (ended.outcome, ended.limit_hit, ended.limits.timeout_ms) == ("timed_out", "timeoutMs", 50)

    globals_ = Globals.from_dict({"b": 1})
    free = is_a(Execution, execute.sync(client=client, body=ExecuteRequest(code="b", globals_=globals_)))
    assert free.result == 1
    modules = Modules.from_dict({"./util.js": "export const twice = (number) => 2 * number"})
    code = "import { twice } from './util.js'; export default (input) => twice(input) + base"
    body = ExecuteRequest(code=code, kind=ScriptKind.MODULE, modules=modules, prelude="var base = 1", input_=20)
    assert is_a(Execution, execute.sync(client=client, body=body)).result == 41
    limits = RequestedLimits(timeout_ms=900)
    form = ExecuteForm(code="input.a + b", input_=json.dumps({"a": 1}), globals_=globals_, limits=limits)
    filled = is_a(Execution, execute.sync(client=client, body=form))
    assert (filled.result, filled.limits.timeout_ms) == (2, 900)

    unknown = execute.sync_detailed(client=client, body=ExecuteRequest(file="none.js"))
    assert is_refused(404, "script_not_found", unknown).title
    above = execute.sync_detailed(client=client, body=ExecuteRequest(code="1", limits=RequestedLimits(timeout_ms=10**9)))
    problem = is_refused(422, "limit_above_ceiling", above)
    assert problem.field == "limits.timeoutMs" and problem.ceiling > 0

    job = is_a(Job, submit_job.sync(client=client, body=JobRequest(code="console.log(1); 'done'"), idempotency_key="k"))
    assert job.finished_at is None and job.run_at is UNSET
    while job.state in (JobState.QUEUED, JobState.RUNNING):
        job = is_a(Job, get_job.sync(job.id, client=client, prefer="wait=10"))
    assert (job.state, job.attempt, job.execution.result) == (JobState.FINISHED, 1, "done")
    assert job.finished_at >= job.created_at
    assert "event: end" in follow_job.sync(job.id, client=client)

    endless = JobRequest(code="for (;;);", limits=RequestedLimits(timeout_ms=30_000))
    endless = is_a(Job, submit_job.sync(client=client, body=endless))
    page = is_a(JobPage, list_jobs.sync(client=client, limit=1))
    assert [one.id for one in page.jobs] == [endless.id]
    older = is_a(JobPage, list_jobs.sync(client=client, cursor=page.next_cursor))
    assert [one.id for one in older.jobs] == [job.id] and older.next_cursor is None
    assert is_a(Job, cancel_job.sync(endless.id, client=client)).state == JobState.CANCELLED
    again = is_refused(409, "job_already_final", cancel_job.sync_detailed(endless.id, client=client))
    assert again.state == "cancelled"
    is_refused(404, "job_not_found", get_job.sync_detailed(uuid.uuid4(), client=client))

    name = list_scripts.sync(client=client).scripts[0].name
    assert "// expect:" in get_script.sync(name, client=client)
    assert len(is_a(Nodes, list_nodes.sync(client=client)).nodes) == 1
    assert is_a(NetCheck, check_network.sync(client=client, port=9)).port == 9
