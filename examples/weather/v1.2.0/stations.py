"""What the stations measured."""

import itertools

VERSION = "v1.2.0"
READINGS = (
    {"station": "harbour", "celsius": 11.4, "wind": 6.2},
    {"station": "hill", "celsius": 7.9, "wind": 9.1},
    {"station": "pass", "celsius": -0.04, "wind": 14.8},
    {"station": "lighthouse", "celsius": 10.8, "wind": 12.3},
    {"station": "airfield", "celsius": 9.5},
)


class Weather:
    """Tells the readings of the stations by turns."""

    def __init__(self):
        self._turns = itertools.cycle(READINGS)

    def tell(self):
        """The next reading as the fields of the answer."""
        reading = next(self._turns)
        return {"station": reading["station"], "temperature": degrees(reading["celsius"]), "wind": f"{reading['wind']} m/s"}


def degrees(celsius):
    """In tenths; what is rounded to zero has no sign."""
    return f"{round(celsius, 1) + 0.0:.1f} °C"
