import unittest

from stations import Weather


class WeatherTest(unittest.TestCase):
    def test_tells_the_stations_by_turns(self):
        weather = Weather()
        self.assertEqual([weather.tell()["station"] for _ in range(4)], ["harbour", "hill", "pass", "harbour"])

    def test_tells_the_temperature(self):
        self.assertEqual(Weather().tell()["temperature"], "11.4 °C")

    def test_tells_the_wind(self):
        self.assertEqual(Weather().tell()["wind"], "6.2 m/s")


if __name__ == "__main__":
    unittest.main()
