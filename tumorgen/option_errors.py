"""One line out of the nested report that jsonargparse gives of a wrong option."""

import re

_NOISE = re.compile(r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|^$")


def one_line(report: str) -> str:
    """The innermost statement of a report, with the full key that it is about.

    For example `model.quantizer: option 'decai' is not accepted by CosineEMAQuantizer.`
    """
    keys: list[str] = []
    owner, statement, depth = "", "", -1
    for raw in report.splitlines():
        line = raw.strip().removeprefix("- ")
        found = re.match(r'Parser key "([^"]+)":\s*(.*)', line)
        if found:
            if found[1] not in keys:
                keys.append(found[1])
            line = found[2]
        indent = len(raw) - len(raw.lstrip())
        problem = re.match(r"Problem with given class_path '([^']+)'", line)
        if problem:
            owner = problem[1]
        elif not _NOISE.search(line) and indent > depth:
            statement, depth = line, indent
    statement = re.sub(r"^Type .* expects a function or a callable class: ", "", statement or report.splitlines()[0])
    inner = re.search(r"Got value: Namespace\(class_path='([^']+)'", statement)
    statement = re.sub(r"\.? Got value: Namespace\(.*", "", statement)
    owner = inner[1] if inner else owner
    if statement.startswith("Option") and owner:
        statement = f"{statement.rstrip('.')} by {owner}"
    elif owner and re.search(r"No module named|has no attribute|not a subclass", statement):
        statement = f"class_path {owner}: {statement}"
    given = re.search(r"Given value: (?!NestedArg|Namespace)(.{1,60})$", report, re.MULTILINE)
    if given and "Got value" not in statement and given[1] not in statement:
        statement = f"{statement.rstrip('.')}, found {given[1]}"
    statement = statement[0].lower() + statement[1:].rstrip(".") + "."
    statement = re.sub(r"a <class '(?:builtins\.)?([^']+)'>", r"a value of type \1", statement)
    choice = re.search(r"a (?:typing\.)?Literal\[([^\]]+)\]", statement)
    if choice:
        statement = statement.replace(choice[0], f"one of {choice[1]}".replace("'", ""))
    return f"{'.'.join(keys)}: {statement}" if keys else statement
