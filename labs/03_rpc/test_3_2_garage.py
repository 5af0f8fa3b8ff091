"""Checks of task 3.2: the garage's interface gets new fields, and whoever knows only the old ones notices nothing."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from lab_services.checks import expect
from lab_services.checks.interface import Interface, breaking, lint

VERSION_1 = Path(__file__).with_name("garage_v1.proto")
SERVICE = "/bikeshare.garage.v1.GarageService/"
CALL_SECONDS = 5
PROTO, NEW_JOB = "garage.proto: the zone", "garage.py: new_job"
BATTERIES = {None: 2400, 0: 3100, 19: 3100, 20: 2400, 100: 2400}  # what a brake costs with this battery, in cents
DEPOSITS = [0, 1000, 5000, 16_777_217]  # cents
CENTS = ("deposit_cents", "owed_cents")
WHOLE = {"TYPE_INT32", "TYPE_INT64", "TYPE_SINT32", "TYPE_SINT64", "TYPE_SFIXED32", "TYPE_SFIXED64"}
UNSIGNED = {"TYPE_UINT32", "TYPE_UINT64", "TYPE_FIXED32", "TYPE_FIXED64"}
TOLD = {"bikeId": "b-7", "damage": "DAMAGE_BRAKE", "stationId": "A1", "note": "squeaks"}  # in each version
Json = dict[str, Any]


def a_year_ahead(file: FileDescriptorProto) -> None:
    """Add to the interface what newer tablets will say of a bike."""
    report = next(message for message in file.message_type if message.name == "Report")
    kind, label = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.LABEL_OPTIONAL
    report.field.add(name="frame_number", json_name="frameNumber", number=900, type=kind, label=label)


@cache
def version_1() -> Interface:
    """Read the interface that is in use."""
    return Interface(VERSION_1)


@cache
def version_of_next_year() -> Interface:
    """Read the interface of tablets that know more than the garage does."""
    return Interface(VERSION_1, a_year_ahead)


def learners_version(city: Any) -> Interface:
    """Read the interface as it is saved now."""
    return Interface(city.folder / "garage.proto")


@dataclass(frozen=True)
class Tablet:
    """A client of the garage that speaks one version of the interface, and JSON to whoever looks at it."""

    city: Any
    interface: Interface
    lenient: bool = False  # a gateway for browsers drops the fields that it does not know

    def take_in(self, **report: Any) -> Json:
        """Send a report; return the Job as JSON, or what went wrong under one of the keys below."""
        return self._ask("TakeIn", {"report": report})

    def get_job(self, job_id: object) -> Json:
        """Read a job again."""
        return self._ask("GetJob", {"jobId": job_id})

    def _ask(self, rpc: str, said: Json) -> Json:
        request, response = (self.interface.message(rpc + kind) for kind in ("Request", "Response"))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        try:
            sent = json_format.ParseDict(said, request(), ignore_unknown_fields=self.lenient).SerializeToString()
            with grpc.insecure_channel(self.city["garage"].url, options=options) as channel:
                answer = channel.unary_unary(SERVICE + rpc)(sent, timeout=CALL_SECONDS)
            return json_format.MessageToDict(response.FromString(answer)).get("job", {})
        except json_format.Error as error:
            return {"this client cannot say it": str(error)}
        except grpc.RpcError as error:
            return {"refused": f"{error.code().name}: {error.details()}"}


def report_of(job: Json, *without: str) -> Json:
    """Return the report in a job, {} when there is none."""
    return {name: value for name, value in job.get("report", {}).items() if name not in without}


def number(job: Json, name: str) -> object:
    """Return a number of a job: JSON leaves a zero out, and writes 64 bits as a text."""
    value = job.get(name, 0)
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def lay_old_job(city: Any, **job: Any) -> None:
    """Write a job into garage.db in the bytes of version 1, as they have lain there for a year."""
    message = json_format.ParseDict(job, version_1().message("Job")())
    with closing(sqlite3.connect(city["garage"].data / "garage.db", timeout=2)) as db, db:
        db.execute("INSERT INTO jobs VALUES (?, ?)", [job["jobId"], message.SerializeToString()])


def kinds_of_money(interface: Interface) -> dict[str, str]:
    """Return the protobuf type of each new amount of money."""
    described = [interface.message(name).DESCRIPTOR for name in ("Report", "Job")]
    fields = [field for message in described for field in message.fields if field.name in CENTS]
    return {field.name: FieldDescriptorProto.Type.Name(field.type) for field in fields}


@pytest.mark.city(started=False)
def test_buf_finds_nothing(city: Any) -> None:
    """`buf lint` and `buf breaking`, with version 1 beside it, have nothing to say of garage.proto."""
    proto = city.folder / "garage.proto"
    strange, broken = lint(proto), breaking(proto, VERSION_1)
    expect(
        not strange,
        sent="buf lint, rules STANDARD, on garage.proto",
        expected="no finding",
        came=strange,
        why="names that follow the common rules become good names in every language that code is generated for",
        look=PROTO,
    )
    expect(
        not broken,
        sent="buf breaking, rules WIRE_JSON, garage.proto against garage_v1.proto",
        expected="no finding",
        came=broken,
        why="tablets are not all replaced in one night: old bytes and old JSON must go on meaning what they meant",
        look=PROTO,
    )


@pytest.mark.city(started=False)
def test_the_shelf_is_gone_for_good(city: Any) -> None:
    """The field `shelf` is gone, and neither its number nor its name can be taken by another field."""
    described = DescriptorProto()
    learners_version(city).message("Report").DESCRIPTOR.CopyToProto(described)
    taken = [field.name for field in described.field if field.number == 4 or field.name == "shelf"]
    numbers = [one for each in described.reserved_range for one in range(each.start, min(each.end, each.start + 99))]
    names = list(described.reserved_name)
    expect(
        not taken and 4 in numbers and "shelf" in names,
        sent="a look at message Report, as buf compiles it",
        expected="no field with the number 4 or the name shelf; the number and the name are reserved",
        came=f"fields {taken}, reserved numbers {numbers}, reserved names {names}",
        why="whoever adds a field next year sees only this file: the shelf 17 of an old job would be read as its value",
        look=PROTO,
    )


def test_old_jobs_read_as_they_were(city: Any) -> None:
    """A job that lies in garage.db in the bytes of version 1 says what it said, to old tablets and to new ones."""
    lay_old_job(city, jobId="j-old", report={**TOLD, "shelf": 17}, priceCents=2400)
    read = [Tablet(city, version).get_job("j-old") for version in (version_1(), learners_version(city))]
    expect(
        [(report_of(job, "shelf"), number(job, "priceCents")) for job in read] == [(TOLD, 2400)] * 2,
        sent="GetJob for a job of last year (a brake, shelf 17), by an old tablet and by one of your version",
        expected=f"both read {TOLD} and 2400; the new one knows of no battery",
        came=read,
        why="in the bytes a field is its number and an enum is its value: under them lies what they meant last year",
        look=PROTO,
        service="garage",
    )


def test_old_tablets_go_on(city: Any) -> None:
    """An old tablet gives in a bike as it always did, and reads what new ones have written."""
    old, new = Tablet(city, version_1()), Tablet(city, learners_version(city))
    given = old.take_in(**TOLD, shelf=17)
    seen = [given, new.get_job(given.get("jobId", ""))]
    expect(
        [(report_of(job, "shelf"), number(job, "priceCents")) for job in seen] == [(TOLD, 2400)] * 2,
        sent="TakeIn of a bike by an old tablet, with its shelf 17; then GetJob by a new one",
        expected=f"both read {TOLD} and 2400",
        came=seen,
        why="an old tablet reads no battery and knows no new field: it says what it always said, and costs the same",
        look=f"{PROTO}; {NEW_JOB}",
        service="garage",
    )
    fresh = new.take_in(bikeId="b-8", damage="DAMAGE_BATTERY", stationId="B2", note="dark", batteryPercent=0)
    job = old.get_job(fresh.get("jobId", ""))
    same = report_of(job, "damage") == {"bikeId": "b-8", "stationId": "B2", "note": "dark"}
    expect(same and isinstance(report_of(job).get("damage"), int) and number(job, "priceCents") == 5600,
           sent="TakeIn of DAMAGE_BATTERY with battery_percent 0 by a new tablet, then GetJob by an old one",
           expected="b-8, B2, 5600, and a damage of which it knows the number only", came=[fresh, job],
           why="old tablets read what new ones write, and may not take one thing for another",
           look=f"{PROTO}; {NEW_JOB}", service="garage")  # fmt: skip


def test_no_value_is_not_zero(city: Any) -> None:
    """A battery that nobody could read costs nothing and stays unread; an empty one is charged and stays 0."""
    tablet = Tablet(city, learners_version(city))
    reports = [{} if percent is None else {"batteryPercent": percent} for percent in BATTERIES]
    given = [tablet.take_in(bikeId="b-7", damage="DAMAGE_BRAKE", **report) for report in reports]
    read = [tablet.get_job(job.get("jobId", "")) for job in given]
    said = [report_of(job, "bikeId", "damage") for job in read]
    expect(
        said == reports,
        sent=f"TakeIn with battery_percent {list(BATTERIES)} (None: not set), then GetJob for each",
        expected=f"{reports}: what was not set is not set, and 0 is 0",
        came=said if any(said) else given,
        why="an empty battery and a tablet that cannot read batteries are two things, and only one needs a charger",
        look=f"{PROTO}; {NEW_JOB}",
        service="garage",
    )
    prices = [number(job, "priceCents") for job in read]
    expect(
        prices == list(BATTERIES.values()),
        sent=f"the prices of these jobs, a brake with battery_percent {list(BATTERIES)}",
        expected=f"{list(BATTERIES.values())}: a battery that was read and is below 20 costs 700 more",
        came=prices,
        why="a field that is not set reads as 0: only its presence tells whether anybody said so",
        look=NEW_JOB,
        service="garage",
    )


def test_unknown_fields_survive(city: Any) -> None:
    """What a newer tablet says beyond our fields is kept, and comes back: at once, later, and after a restart."""
    tablet = Tablet(city, version_of_next_year())
    told = {"bikeId": "b-7", "damage": "DAMAGE_TYRE", "stationId": "A1", "frameNumber": "WBK-4711"}
    given = tablet.take_in(**told)
    read = tablet.get_job(given.get("jobId", ""))
    city.restart("garage")
    again = tablet.get_job(given.get("jobId", ""))
    expect(
        [report_of(job) for job in (given, read, again)] == [told] * 3,
        sent="TakeIn by a tablet of next year, which says frame_number in field 900; GetJob; GetJob after a restart",
        expected=f"three times the whole report: {told}",
        came=[given, read, again],
        why="the garage stands between two newer tablets: what it drops because it has no name for it is lost for both",
        look=NEW_JOB,
        service="garage",
    )


def test_a_damage_is_never_guessed(city: Any) -> None:
    """A report without a damage, or with one that we do not know yet, is refused or has no price; ours have theirs."""
    tablet = Tablet(city, learners_version(city))
    named = {name: tablet.take_in(bikeId="b-7", damage="DAMAGE_" + name) for name in ("TYRE", "BRAKE", "BATTERY")}
    prices = {name: job.get("priceCents", job) for name, job in named.items()}
    expect(
        prices == {"TYRE": 1500, "BRAKE": 2400, "BATTERY": 4900},
        sent="TakeIn with each damage, the new one as well; no battery was read",
        expected="1500, 2400 and 4900 cents",
        came=prices,
        why="these are the prices on the garage's door; the 700 for an empty battery are due where one was read",
        look=f"{PROTO}; {NEW_JOB}",
        service="garage",
    )
    jobs = [tablet.take_in(bikeId="b-7"), tablet.take_in(bikeId="b-7", damage=99)]
    kept = [(report_of(job).get("damage", 0), number(job, "priceCents")) for job in jobs]
    refused = [str(job.get("refused", "")).startswith("INVALID_ARGUMENT") for job in jobs]
    right = [pair == (damage, 0) and "jobId" in job for pair, damage, job in zip(kept, (0, 99), jobs, strict=True)]
    expect(
        all(no or yes for no, yes in zip(refused, right, strict=True)),
        sent="TakeIn without a damage; TakeIn with the damage 99 of a newer tablet",
        expected="INVALID_ARGUMENT, or a job with this very damage and price 0, for each",
        came=jobs,
        why="an enum that nobody set reads as its first value: a forgotten tap must not be billed as a repair",
        look=f"{PROTO}; {NEW_JOB}",
        service="garage",
    )


def test_money_is_whole_cents(city: Any) -> None:
    """What is owed is exact to the cent, also far above and below zero; the types can hold nothing but whole cents."""
    interface = learners_version(city)
    tablet = Tablet(city, interface)
    jobs = [tablet.take_in(bikeId="b-7", damage="DAMAGE_BRAKE", depositCents=cents) for cents in DEPOSITS]
    price = number(jobs[0], "priceCents")
    came = [(number(report_of(job), "depositCents"), number(job, "owedCents")) for job in jobs]
    expect(
        all("jobId" in job for job in jobs) and came == [(cents, price - cents) for cents in DEPOSITS],
        sent=f"TakeIn of a brake with deposit_cents {DEPOSITS}",
        expected=f"the deposits as they were, and owed_cents: the price, here {price}, less the deposit",
        came=[job for job in jobs if "jobId" not in job] or f"(deposit, owed): {came}",
        why="a float has 24 bits and counts cents up to 16,777,216; an unsigned number cannot give money back",
        look=f"{PROTO}; {NEW_JOB}",
        service="garage",
    )
    kinds = kinds_of_money(interface)
    whole = kinds.get("deposit_cents") in WHOLE | UNSIGNED and kinds.get("owed_cents") in WHOLE
    expect(whole, sent="a look at the types of deposit_cents and owed_cents", expected="whole numbers, owed_cents "
           "with a sign", came=kinds, why="a type that can hold 0.1 cents will: somebody divides, and sums stop "
           "agreeing", look=PROTO, service="garage")  # fmt: skip


def test_old_browsers_read_the_same_json(city: Any) -> None:
    """A JSON gateway that is built from today's garage.proto serves the browsers of last year."""
    gateway = Tablet(city, learners_version(city), lenient=True)
    given = gateway.take_in(**TOLD, shelf=17)
    read = gateway.get_job(given.get("jobId", ""))
    expect(
        all({name: report_of(job).get(name) for name in TOLD} == TOLD for job in (given, read))
        and all(isinstance(job.get("priceCents"), int) for job in (given, read)),
        sent=f"JSON of an old browser through a gateway: {TOLD}; then GetJob",
        expected="the same names and values, and a whole number priceCents, both times",
        came=[given, read],
        why="in JSON a field is its name: renamed, it is dropped on the way in and missing on the way out",
        look=PROTO,
        service="garage",
    )
