"""Which of the five kinds of module a repository is, judged by its paths and by the names of its dependencies."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from interlock.sources.detect.files import Files, Read
from interlock.sources.model import MODULE_TYPES, Evidence, ModuleType

_PATHS: tuple[tuple[ModuleType, float, str], ...] = (
    ("infrastructure", 0.9, r"(^|/)[^/]+\.tf$|(^|/)Pulumi\.ya?ml$|(^|/)Chart\.yaml$|(^|/)kustomization\.ya?ml$|\.bicep$"),
    ("infrastructure", 0.5, r"(^|/)(playbook|site)\.ya?ml$|(^|/)ansible\.cfg$|(^|/)(k8s|kubernetes|manifests)/[^/]+\.ya?ml$"),
    ("data_pipeline", 0.9, r"(^|/)dags/[^/]+\.py$|(^|/)dbt_project\.yml$|(^|/)Snakefile$|\.nf$|(^|/)dvc\.yaml$"),
    ("ml_model", 0.8, r"\.(onnx|safetensors|pt|pth|h5|gguf|joblib)$|(^|/)MLproject$|(^|/)train\.py$"),
    ("ml_model", 0.4, r"\.ipynb$"),
    (
        "web_app",
        0.7,
        r"(^|/)templates/.+\.(html|jinja2?|j2)$|(^|/)(next|nuxt|vite|svelte|angular|astro)[^/]*\.(js|ts|mjs|json)$",
    ),
    ("web_app", 0.5, r"(^|/)index\.html$|(^|/)static/.+\.(css|js)$|(^|/)src/.+\.(jsx|tsx|vue|svelte)$"),
    ("api", 0.6, r"(^|/)(openapi|swagger)\.(ya?ml|json)$|\.proto$|\.graphqls?$"),
)
_DEPENDENCIES: tuple[tuple[ModuleType, float, str], ...] = (
    ("data_pipeline", 0.8, r"apache-airflow|prefect|dagster|luigi|dbt-core|kedro|apache-beam"),
    ("ml_model", 0.6, r"torch|tensorflow|keras|scikit-learn|transformers|xgboost|lightgbm|mlflow|onnxruntime"),
    ("api", 0.8, r"fastapi|djangorestframework|flask-restful|flask-restx|connexion|grpcio|@nestjs/core"),
    ("api", 0.5, r"flask|starlette|aiohttp|falcon|sanic|express|koa|fastify|hono"),
    ("web_app", 0.8, r"next|nuxt|react-scripts|react-dom|vue|svelte|@angular/core|streamlit|gradio|dash"),
    ("web_app", 0.6, r"django|jinja2|wagtail"),
)
_MANIFESTS = ("requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "package.json")
_IGNORED = re.compile(r"(^|/)(tests?|docs?|examples?|node_modules|vendor|\.[^/]+)/")

_FALLBACK: ModuleType = "api"


async def detect_module_type(paths: Sequence[str], read: Read) -> tuple[ModuleType, tuple[Evidence, ...]]:
    """The most probable type and the evidence for it; ``api`` without evidence where nothing speaks for any."""
    return await module_type_of(Files(paths, read))


async def module_type_of(files: Files) -> tuple[ModuleType, tuple[Evidence, ...]]:
    """As `detect_module_type`, for files some of which were read already."""
    evidence = [*_by_paths(files), *await _by_dependencies(files)]
    if not evidence:
        return _FALLBACK, ()
    doubts = dict.fromkeys(MODULE_TYPES, 1.0)
    for item in evidence:
        doubts[_as_type(item.value)] *= 1.0 - item.confidence
    best = min(MODULE_TYPES, key=lambda kind: doubts[kind])
    return best, tuple(item for item in evidence if item.value == best)


def _by_paths(files: Files) -> list[Evidence]:
    """One piece of evidence for each pattern, with the shortest path that fits it."""
    found: list[Evidence] = []
    paths = sorted((path for path in files.paths if not _IGNORED.search(path)), key=lambda path: (path.count("/"), path))
    for kind, confidence, pattern in _PATHS:
        expression = re.compile(pattern)
        path = next((path for path in paths if expression.search(path)), None)
        if path is not None:
            name = PurePosixPath(path).name
            found.append(Evidence(claim="module_type", value=kind, file=path, text=name, confidence=confidence))
    return found


async def _by_dependencies(files: Files) -> list[Evidence]:
    found: list[Evidence] = []
    for manifest in _MANIFESTS:
        lines = (await files.text(manifest) or "").split("\n")
        for kind, confidence, names in _DEPENDENCIES:
            expression = re.compile(rf"(^|[\s\"'\[])({names})($|[\s\"'\[\]=<>~!;,:])", re.IGNORECASE)
            line = next((number for number, line in enumerate(lines, 1) if expression.search(line.split("#")[0])), 0)
            if line:
                found.append(await files.evidence("module_type", kind, manifest, line, confidence))
    return found


def _as_type(value: str) -> ModuleType:
    return next(kind for kind in MODULE_TYPES if kind == value)
