"""Garage: takes in broken bikes and says what their repair costs. Speaks gRPC by garage.proto; calls nobody.

Old tablets speak garage_v1.proto, newer ones already what comes after garage.proto. garage.db keeps each Job in the
bytes in which it was sent, for years.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import garage_table as table
import grpc
from grpc import StatusCode

from lab_services.bikeshare.database import opened

messages, services = grpc.protos_and_services("garage.proto")  # made anew at each start, so at each saved .proto

LOW_PERCENT = 20
CHARGE_CENTS = 700


class BadReport(Exception):
    """A report that is answered by INVALID_ARGUMENT and these words."""


# --- your turn 3.2 ---
PRICES = {messages.DAMAGE_TYRE: 1500, messages.DAMAGE_BRAKE: 2400, messages.DAMAGE_BATTERY: 4900}  # in cents


def new_job(job_id: str, report: Any) -> Any:
    """Return the Job of a report: the report as it came, and what the repair costs.

    A battery that was read and is below LOW_PERCENT costs CHARGE_CENTS more. A report without a damage is a BadReport;
    so may one be whose damage we do not know yet, or its price is 0 until a mechanic has looked.
    """
    price_cents = PRICES.get(report.damage, PRICES[messages.DAMAGE_TYRE])
    if report.battery_percent < LOW_PERCENT:
        price_cents += CHARGE_CENTS
    kept = messages.Report(
        bike_id=report.bike_id,
        damage=report.damage,
        station=report.station,
        battery_percent=report.battery_percent,
        note=report.note,
        deposit_cents=report.deposit_cents,
    )
    owed_cents = price_cents - report.deposit_cents
    return messages.Job(job_id=job_id, report=kept, price_cents=price_cents, owed_cents=owed_cents)


# --- end 3.2 ---


class Garage(services.GarageServiceServicer):
    """The skeleton was made from the .proto; what it does is here."""

    async def TakeIn(self, request: Any, context: Any) -> Any:
        try:
            if not request.report.bike_id:
                raise BadReport("report.bike_id: which bike?")
            job = new_job(table.new_id(), request.report)
        except BadReport as refusal:
            await context.abort(StatusCode.INVALID_ARGUMENT, str(refusal))
        await asyncio.to_thread(table.keep, job.job_id, job.SerializeToString())
        return messages.TakeInResponse(job=job)

    async def GetJob(self, request: Any, context: Any) -> Any:
        kept = await asyncio.to_thread(table.find, request.job_id)
        if kept is None:
            await context.abort(StatusCode.NOT_FOUND, f"there is no job {request.job_id!r}")
        return messages.GetJobResponse(job=messages.Job.FromString(kept))


async def serve(server: Any) -> AsyncIterator[None]:
    with opened("garage", table.SCHEMA):
        services.add_GarageServiceServicer_to_server(Garage(), server)
        yield
