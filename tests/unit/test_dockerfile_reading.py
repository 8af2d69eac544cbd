"""What of a repository's own Dockerfile cannot be built is found when the plan is made, and what it begins with."""

import pytest

from interlock.sources.dockerfile_reading import base_images, is_reference, unbuildable

PLAIN = """\
# syntax=docker/dockerfile:1
FROM --platform=linux/amd64 python:3.12-slim AS build
WORKDIR /app
COPY --from=build --chown=1:1 . .
ADD https://example.com/a.tar.gz /a
# RUN --mount=type=cache,target=/x true
RUN echo --mount=type=cache && \\
    # a comment in between
    echo --chmod
RUN ["sh", "-c", "cat <<EOF"]
RUN cat <<<word || test 1 -lt $((1<<2))
HEALTHCHECK --interval=1s CMD true
CMD ["python3", "app.py"]
"""


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.message.partition(" needs BuildKit")[0], finding.where) for finding in unbuildable(text, "Dockerfile")]


def test_what_every_engine_builds_is_no_finding() -> None:
    assert unbuildable(PLAIN, "Dockerfile") == ()


@pytest.mark.parametrize(
    ("line", "feature"),
    [
        ("RUN --mount=type=cache,target=/var/cache/pip pip install x", "RUN --mount"),
        ("run --network=none true", "RUN --network"),
        ("COPY --chmod=755 run.sh /run.sh", "COPY --chmod"),
        ("COPY --from=build --link /a /b", "COPY --link"),
        ("ADD --checksum=sha256:1 https://example.com/x /x", "ADD --checksum"),
        ("ONBUILD RUN --mount=type=secret,id=x true", "RUN --mount"),
        ("RUN \\\n  --mount=type=ssh \\\n  true", "RUN --mount"),
        ("RUN <<EOF\necho hello\nEOF", "RUN <<, a text in the Dockerfile itself,"),
        ("COPY <<-'EOF' /etc/conf\na=b\nEOF", "COPY <<, a text in the Dockerfile itself,"),
    ],
)
def test_what_needs_buildkit_is_named_with_its_line(line: str, feature: str) -> None:
    assert found(f"FROM scratch\n\n{line}\n") == [(feature, "Dockerfile:3")]


def test_each_kind_is_told_once_and_lines_are_continued_as_the_file_says() -> None:
    text = "# escape=`\nFROM x\nRUN --mount=a `\n  true\nRUN --mount=b true\nCOPY --link c \\\nCOPY --chmod=1 a b\n"
    assert found(text) == [("RUN --mount", "Dockerfile:3"), ("COPY --link", "Dockerfile:6"), ("COPY --chmod", "Dockerfile:7")]


def test_a_dockerfile_that_is_not_there_is_told_too() -> None:
    (finding,) = unbuildable(None, "docker/Dockerfile")
    assert (finding.severity, finding.code, finding.where) == ("error", "dockerfile_missing", "docker/Dockerfile")


STAGED = """\
ARG TAG=3.12-slim
ARG NODE
FROM --platform=linux/amd64 python:${TAG} AS Build
ARG TAG=wrong
COPY --from=busybox:1 /bin/sh /sh
FROM node:${NODE:-22} AS web
FROM scratch AS empty
FROM build
COPY --from=WEB /a /a
COPY --from=0 /b /b
COPY --from=registry.example:5000/tools/x@sha256:1111111111111111111111111111111111111111111111111111111111111111 /c /c
FROM \\
  python:3.12-slim
FROM ghost:$NODE
"""


def test_the_images_that_a_dockerfile_begins_with_are_read_as_its_builder_does() -> None:
    taken = (
        "python:3.12-slim",
        "busybox:1",
        "node:22",
        "registry.example:5000/tools/x@sha256:1111111111111111111111111111111111111111111111111111111111111111",
        "ghost:$NODE",
    )
    assert base_images(STAGED) == taken
    assert [is_reference(name) for name in taken] == [True, True, True, True, False]


@pytest.mark.parametrize(
    "name",
    ["../containers", "a/../../containers/json", "a?x=1", "a//b", "", "a b", "-x", "a:", "Python:3", "a@sha256:1", "a@b"],
)
def test_what_cannot_name_an_image_is_asked_for_nowhere(name: str) -> None:
    assert not is_reference(name)


HIDDEN = [
    "FROM python:3.12\\\n-evil:1\n",
    "FR\\\nOM evil:1\n",
    "\ufeffFROM evil:1\n",
    "FROM \x0cevil:1\n",
    "FROM a\nRUN echo \\\u00a0\nFROM evil:1\n",
    "# a=b\n# escape=`\nFROM a\nRUN echo `\nFROM evil:1\n",
    "FROM a\nRUN echo \\  \n  # a comment\n\n  -e\nFROM evil:1\r\n",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_no_spelling_hides_an_image_that_a_builder_would_take(text: str) -> None:
    assert base_images(text)[-1].endswith("evil:1")
