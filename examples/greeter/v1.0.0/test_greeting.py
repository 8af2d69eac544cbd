import unittest

from greeting import Greeter


class GreeterTest(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(Greeter().greet("moon"), {"message": "Hello, moon!"})


if __name__ == "__main__":
    unittest.main()
