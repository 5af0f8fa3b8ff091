"""The report of damage that belongs to a ride. See rides.py for the table of its address and its four methods.

A report is {part, text, severity} and maybe a note: `Report` and `MergePatch` of rides_words.py are what may be sent,
report_table.py keeps it, and refuses (`Refusal`) what cannot be done.
"""

import fastapi
import report_table
import rides_words as words

reports = fastapi.APIRouter()


# --- your turn 2.1 ---
@reports.get("/get_report")
def get_report(ride_id: str) -> words.Json:
    try:
        return report_table.find_report(ride_id)
    except report_table.Refusal as refusal:
        return {"error": str(refusal)}


@reports.post("/report")
def report(fields: words.Json) -> words.Json:
    ride_id = fields.pop("ride_id")
    before = get_report(ride_id)
    report = fields if "error" in before else before | fields
    report_table.keep_report(ride_id, report)
    return report


@reports.get("/delete_report")
def delete_report(ride_id: str) -> words.Json:
    return {"deleted": report_table.drop_report(ride_id)}


# --- end 2.1 ---
