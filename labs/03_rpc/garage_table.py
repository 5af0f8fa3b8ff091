"""The jobs of the garage on disk: garage.db keeps each of them as the bytes of its message."""

from uuid import uuid4

from lab_services.bikeshare.database import transaction

SCHEMA = "CREATE TABLE IF NOT EXISTS jobs(job_id TEXT PRIMARY KEY, job BLOB)"


def new_id() -> str:
    """Make up the id of a job."""
    return f"j-{uuid4().hex[:12]}"


def keep(job_id: str, job: bytes) -> None:
    """Write a job down; once it is there it stays."""
    with transaction("garage") as db:
        db.execute("INSERT INTO jobs VALUES (?, ?)", [job_id, job])


def find(job_id: str) -> bytes | None:
    """Return the bytes of a job, or None."""
    with transaction("garage", "BEGIN") as db:
        row = db.execute("SELECT job FROM jobs WHERE job_id = ?", [job_id]).fetchone()
        return row["job"] if row else None
