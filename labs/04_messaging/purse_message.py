"""What rides ask of the wallet on the subject `wallet.charge`, as JSON."""

from typing import Annotated

from pydantic import Field, StringConstraints

from lab_services.bikeshare.problems import ID, Body

Known = Annotated[str, StringConstraints(pattern=ID)]


class Charge(Body):
    """Take the price of a ride from a rider."""

    ride_id: Known
    rider_id: Known
    cents: Annotated[int, Field(ge=1, le=100_000)]
