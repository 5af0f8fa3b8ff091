"""The report of damage that belongs to a ride. See rides.py for the table of its address and its four methods.

A report is {part, text, severity} and maybe a note: `Report` and `MergePatch` of rides_words.py are what may be sent,
report_table.py keeps it, and refuses (`Refusal`) what cannot be done.
"""

import fastapi
import report_table
import rides_words as words

reports = fastapi.APIRouter()


# --- your turn 2.1 ---
# One possibility: one address, and the method says what is done: PUT keeps the report as it comes, PATCH merges.
REPORT = "/rides/{ride_id}/report"


@reports.get(REPORT, responses=words.refusals(404))
def show_report(ride_id: words.RideId) -> words.Report:
    return report_table.find_report(ride_id)


@reports.put(REPORT, responses=words.refusals(404) | {201: {"model": words.Report}})
def put_report(ride_id: words.RideId, report: words.Report, response: fastapi.Response) -> words.Report:
    response.status_code = 201 if report_table.keep_report(ride_id, report) else 200
    return report


@reports.patch(REPORT, responses=words.refusals(404))
def change_report(ride_id: words.RideId, changes: words.MergePatch) -> words.Report:
    return report_table.change_report(ride_id, lambda report: words.without_nulls(report | changes))


@reports.delete(REPORT, status_code=204, responses=words.refusals())
def delete_report(ride_id: words.RideId) -> None:
    report_table.drop_report(ride_id)


# --- end 2.1 ---
