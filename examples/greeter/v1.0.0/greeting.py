"""What the greeter says."""

VERSION = "v1.0.0"


class Greeter:
    """Greets by name, in English."""

    def greet(self, name):
        """The greeting for ``name`` as the fields of the answer."""
        return {"message": f"Hello, {name}!"}
