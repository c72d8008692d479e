"""Jobs: how much is to be done, what failed for good, and how it is tried again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from media_api.access import OPERATOR, RuledRoute, allow
from media_api.admin.jobs import DeadLetter, Jobs
from media_api.admin.models import (
    DeadLetterBody,
    DeadLetterQuery,
    DeadLettersBody,
    JobBody,
    QueueBody,
    WorkBody,
)
from media_api.answers import json_answer
from media_api.audit import AuditTrail, cause_of
from media_api.openapi import problems
from media_api.problems import Kind
from media_platform.contract.audit import AuditAction

router = APIRouter(prefix="/api/admin/jobs", tags=["jobs"], route_class=RuledRoute)

_SHOWN_CHARACTERS = 1000
MessageId = Annotated[str, Path(max_length=100, description="Id of the dead letter")]


@router.get("", operation_id="getWork", response_model=WorkBody)
@allow(OPERATOR)
async def get_work(request: Request) -> Response:
    """Get how much is in the queues, in work, and waiting to be published."""
    work = await _jobs(request).work()
    body = WorkBody(
        queues=[QueueBody(**asdict(queue)) for queue in work.queues],
        dead_letters=[QueueBody(**asdict(queue)) for queue in work.dead_letters],
        videos_in_flight=work.videos_in_flight,
        events_unpublished=work.events_unpublished,
    )
    return json_answer(body)


@router.get(
    "/dead-letters",
    operation_id="listDeadLetters",
    response_model=DeadLettersBody,
    responses=problems(Kind.INVALID),
)
@allow(OPERATOR)
async def list_dead_letters(
    request: Request, query: Annotated[DeadLetterQuery, Query()]
) -> Response:
    """Look at what failed for good, by default jobs; it stays where it is."""
    entry = cause_of(request).entry(AuditAction.DEAD_LETTERS_READ, subject=query.queue)
    await _audit(request).put(entry)
    letters = await _jobs(request).dead_letters(query.queue, query.limit)
    body = DeadLettersBody(dead_letters=[_body(letter) for letter in letters])
    return json_answer(body)


@router.post(
    "/dead-letters/{message_id}/redrive",
    operation_id="redriveDeadLetter",
    response_model=DeadLetterBody,
    responses=problems(Kind.DEAD_LETTER_NOT_FOUND, Kind.NOT_REDRIVABLE, Kind.INVALID),
)
@allow(OPERATOR)
async def redrive_dead_letter(request: Request, message_id: MessageId) -> Response:
    """Put a job that failed for good back into its queue; its failures are forgiven."""
    entry = cause_of(request).entry(AuditAction.DEAD_LETTER_REDRIVEN, subject=message_id)
    await _audit(request).put(entry)
    letter = await _jobs(request).redrive(message_id)
    return json_answer(_body(letter))


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def _audit(request: Request) -> AuditTrail:
    audit: AuditTrail = request.app.state.audit
    return audit


def _body(letter: DeadLetter) -> DeadLetterBody:
    job = letter.job
    return DeadLetterBody(
        message_id=letter.message_id,
        reason=letter.reason,
        sent_at=letter.sent_at,
        looks=letter.looks,
        job=(
            JobBody(
                video_id=job.video_id,
                run_id=job.run_id,
                tenant=job.tenant,
                part=job.part,
                queued_at=job.queued_at,
            )
            if job
            else None
        ),
        body=None if job else letter.body[:_SHOWN_CHARACTERS],
    )
