"""What the greeter says."""

import itertools
import threading

VERSION = "v1.2.0"


class Phrase:
    """A greeting in one language. At most ``slots`` are rendered at a time, so that no language takes all the threads."""

    def __init__(self, language, text, slots=12):
        self.language = language
        self.text = text
        self._slots = threading.BoundedSemaphore(slots)

    def render(self, name):
        """The greeting for ``name``. Raises RuntimeError when all the slots of the language are taken."""
        if not self._slots.acquire(blocking=False):
            raise RuntimeError(f"no free slot to greet in {self.language!r}")
        try:
            return self.text.replace("{name}", name)
        finally:
            self._slots.release()


class Greeter:
    """Greets in three languages by turns, and says in which."""

    def __init__(self):
        self._phrases = itertools.cycle(
            [
                Phrase("en", "Hello, {name}!"),
                Phrase("de", "Hallo, {name}!"),
                Phrase("fr", "Soyez les bienvenus !"),
            ]
        )

    def greet(self, name):
        """The next greeting for ``name`` as the fields of the answer."""
        phrase = next(self._phrases)
        return {"message": phrase.render(name), "language": phrase.language}
