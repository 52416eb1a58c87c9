"""The names of the sensors, as clients send them, and their older spellings."""

from __future__ import annotations

from scray.errors import InvalidField

SENSORS = ("IDX", "TIFF", "TIFF RGB", "NETCDF", "HDF5", "4D_NEXUS", "RGB", "MAPIR", "OTHER")
ALIASES = {"4D_Probe": "4D_NEXUS", "NEXUS": "4D_NEXUS"}


def read_sensor(name: str) -> str:
    """The one spelling of a sensor's name; InvalidField, naming the choices, for anything else."""
    sensor = ALIASES.get(name, name)
    if sensor not in SENSORS:
        raise InvalidField(f"There is no sensor {name[:40]!r}; it is one of {', '.join(SENSORS)}.")
    return sensor
