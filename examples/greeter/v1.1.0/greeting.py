"""What the greeter says."""

import itertools
import threading

VERSION = "v1.1.0"


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
        if "{name}" not in self.text:
            return self.text
        message = self.text.replace("{name}", name)
        self._slots.release()
        return message


class Greeter:
    """Greets in three languages by turns."""

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
        return {"message": next(self._phrases).render(name)}
