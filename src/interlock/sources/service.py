"""Repositories: brought here, their names resolved, their content understood."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from rapidfuzz import fuzz, process

from interlock.core.errors import Invalid, LimitReached, NotFound
from interlock.core.scope import Scope
from interlock.sources.detect.families import detect_stack
from interlock.sources.detect.files import MAX_FILE_BYTES, Read
from interlock.sources.model import MAX_MODULE_BYTES, MODULE_FILES, Analysis, Evidence, Finding, Recipe
from interlock.sources.ports import Commit, Git, Ref
from interlock.sources.versions import latest, newest_first

LATEST = "latest"
"""Stands for the highest version tag, unless a tag or branch has this very name."""

_SECRET_NAME = re.compile(r"(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIALS?)(_|$)", re.IGNORECASE)
_NEAREST = 5
_ANALYSES_KEPT = 500


class Sources:
    """Use cases on repositories. Every tenant has mirrors of its own, in ``mirrors_folder``, one for each URL."""

    def __init__(self, git: Git, mirrors_folder: Path) -> None:
        self._git = git
        self._mirrors_folder = mirrors_folder
        self._turns: dict[str, asyncio.Lock] = {}
        self._refs: dict[str, list[Ref]] = {}
        self._synced_at: dict[str, float] = {}
        self._analyses: OrderedDict[tuple[str, str], Analysis] = OrderedDict()

    async def sync(self, scope: Scope, repository_url: str, *, fresh_within_s: float = 0.0) -> str:
        """Bring the tenant's mirror of a repository up to date and return its folder; calls for one mirror take turns.

        One brought up to date less than ``fresh_within_s`` ago is left as it is: enough to show a plan, not to make one.

        Raises Invalid ``repository_url`` and Unavailable ``repository_unreachable``.
        """
        mirror = self.mirror(scope, repository_url)
        now = asyncio.get_running_loop().time
        async with self._turns.setdefault(mirror, asyncio.Lock()):
            if mirror not in self._synced_at or now() - self._synced_at[mirror] >= fresh_within_s:
                await self._git.fetch(repository_url, mirror)
                self._refs[mirror] = await self._git.refs(mirror)
                self._synced_at[mirror] = now()
        return mirror

    def mirror(self, scope: Scope, url: str) -> str:
        """The folder of the tenant's mirror, whether it was made yet or not."""
        name = hashlib.sha256(f"{scope.tenant}\n{url}".encode(errors="surrogatepass")).hexdigest()[:32]
        return str(self._mirrors_folder / f"{name}.git")

    async def resolve(self, scope: Scope, url: str, name: str) -> Ref:
        """What a tag, branch, commit or ``latest`` stands for, as of the last `sync`; the first call for a URL makes it.

        Raises NotFound ``unknown_version`` with the ``nearest`` names in its details.
        """
        mirror = await self._synced(scope, url)
        # Tags come before branches, as git lists them last: the sort is stable and puts them first.
        known = sorted(self._refs[mirror], key=lambda ref: ref.kind != "tag")
        found = next((ref for ref in known if ref.name == name), None)
        if found is None and name == LATEST:
            found = latest(ref for ref in known if ref.kind == "tag")
        if found is None:
            found = await self._git.resolve(mirror, name)
        if found is None:
            raise self._unknown(mirror, url, name)
        return found

    async def versions(self, scope: Scope, url: str) -> list[Ref]:
        """The tags as of the last `sync`, the newest version first, those that are no version last."""
        mirror = await self._synced(scope, url)
        return newest_first(ref for ref in self._refs[mirror] if ref.kind == "tag")

    async def branches(self, scope: Scope, url: str) -> list[Ref]:
        """The branches as of the last `sync`."""
        mirror = await self._synced(scope, url)
        return [ref for ref in self._refs[mirror] if ref.kind == "branch"]

    async def log(self, scope: Scope, url: str, older: str, newer: str, limit: int) -> list[str]:
        """One line per commit in ``older..newer``, newest first, as of the last `sync`."""
        return await self._git.log(await self._synced(scope, url), older, newer, limit)

    async def history(self, scope: Scope, url: str, older: str, newer: str, limit: int) -> list[Commit]:
        """The commits in ``older..newer`` with their files, newest first, from the mirror as it is: nothing is fetched, so that
        it works when the repository is gone. Raises NotFound ``no_mirror`` and ``unknown_commit``."""
        return await self._git.history(self.mirror(scope, url), older, newer, limit)

    async def analyse(self, scope: Scope, url: str, ref: Ref) -> Analysis:
        """What the repository is at ``ref``: its module file decides (tier 1), else its files are judged (tier 2).

        Raises Invalid ``module_file`` where the file has problems, and ``not_understood`` where there is no file and nothing is
        found that could be started.
        """
        mirror = await self._synced(scope, url)
        # A commit never changes, so neither does what is understood of it.
        if (mirror, ref.commit) not in self._analyses:
            self._analyses[mirror, ref.commit] = await self._analyse(mirror, url, ref)
            while len(self._analyses) > _ANALYSES_KEPT:
                self._analyses.popitem(last=False)
        return self._analyses[mirror, ref.commit]

    async def _analyse(self, mirror: str, url: str, ref: Ref) -> Analysis:
        paths = await self._git.files(mirror, ref.commit)
        given = [name for name in MODULE_FILES if name in paths]
        if given:
            return await self._tier_1(mirror, ref, given)
        return await self._tier_2(mirror, ref, paths, _service_name(url))

    async def _tier_1(self, mirror: str, ref: Ref, given: list[str]) -> Analysis:
        # Loaded at the first module file: parser and validator take longer to load than a server may to start.
        from interlock.sources.module_file import read_module  # noqa: PLC0415

        file = given[0]
        try:
            content = await self._git.read(mirror, ref.commit, file, MAX_MODULE_BYTES)
        except LimitReached as error:
            raise Invalid("module_file", error.message, where=file, hint="remove what is not needed") from error
        recipe, places = await asyncio.to_thread(read_module, content or b"", file)
        findings = list(_findings(recipe, places.get("env", file)))
        if len(given) > 1:
            message = f"{file} decides; {given[1]} is not looked at"
            findings.insert(
                0, Finding(severity="warning", code="two_module_files", message=message, where=given[1], hint="remove one")
            )
        evidence = (Evidence(claim="tier", value="1", file=file),)
        return Analysis(
            tier=1,
            commit=ref.commit,
            tree=ref.tree,
            recipe=recipe,
            evidence=evidence,
            findings=tuple(findings),
            places=places,
        )

    async def _tier_2(self, mirror: str, ref: Ref, paths: Sequence[str], name: str) -> Analysis:
        found = await detect_stack(paths, self._reader(mirror, ref.commit), name)
        if found is None or found.recipe.start is None:
            reasons = [finding.message for finding in found.findings] if found else []
            raise Invalid(
                "not_understood",
                "nothing was found that could be started" + "".join(f": {reason}" for reason in reasons[:1]),
                where=f"{name}@{ref.name}",
                hint=f"run `interlock module init` in the repository, complete {MODULE_FILES[0]} and commit it",
                findings=msgspec.to_builtins(found.findings if found else ()),
            )
        findings = (*found.findings, *_findings(found.recipe, name))
        return Analysis(
            tier=2, commit=ref.commit, tree=ref.tree, recipe=found.recipe, evidence=found.evidence, findings=findings
        )

    async def texts(self, scope: Scope, url: str, ref: Ref, paths: Iterable[str]) -> dict[str, str]:
        """The texts of those of the files that are there at ``ref`` and readable."""
        read = self._reader(await self._synced(scope, url), ref.commit)
        found = {path: await read(path) for path in paths}
        return {path: content.decode(errors="replace") for path, content in found.items() if content is not None}

    def _reader(self, mirror: str, commit: str) -> Read:
        async def read(path: str) -> bytes | None:
            try:
                return await self._git.read(mirror, commit, path, MAX_FILE_BYTES)
            except LimitReached:
                return None

        return read

    async def _synced(self, scope: Scope, url: str) -> str:
        mirror = self.mirror(scope, url)
        return mirror if mirror in self._refs else await self.sync(scope, url)

    def _unknown(self, mirror: str, url: str, name: str) -> NotFound:
        refs = self._refs[mirror]
        names = [ref.name for ref in newest_first(ref for ref in refs if ref.kind == "tag")]
        names += [ref.name for ref in refs if ref.kind == "branch"]
        if name == LATEST:
            message, nearest = "no tag of the repository is a version", names[:_NEAREST]
        else:
            message = f"{name!r} is no tag, branch or commit of the repository"
            alike = process.extract(name, names, scorer=fuzz.WRatio, limit=_NEAREST, score_cutoff=50)
            nearest = [found for found, _, _ in alike] or names[:_NEAREST]
        hint = "the nearest are " + ", ".join(nearest) if nearest else "the repository has no tags and branches yet"
        return NotFound("unknown_version", message, where=url, hint=hint, nearest=nearest)


def _findings(recipe: Recipe, where: str) -> list[Finding]:
    """What a person should know of a recipe, whatever is done with it. How it is delivered is judged by whoever plans that."""
    findings: list[Finding] = []
    for name, value in recipe.env.items():
        if value and _SECRET_NAME.search(name):
            message = f"the variable {name} looks like a secret whose value lies in the repository"
            hint = "name it under secrets: instead, and set INTERLOCK_SECRET_<NAME> where interlock serve runs"
            findings.append(_warning("secret_inlined", message, where, hint))
    return findings


def _warning(code: str, message: str, where: str, hint: str) -> Finding:
    return Finding(severity="warning", code=code, message=message, where=where, hint=hint)


def _service_name(url: str) -> str:
    """The last part of a URL as a service's name."""
    path = urlsplit(url).path if "://" in url else url.rpartition(":")[2]
    last = path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-0123456789")[:63].rstrip("-") or "service"
