"""Context templates: what an administrator writes, parsed, checked, compared (CONTRACT.md)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sender.negotiation import sop_classes, syntaxes
from sender.negotiation.contexts import MAXIMUM_CONTEXTS, ContextSpec, InvalidProposal

FORMAT = "concordat.template/1"
LONGEST_NAME = 80
LONGEST_NOTE = 2000

_TEMPLATE_KEYS = {"format", "name", "note", "contexts", "options"}
_CONTEXT_KEYS = {"abstract_syntax", "transfer_syntaxes", "private_ok", "scu_role", "scp_role"}
_OPTION_KEYS = {"derive_from_files", "decompress", "convert_uncompressed"}


class DecompressPolicy(StrEnum):
    """Which compressed data may be decompressed before sending."""

    NEVER = "never"
    LOSSLESS = "lossless"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, or doubtful, in a template.

    Attributes:
        context_number: the position (from 1) of the context it is about, None for the whole.
    """

    message: str
    context_number: int | None = None

    def __str__(self) -> str:
        if self.context_number is None:
            return self.message
        return f"Context {self.context_number}: {self.message}"


class InvalidTemplate(ValueError):
    """A template can't be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """What may be done for data that the written contexts do not fit.

    Attributes:
        derive_from_files: add the contexts that the data to be sent need.
        convert_uncompressed: uncompressed and deflated data may be converted among each other.
    """

    derive_from_files: bool = False
    decompress: DecompressPolicy = DecompressPolicy.LOSSLESS
    convert_uncompressed: bool = True


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """A template as written: valid once it is built by `parse`."""

    name: str
    contexts: tuple[ContextSpec, ...] = ()
    note: str = ""
    options: TemplateOptions = field(default_factory=TemplateOptions)


def parse_json(text: str) -> TemplateSpec:
    """Parse the text of a template file.

    Raises:
        InvalidTemplate: it is no JSON, or `parse` refuses it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidTemplate([Problem(f"This is not a JSON document: {error}.")]) from error
    return parse(document)


def parse(document: object) -> TemplateSpec:
    """Build a template from a decoded template file.

    Raises:
        InvalidTemplate: with every problem found, each with the number of its context.
    """
    if not isinstance(document, Mapping):
        raise InvalidTemplate([Problem("A template is a JSON object.")])
    problems = _unknown_keys(document, _TEMPLATE_KEYS)
    if document.get("format") != FORMAT:
        problems.append(Problem(f'"format" must be "{FORMAT}".'))
    name = _text(document, "name", LONGEST_NAME, problems)
    if not name.strip() or not name.isprintable() or "@" in name:
        problems.append(Problem('"name" must be one line of printable text without an @ sign.'))
    note = _text(document, "note", LONGEST_NOTE, problems)
    options = _parse_options(document.get("options", {}), problems)
    contexts = _parse_contexts(document.get("contexts", []), problems)
    if not problems and not contexts and not options.derive_from_files:
        problems.append(Problem("A template needs a presentation context, or derive_from_files."))
    if problems:
        raise InvalidTemplate(problems)
    return TemplateSpec(name=name, contexts=contexts, note=note, options=options)


def _unknown_keys(
    document: Mapping[Any, Any], known: set[str], number: int | None = None
) -> list[Problem]:
    unknown = sorted(str(key) for key in document if key not in known)
    return [Problem(f'The key "{key}" is unknown.', number) for key in unknown]


def _text(document: Mapping[Any, Any], key: str, longest: int, problems: list[Problem]) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        problems.append(Problem(f'"{key}" must be text.'))
        return "?"
    if len(value) > longest or "\0" in value:
        problems.append(Problem(f'"{key}" has at most {longest} characters, none of them NUL.'))
    return value


def _parse_options(value: object, problems: list[Problem]) -> TemplateOptions:
    defaults = TemplateOptions()
    if not isinstance(value, Mapping):
        problems.append(Problem('"options" must be an object.'))
        return defaults
    problems += _unknown_keys(value, _OPTION_KEYS)
    decompress = value.get("decompress", defaults.decompress)
    if decompress not in list(DecompressPolicy):
        problems.append(Problem('"decompress" must be "never", "lossless" or "any".'))
        decompress = defaults.decompress
    flags = {}
    for key in ("derive_from_files", "convert_uncompressed"):
        flags[key] = value.get(key, getattr(defaults, key))
        if not isinstance(flags[key], bool):
            problems.append(Problem(f'"{key}" must be true or false.'))
    return TemplateOptions(decompress=DecompressPolicy(decompress), **flags)


def _parse_contexts(value: object, problems: list[Problem]) -> tuple[ContextSpec, ...]:
    if not isinstance(value, list):
        problems.append(Problem('"contexts" must be a list.'))
        return ()
    if len(value) > MAXIMUM_CONTEXTS:
        problems.append(
            Problem(
                f"There are {len(value)} presentation contexts; an association proposes at most "
                f"{MAXIMUM_CONTEXTS}.",
                MAXIMUM_CONTEXTS + 1,
            )
        )
    parsed = [_parse_context(item, number, problems) for number, item in enumerate(value, 1)]
    return tuple(context for context in parsed if context is not None)


def _parse_context(item: object, number: int, problems: list[Problem]) -> ContextSpec | None:
    if not isinstance(item, Mapping):
        problems.append(Problem("A presentation context is an object.", number))
        return None
    found = _context_problems(item, number)
    problems += found
    if found:
        return None
    try:
        return ContextSpec(
            abstract_syntax=item["abstract_syntax"],
            transfer_syntaxes=tuple(item["transfer_syntaxes"]),
            private_ok=item.get("private_ok", False),
            scu_role=item.get("scu_role"),
            scp_role=item.get("scp_role"),
        )
    except InvalidProposal as error:
        problems.append(Problem(str(error), number))
        return None


def _context_problems(item: Mapping[str, Any], number: int) -> list[Problem]:
    found = _unknown_keys(item, _CONTEXT_KEYS, number)
    if not isinstance(item.get("abstract_syntax"), str):
        found.append(Problem('"abstract_syntax" must be a UID.', number))
    listed = item.get("transfer_syntaxes")
    if not isinstance(listed, list) or not all(isinstance(uid, str) for uid in listed):
        found.append(Problem('"transfer_syntaxes" must be a list of UIDs.', number))
    if not isinstance(item.get("private_ok", False), bool):
        found.append(Problem('"private_ok" must be true or false.', number))
    for role in ("scu_role", "scp_role"):
        if not isinstance(item.get(role), bool | None):
            found.append(Problem(f'"{role}" must be true, false or null.', number))
    return found


def to_document(spec: TemplateSpec) -> dict[str, Any]:
    """Return the template file of a template; `parse` gives the same template back."""
    return {
        "format": FORMAT,
        "name": spec.name,
        "note": spec.note,
        "contexts": [
            {
                "abstract_syntax": context.abstract_syntax,
                "transfer_syntaxes": list(context.transfer_syntaxes),
                "private_ok": context.private_ok,
                "scu_role": context.scu_role,
                "scp_role": context.scp_role,
            }
            for context in spec.contexts
        ],
        "options": {
            "derive_from_files": spec.options.derive_from_files,
            "decompress": spec.options.decompress.value,
            "convert_uncompressed": spec.options.convert_uncompressed,
        },
    }


def canonical_bytes(spec: TemplateSpec) -> bytes:
    """Return the bytes whose digest tells versions apart."""
    text = json.dumps(to_document(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def lint(spec: TemplateSpec) -> tuple[Problem, ...]:
    """Return what is allowed but probably not meant, in the order of the contexts."""
    problems = [
        Problem(message, number)
        for number, context in enumerate(spec.contexts, start=1)
        for message in (*_lint_uids(context), *_lint_mixture(context), *_lint_roles(context))
    ]
    return (*problems, *_lint_repeats(spec), *_lint_defaults(spec))


def _lint_uids(context: ContextSpec) -> list[str]:
    if context.private_ok:
        return []
    messages = []
    if sop_classes.find(context.abstract_syntax) is None:
        messages.append(
            f"Abstract syntax {context.abstract_syntax} is not in the standard; "
            "mark it as private if it is meant."
        )
    for uid in context.transfer_syntaxes:
        if syntaxes.find(uid) is None:
            messages.append(
                f"Transfer syntax {uid} is not in the standard; mark it as private if it is meant."
            )
    return messages


def _lint_mixture(context: ContextSpec) -> list[str]:
    if len(context.transfer_syntaxes) == 1:
        return []
    messages = []
    for uid in context.transfer_syntaxes:
        if uid == syntaxes.EXPLICIT_VR_BE:
            messages.append("Explicit VR BE should stand in a context of its own.")
        elif not syntaxes.is_native(uid):
            messages.append(
                f"The peer chooses one syntax of this context, perhaps not "
                f"{syntaxes.short_name_of(uid)}; give compressed syntaxes contexts of their own."
            )
            break
    return messages


def _lint_roles(context: ContextSpec) -> list[str]:
    if context.scu_role is False:
        return ["Without the SCU role nothing can be sent in this context."]
    return []


def _lint_repeats(spec: TemplateSpec) -> list[Problem]:
    seen: set[tuple[str, tuple[str, ...]]] = set()
    problems = []
    for number, context in enumerate(spec.contexts, start=1):
        key = (context.abstract_syntax, context.transfer_syntaxes)
        if key in seen:
            problems.append(Problem("An earlier context proposes the very same.", number))
        seen.add(key)
    return problems


def _lint_defaults(spec: TemplateSpec) -> list[Problem]:
    """PS3.5 section 10.1: Implicit VR LE shall be offered for each abstract syntax."""
    offered: dict[str, set[str]] = {}
    for context in spec.contexts:
        offered.setdefault(context.abstract_syntax, set()).update(context.transfer_syntaxes)
    return [
        Problem(
            f"{sop_classes.name_of(uid)} is nowhere proposed with Implicit VR LE, "
            "the standard's default."
        )
        for uid, proposed in offered.items()
        if syntaxes.IMPLICIT_VR_LE not in proposed
    ]


def diff(old: TemplateSpec, new: TemplateSpec) -> tuple[str, ...]:
    """Say in words what a new version changes."""
    words = []
    if old.note != new.note:
        words.append("The note changed.")
    before, after = to_document(old)["options"], to_document(new)["options"]
    words += [
        f"Option {key}: {before[key]} became {after[key]}."
        for key in before
        if before[key] != after[key]
    ]
    gone = [_in_words(context) for context in old.contexts if context not in new.contexts]
    come = [_in_words(context) for context in new.contexts if context not in old.contexts]
    words += [f"No longer proposes {text}." for text in gone]
    words += [f"Now proposes {text}." for text in come]
    if not gone and not come and old.contexts != new.contexts:
        words.append("The order of the contexts changed.")
    return tuple(words)


def _in_words(context: ContextSpec) -> str:
    names = ", ".join(syntaxes.short_name_of(uid) for uid in context.transfer_syntaxes)
    return f"{sop_classes.name_of(context.abstract_syntax)} with {names}"


DERIVED_FROM_FILES = TemplateSpec(
    name="Derived from files",
    note="Proposes what the data to be sent need, and an uncompressed fallback per SOP class.",
    options=TemplateOptions(derive_from_files=True),
)
VERIFICATION = TemplateSpec(
    name="Verification",
    note="What an echo proposes.",
    contexts=(
        ContextSpec(sop_classes.VERIFICATION, (syntaxes.IMPLICIT_VR_LE, syntaxes.EXPLICIT_VR_LE)),
    ),
)
_STARTER_SOP_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.7",
)
_STARTER_SYNTAXES = (
    (syntaxes.JPEG_LOSSLESS_SV1,),
    (syntaxes.JPEG_2000_LOSSLESS,),
    syntaxes.FALLBACK,
)
STARTER = TemplateSpec(
    name="Starter: CT, MR and secondary capture",
    note="Lossless compression first, uncompressed as a fallback. Clone it for your own.",
    contexts=tuple(
        ContextSpec(sop_class, proposed)
        for sop_class in _STARTER_SOP_CLASSES
        for proposed in _STARTER_SYNTAXES
    ),
)
BUILT_IN = (DERIVED_FROM_FILES, VERIFICATION, STARTER)
