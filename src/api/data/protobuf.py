#!/usr/bin/env python3
"""Makes protobuf.txt, the wire format of the built-in types, from two sources.

    python3 protobuf.py K8S_PB STAGING

* K8S_PB: the sources of the crate k8s-pb (0.9.0): all messages, their field numbers and types.
* STAGING: staging/src/k8s.io of Kubernetes 1.20's sources: the struct tags of the Go types, which say what no .proto does:
  which fields are pointers, inline, or without omitempty. Newer fields are taken for pointers, but strings for plain ones.

JSON names come from the tags, else from schema.txt. A line per message and per field:

    core.v1.Pod                     a message: group, version, name
     2 spec @core.v1.PodSpec [flag] a field: number, JSON name, type, flag

Types: s string, i int32, l int64, b bool, n double, y bytes (base64), t Time, u MicroTime, d Duration, q Quantity,
o IntOrString, x JSON in bytes, w a message that is a list of strings, A@M, B@M, C@M JSONSchemaPropsOr{Array,Bool,StringArray} of M,
@M the message M; [T a list, {T a map. Flags: * a pointer: its zero is a value; 0 plain and without omitempty: its zero is
written; ~ inline: its fields are its owner's; none: plain, zero is absent.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
SKIP = ("metrics/", "apimachinery/pkg/apis/testapigroup", "api/imagepolicy", "api/admission/", "api/apiserverinternal")
SPECIAL = {
    "meta.v1.Time": "t", "meta.v1.MicroTime": "u", "meta.v1.Duration": "d", "meta.v1.FieldsV1": "x",
    "resource.Quantity": "q", "intstr.IntOrString": "o", "runtime.RawExtension": "x", "meta.v1.Verbs": "w",
}  # fmt: skip
for v in ("v1", "v1beta1"):
    SPECIAL |= {
        f"apiextensions.{v}.Json": "x",
        f"apiextensions.{v}.JsonSchemaPropsOrArray": f"A@apiextensions.{v}.JsonSchemaProps",
        f"apiextensions.{v}.JsonSchemaPropsOrBool": f"B@apiextensions.{v}.JsonSchemaProps",
        f"apiextensions.{v}.JsonSchemaPropsOrStringArray": f"C@apiextensions.{v}.JsonSchemaProps",
    }
# inline fields that are newer than the tags
INLINE = ("rule_with_operations", "device_configuration")
SCALARS = {"string": "s", "int32": "i", "int64": "l", "bool": "b", "double": "n", "bytes": "y"}
GO_FIELD = re.compile(r'^\s+(?:(\w+)\s+)?([\w.*\[\]]+)\s+`(?:json:"([^"]*)")?\s*(?:[\w]+:"[^"]*"\s*)*?protobuf:"\w+,(\d+)')


def package(path):
    """core.v1 of api/core/v1, meta.v1 of apimachinery/pkg/apis/meta/v1, runtime of apimachinery/pkg/runtime."""
    parts = list(path)
    return ".".join(parts[-2:]) if re.fullmatch(r"v\d\w*", parts[-1]) else parts[-1]


def norm(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_crate(root):
    """{package: {name: [(number, snake name, '['|'{'|'', type)]}}, types being scalars or (package, name)"""
    out = {}
    for file in sorted((root / "src").rglob("mod.rs")):
        path = file.parent.relative_to(root / "src").parts
        if not path or ("/".join(path) + "/").startswith(SKIP) or "/".join(path).startswith(SKIP):
            continue
        messages, name, tag = {}, None, ""
        text = " ".join(re.sub(r"^\s*//.*", "", file.read_text(), flags=re.M).split())
        messages = {}
        for name, body in re.findall(r"pub struct (\w+) \{(.*?)\}", text):
            fields = messages[name] = []
            for tag, field, target in re.findall(r"#\[prost\((.*?)\)\] pub (?:r#)?(\w+): (.*?),(?= #\[| ?$)", body):
                entry = re.search(r'btree_map ?= ?"string, ?(\w+)"', tag)
                many = "{" if entry else "[" if "repeated" in tag else ""
                value = entry[1] if entry else re.match(r"\s*(\w+)", tag)[1]
                target = target if value == "message" else value
                fields.append((int(re.search(r'tag ?= ?"(\d+)"', tag)[1]), field, many, target))
        for fields in messages.values():
            for i, (number, field, many, value) in enumerate(fields):
                if value not in SCALARS:
                    words = re.findall(r"(?:\w+::)*\w+", value)[-1].split("::")
                    base = list(path)
                    while words[0] == "super":
                        words.pop(0)
                        base.pop()
                    value = (package(base + words[:-1]), words[-1])
                    fields[i] = (number, field, many, value)
        if any(messages.values()):
            out[package(path)] = messages
    return out


def read_go(root):
    """{package: {normal name: {number: (JSON name, pointer, inline, omitempty, Go name)}}}"""
    out = {}
    for file in sorted(root.rglob("*.go")):
        if file.name.endswith(("_test.go", ".pb.go", "generated.go")):
            continue
        struct, here = None, {}
        for line in file.read_text().splitlines():
            if m := re.match(r"type (\w+) struct", line):
                struct = here.setdefault(norm(m[1]), {})
            elif line.startswith("}"):
                struct = None
            elif struct is not None and (m := GO_FIELD.match(line)):
                name, *options = (m[3] or "").split(",")
                struct[int(m[4])] = (name, m[2][0] == "*", "inline" in options, "omitempty" in options, m[1] or "")
        if any(here.values()):
            known = out.setdefault(package(file.parent.relative_to(root).parts), {})
            for name, fields in here.items():
                if fields:
                    known[name] = fields
    return out


def read_schema():
    out, fields = {}, {}
    for line in (HERE / "schema.txt").read_text().splitlines():
        words = line.split()
        if line.startswith(" "):
            fields[norm(words[0])] = (words[0], "R" in words[2:])
        else:
            fields = out.setdefault(words[0].split(".pkg.")[-1].lower(), {})
    return out


def graduated(lines):
    """Messages that v1.36 has in v1 and the crate, which is older, in v1beta1 only: field for field the same."""
    pack = "admissionregistration."
    known = {l for l in lines if not l.startswith(" ")}
    out, copying = [], False
    for line in lines:
        if not line.startswith(" "):
            name = line.removeprefix(pack + "v1beta1.")
            copying = name != line and pack + "v1." + name not in known
        if copying:
            out.append(line.replace(pack + "v1beta1.", pack + "v1."))
    return out


def main(crate, staging):
    crate, go, schema = read_crate(Path(crate)), read_go(Path(staging)), read_schema()

    def schema_of(pack, name):
        for prefix in ("io.k8s.api.", "apis.", ""):
            if found := schema.get(f"{prefix}{pack}.{name}".lower()):
                return found
        return None

    def tags_of(pack, name):
        """Of a version that is newer than the sources, those of an older version of the group."""
        if found := go.get(pack, {}).get(norm(name)):
            return found, True
        group = pack.split(".")[0]
        older = sorted((p for p in go if p.split(".")[0] == group and "." in p), reverse=True)
        for p in older:
            if found := go[p].get(norm(name)):
                return found, False
        return {}, True

    def is_wrapper(pack, name):
        fields = crate.get(pack, {}).get(name, [])
        return len(fields) == 1 and fields[0][1:] == ("items", "[", "string")

    # a name that no definition of its own gives is written as elsewhere
    everywhere = sorted({t[0] for p in go.values() for m in p.values() for t in m.values()})
    anywhere = {norm(name): name for name in everywhere}
    lines, seen = [], set()
    kinds = {(p, n) for p in crate for n in crate[p] if f"{p}.{n}" not in SPECIAL and not is_wrapper(p, n)}
    for pack, name in sorted(kinds):
        lines.append(f"{pack}.{name}")
        (tags, exact), known = tags_of(pack, name), schema_of(pack, name)
        for number, field, many, value in sorted(crate[pack][name]):
            json, pointer, inline, omitempty, go_name = tags.get(number, ("", True, False, True, ""))
            tagged = number in tags
            if tagged and not exact and norm(json or go_name) not in (norm(field), ""):
                tagged, json, pointer, inline, omitempty = False, "", True, False, True
            if not json and not inline:
                f = norm(field)
                found = (known or {}).get(f) or (known or {}).get(f.replace("x", "xkubernetes", 1))
                camel = re.sub(r"_(\w)", lambda m: m[1].upper(), field)
                json = found[0] if found else camel if camel in everywhere else anywhere.get(f, camel)
                inline = not tagged and known is not None and field in INLINE
                if not tagged:
                    required = bool(found and found[1])
                    omitempty, pointer = not required, not required and value != "string"
            if isinstance(value, tuple):
                full = ".".join(value)
                if is_wrapper(*value):
                    seen.add(full)
                assert full in SPECIAL or value in kinds or is_wrapper(*value), (pack, name, field, value)
                kind = SPECIAL.get(full) or ("w" if is_wrapper(*value) else "@" + full)
            else:
                kind = SCALARS[value]
            if inline:
                flag = " ~"
            else:
                flag = "" if many else " *" if pointer else "" if omitempty else " 0"
            lines.append(f" {number} {json or field} {many}{kind}{flag}")
    lines += graduated(lines)
    print("lists of strings:", sorted(seen), file=sys.stderr)
    (HERE / "protobuf.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
