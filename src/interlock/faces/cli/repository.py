"""How a repository is named to the control plane."""

import os
import re

_SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:.*")


def repository_of(text: str) -> str:
    """A local path made absolute, links in it kept; a URL as it is."""
    if "://" in text or _SCP_LIKE.fullmatch(text):
        return text
    return os.path.abspath(os.path.expanduser(text))
