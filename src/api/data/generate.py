#!/usr/bin/env python3
"""Makes schema.txt and definitions.gz from Kubernetes' own definitions.

    python3 generate.py [VERSION]        # default 1.36.0

The definitions come from the PyPI wheel kubernetes-validate, which carries those of each Kubernetes release; pip downloads
it into a temporary directory. The same version gives the same bytes.

* schema.txt: the structure without descriptions, for decoding, patches and apply. A line per type and per field:

      io.k8s.api.core.v1.Pod [M=atomic] [G=group/version/kind,...]    a type with fields
       spec @io.k8s.api.core.v1.PodSpec [flags]                       its field, indented by one space
      io.k8s.apimachinery.pkg.apis.meta.v1.Time = t                   a type that is one value

  Values: s string, i int32, l int64, b boolean, n number, y bytes (base64), t time, u time with microseconds, q quantity,
  o int-or-string, a anything, [X list, {X map, @name another type.
  Flags: R required, S a struct in Go and no pointer to one (from protobuf.txt), L=set|atomic|map:k1,k2 (list type), M=atomic (map type), P=strategy and K=key (strategic merge patch).

* definitions.gz: the definitions as swagger 2.0 has them, for OpenAPI; a line per definition: its name, a tab, JSON.
"""

import gzip
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
SCALARS = {
    META + "Time": ("t", {"type": "string", "format": "date-time"}),
    META + "MicroTime": ("u", {"type": "string", "format": "date-time"}),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ("q", {"type": "string"}),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ("o", {"type": "string", "format": "int-or-string"}),
}
# The wheel has lost the descriptions of the types that it turned into `oneOf`.
TEXTS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity is a fixed-point representation of a number. It provides "
    "convenient marshaling/unmarshaling in JSON and YAML, in addition to String() and AsInt64() accessors.",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString is a type that can hold an int32 or a string. When used "
    "in JSON or YAML marshalling and unmarshalling, it produces or consumes the inner type. This allows you to have, for "
    "example, a JSON field that can accept a name or number.",
}


def definitions(version):
    with tempfile.TemporaryDirectory() as d:
        what = f"kubernetes-validate=={version}"
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", d, what], check=True)
        wheel = next(pathlib.Path(d).glob("*.whl"))
        name = f"kubernetes_validate/kubernetes-json-schema/v{version}-local/_definitions.json"
        return json.loads(zipfile.ZipFile(wheel).read(name))["$defs"]


def clean(s, in_properties=False):
    """Undoes what the wheel added: `null` types, enumerations of apiVersion and kind, `$defs`."""
    if isinstance(s, list):
        return [clean(x) for x in s]
    if not isinstance(s, dict):
        return s
    out = {}
    for k, v in s.items():
        if in_properties:
            out[k] = clean(v)
        elif k == "type" and isinstance(v, list):
            out[k] = next(t for t in v if t != "null")
        elif k == "$ref":
            out[k] = v.replace("#/$defs/", "#/definitions/")
        elif k == "properties":
            out[k] = clean(v, True)
        else:
            out[k] = clean(v)
    return out


def cleaned(defs):
    out = {}
    for name, d in sorted(defs.items()):
        d = clean(d)
        if name in SCALARS:
            text = d.get("description", TEXTS.get(name))
            d = {"description": text, **SCALARS[name][1]}
        for p in ("apiVersion", "kind"):
            d.get("properties", {}).get(p, {}).pop("enum", None)
        out[name] = d
    return out


def value(s):
    if "$ref" in s:
        return "@" + s["$ref"].rsplit("/", 1)[1]
    match s.get("type"):
        case "string":
            return {"byte": "y", "date-time": "t"}.get(s.get("format"), "s")
        case "integer":
            return "i" if s.get("format") == "int32" else "l"
        case "boolean":
            return "b"
        case "number":
            return "n"
        case "array":
            return "[" + value(s["items"])
        case "object" if "additionalProperties" in s:
            return "{" + value(s["additionalProperties"])
    return "a"


def structs(text):
    """The fields of protobuf.txt that are messages and no pointers, as (type, field) in lower case."""
    out = set()
    for line in text.splitlines():
        if not line.startswith(" "):
            owner = line.lower()
            continue
        _, field, kind, *flag = line.split()
        if kind.startswith("@") and not {"*", "~"} & set(flag):
            out.add((owner, field.lower()))
    return out


def flags(s, required=False, struct=False):
    f = ["R"] if required else []
    f += ["S"] if struct else []
    kind = s.get("x-kubernetes-list-type")
    if kind == "map":
        kind += ":" + ",".join(s["x-kubernetes-list-map-keys"])
    for letter, v in [
        ("L", kind),
        ("M", s.get("x-kubernetes-map-type")),
        ("P", s.get("x-kubernetes-patch-strategy")),
        ("K", s.get("x-kubernetes-patch-merge-key")),
    ]:
        if v:
            f.append(f"{letter}={v}")
    return f


def compact(defs, structs):
    lines = []
    for name, d in defs.items():
        if name in SCALARS:
            lines.append(f"{name} = {SCALARS[name][0]}")
        elif "properties" not in d:
            lines.append(f"{name} = {value(d)}")
        else:
            gvk = [f"{g['group']}/{g['version']}/{g['kind']}" for g in d.get("x-kubernetes-group-version-kind", [])]
            # DeleteOptions and WatchEvent list every group
            kinds = ["G=" + ",".join(gvk)] if len(gvk) in (1, 2) else []
            lines.append(" ".join([name, *flags(d), *kinds]))
            short = ".".join(name.lower().split(".")[-3:])
            for field, s in sorted(d["properties"].items()):
                # by convention those of every kind are; protobuf.txt does not know the newest types
                of_kind = bool(gvk) and field in ("metadata", "spec", "status")
                struct = value(s).startswith("@") and (of_kind or (short, field.lower()) in structs)
                lines.append(" ".join(["", field, value(s), *flags(s, field in d.get("required", []), struct)]))
    return "\n".join(lines) + "\n"


def main():
    here = pathlib.Path(__file__).parent
    defs = cleaned(definitions(sys.argv[1] if len(sys.argv) > 1 else "1.36.0"))
    (here / "schema.txt").write_text(compact(defs, structs((here / "protobuf.txt").read_text())))
    lines = (f"{name}\t{json.dumps(d, separators=(',', ':'), sort_keys=True)}\n" for name, d in defs.items())
    text = "".join(lines).encode()
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as f:
        f.write(text)
    (here / "definitions.gz").write_bytes(out.getvalue())


if __name__ == "__main__":
    main()
