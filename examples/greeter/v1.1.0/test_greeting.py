import unittest

from greeting import Greeter


class GreeterTest(unittest.TestCase):
    def test_greets_in_three_languages_by_turns(self):
        greeter = Greeter()
        messages = [greeter.greet("moon")["message"] for _ in range(4)]
        self.assertEqual(messages, ["Hello, moon!", "Hallo, moon!", "Soyez les bienvenus !", "Hello, moon!"])


if __name__ == "__main__":
    unittest.main()
