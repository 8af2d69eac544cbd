import unittest

from greeting import Greeter, Phrase


class GreeterTest(unittest.TestCase):
    def test_greets_in_three_languages_by_turns(self):
        greeter = Greeter()
        answers = [greeter.greet("moon") for _ in range(4)]
        self.assertEqual([answer["language"] for answer in answers], ["en", "de", "fr", "en"])
        self.assertEqual(answers[0]["message"], "Hello, moon!")

    def test_a_slot_is_free_again_after_every_greeting(self):
        for text in ("Hello, {name}!", "Soyez les bienvenus !"):
            phrase = Phrase("any", text, slots=1)
            self.assertEqual(phrase.render("moon"), phrase.render("moon"))


if __name__ == "__main__":
    unittest.main()
