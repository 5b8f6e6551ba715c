//! From wire bytes to a tree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::table::{self, Field, Kind, Many, Message, Zero};
use super::{Error, MAGIC, MAX_DEPTH, malformed, time};

/// A document with its envelope, as a tree that says its `apiVersion` and `kind`.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    document(bytes, 0)
}

fn document(bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        malformed("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    })?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each(body, |number, wire| {
        match number {
            1 => {
                return each(wire.bytes()?, |number, wire| {
                    match number {
                        1 => api_version = wire.text()?,
                        2 => kind = wire.text()?,
                        _ => {}
                    }
                    Ok(())
                });
            }
            2 => raw = wire.bytes()?,
            _ => {}
        }
        Ok(())
    })?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let Some(message) = table::find(group, version, &kind) else { return Err(Error::Unknown { api_version, kind }) };
    let mut tree = Map::new();
    tree.insert("apiVersion".into(), api_version.into());
    tree.insert("kind".into(), kind.into());
    fields(message.get(), raw, depth, &mut tree)?;
    Ok(Value::Object(tree))
}

/// One value on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Result<&'a [u8], Error> {
        if let Wire::Bytes(bytes) = self { Ok(bytes) } else { Err(malformed("proto: wrong wireType, want bytes")) }
    }
    fn varint(self) -> Result<u64, Error> {
        if let Wire::Varint(n) = self { Ok(n) } else { Err(malformed("proto: wrong wireType, want a varint")) }
    }
    fn text(self) -> Result<String, Error> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| malformed("proto: invalid UTF-8 string"))?;
        Ok(text.to_owned())
    }
}

fn eof() -> Error {
    malformed("unexpected EOF")
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(eof)?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            return Ok(n);
        }
    }
    Err(malformed("proto: integer overflow"))
}

fn take<'a>(bytes: &mut &'a [u8], n: u64) -> Result<&'a [u8], Error> {
    let (head, rest) = usize::try_from(n).ok().and_then(|n| bytes.split_at_checked(n)).ok_or_else(eof)?;
    *bytes = rest;
    Ok(head)
}

/// Every field of a message; groups, which nobody writes, are refused.
fn each<'a>(mut bytes: &'a [u8], mut f: impl FnMut(u32, Wire<'a>) -> Result<(), Error>) -> Result<(), Error> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0);
        let number = number.ok_or_else(|| malformed(format!("proto: illegal tag {}", tag >> 3)))?;
        let wire = match tag & 7 {
            0 => Wire::Varint(varint(&mut bytes)?),
            1 => Wire::Fixed64(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().map_err(|_| eof())?)),
            2 => {
                let n = varint(&mut bytes)?;
                Wire::Bytes(take(&mut bytes, n)?)
            }
            5 => {
                take(&mut bytes, 4)?;
                Wire::Fixed32
            }
            other => return Err(malformed(format!("proto: illegal wireType {other}"))),
        };
        f(number, wire)?;
    }
    Ok(())
}

/// The fields of a message, into a tree that may have some already.
fn fields(message: &Message, bytes: &[u8], depth: usize, tree: &mut Map<String, Value>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(malformed("exceeded max depth"));
    }
    each(bytes, |number, wire| {
        let Some(field) = message.field(number) else { return Ok(()) };
        match field.many {
            Many::One => single(field, wire, depth, tree),
            Many::List => {
                let list = tree.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else { return Ok(()) };
                elements(field, wire, depth, list)
            }
            Many::Map => {
                let map = tree.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = map else { return Ok(()) };
                let (mut key, mut value) = (String::new(), None);
                each(wire.bytes()?, |number, wire| {
                    match number {
                        1 => key = wire.text()?,
                        2 => value = Some(one(field.kind, wire, depth + 1)?),
                        _ => {}
                    }
                    Ok(())
                })?;
                map.insert(key, value.unwrap_or_else(|| missing(field.kind)));
                Ok(())
            }
        }
    })
}

fn single(field: &Field, wire: Wire<'_>, depth: usize, tree: &mut Map<String, Value>) -> Result<(), Error> {
    if let (true, Kind::Message(message)) = (field.inline, field.kind) {
        return fields(message.get(), wire.bytes()?, depth + 1, tree);
    }
    let value = one(field.kind, wire, depth + 1)?;
    let keep = match field.zero {
        Zero::Pointer => !value.is_null(),
        // an empty struct is left out too: nobody can tell it from none
        Zero::Plain => !value.is_null() && !empty(&value),
        Zero::Absent => !value.is_null() && !empty(&value) && !zero(&value),
    };
    if keep {
        tree.insert(field.name.into(), value);
    }
    Ok(())
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Object(o) => o.is_empty(),
        Value::Array(a) => a.is_empty(),
        _ => false,
    }
}

fn zero(value: &Value) -> bool {
    match value {
        Value::String(s) => s.is_empty(),
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        _ => false,
    }
}

/// The value of a map's entry that has none.
fn missing(kind: Kind) -> Value {
    match kind {
        Kind::String | Kind::Bytes => "".into(),
        Kind::Quantity => "0".into(),
        Kind::Strings => Value::Array(Vec::new()),
        Kind::Int32 | Kind::Int64 => 0.into(),
        Kind::Bool => false.into(),
        Kind::Message(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// An element of a list, or many numbers that are packed.
fn elements(field: &Field, wire: Wire<'_>, depth: usize, list: &mut Vec<Value>) -> Result<(), Error> {
    if let (Kind::Int32 | Kind::Int64 | Kind::Bool, Wire::Bytes(mut packed)) = (field.kind, wire) {
        while !packed.is_empty() {
            list.push(one(field.kind, Wire::Varint(varint(&mut packed)?), depth)?);
        }
        return Ok(());
    }
    list.push(one(field.kind, wire, depth + 1)?);
    Ok(())
}

fn one(kind: Kind, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match kind {
        Kind::String => wire.text()?.into(),
        // an int32 is written with its sign extended
        Kind::Int32 => (wire.varint()? as i32).into(),
        Kind::Int64 => (wire.varint()? as i64).into(),
        Kind::Bool => (wire.varint()? != 0).into(),
        Kind::Double => {
            let Wire::Fixed64(bits) = wire else { return Err(malformed("proto: wrong wireType, want a double")) };
            Value::Number(Number::from_f64(f64::from_bits(bits)).ok_or_else(|| malformed("a number must be finite"))?)
        }
        Kind::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Kind::Time | Kind::MicroTime => {
            let (mut seconds, mut nanos) = (0, 0);
            let bytes = wire.bytes()?;
            each(bytes, |number, wire| {
                match number {
                    1 => seconds = wire.varint()? as i64,
                    2 => nanos = wire.varint()? as i32,
                    _ => {}
                }
                Ok(())
            })?;
            match bytes.is_empty() {
                true => Value::Null,
                false if kind == Kind::Time => time::rfc3339(seconds)?.into(),
                false => time::rfc3339_micro(seconds, nanos)?.into(),
            }
        }
        Kind::Quantity => {
            let text = first(wire.bytes()?)?.map_or(Ok(String::new()), Wire::text)?;
            if text.is_empty() { "0".into() } else { text.into() }
        }
        Kind::IntOrString => {
            let (mut is_text, mut number, mut text) = (false, 0, String::new());
            each(wire.bytes()?, |field, wire| {
                match field {
                    1 => is_text = wire.varint()? == 1,
                    2 => number = wire.varint()? as i32,
                    3 => text = wire.text()?,
                    _ => {}
                }
                Ok(())
            })?;
            if is_text { text.into() } else { number.into() }
        }
        Kind::Embedded => match first(wire.bytes()?)?.map_or(Ok(&[][..]), Wire::bytes)? {
            [] => Value::Null,
            raw if raw.starts_with(MAGIC) => nested(raw, depth)?,
            raw => serde_json::from_slice(raw).map_err(|e| malformed(e.to_string()))?,
        },
        Kind::Strings => {
            let mut list = Vec::new();
            each(wire.bytes()?, |number, wire| {
                if number == 1 {
                    list.push(wire.text()?.into());
                }
                Ok(())
            })?;
            Value::Array(list)
        }
        Kind::Message(message) => {
            let mut tree = Map::new();
            fields(message.get(), wire.bytes()?, depth, &mut tree)?;
            Value::Object(tree)
        }
        Kind::OrArray(props) | Kind::OrStrings(props) => {
            let (mut schema, mut list) = (Value::Null, Vec::new());
            each(wire.bytes()?, |number, wire| {
                match number {
                    1 => schema = one(Kind::Message(props), wire, depth)?,
                    2 if matches!(kind, Kind::OrArray(_)) => list.push(one(Kind::Message(props), wire, depth)?),
                    2 => list.push(wire.text()?.into()),
                    _ => {}
                }
                Ok(())
            })?;
            if list.is_empty() { schema } else { Value::Array(list) }
        }
        Kind::OrBool(props) => {
            let (mut allows, mut schema) = (false, None);
            each(wire.bytes()?, |number, wire| {
                match number {
                    1 => allows = wire.varint()? != 0,
                    2 => schema = Some(one(Kind::Message(props), wire, depth)?),
                    _ => {}
                }
                Ok(())
            })?;
            schema.unwrap_or(Value::Bool(allows))
        }
    })
}

/// The one field of a message that has number 1.
fn first(bytes: &[u8]) -> Result<Option<Wire<'_>>, Error> {
    let mut found = None;
    each(bytes, |number, wire| {
        if number == 1 {
            found = Some(wire);
        }
        Ok(())
    })?;
    Ok(found)
}

fn nested(raw: &[u8], depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(malformed("exceeded max depth"));
    }
    document(raw, depth + 1)
}
