//! Where the parts of a JSON text begin and end, without decoding them: an object is kept as the bytes it came in.
//!
//! Not a validator: what is cut out is decoded by whoever uses it.

/// The members of an object: key (as written, without its quotes) and value. Ends where the text stops to be an object.
pub fn members(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = open(json, b'{');
    std::iter::from_fn(move || {
        let (key, after) = value(rest?)?;
        let key = key.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let (value, after) = value(after.trim_ascii_start().strip_prefix(b":")?)?;
        rest = after.trim_ascii_start().strip_prefix(b",");
        Some((key, value))
    })
}

/// The elements of an array.
pub fn elements(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = open(json, b'[');
    std::iter::from_fn(move || {
        let (value, after) = value(rest?)?;
        rest = after.trim_ascii_start().strip_prefix(b",");
        Some(value)
    })
}

fn open(json: &[u8], bracket: u8) -> Option<&[u8]> {
    json.trim_ascii_start().strip_prefix(&[bracket])
}

/// The value at the beginning, and what follows it.
fn value(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let json = json.trim_ascii_start();
    let end = match json.first()? {
        b'"' => string(json)?,
        b'{' | b'[' => {
            let (mut depth, mut at) = (0usize, 0);
            loop {
                match json.get(at)? {
                    b'"' => at += string(&json[at..])? - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break at;
                }
            }
        }
        _ => json.iter().position(|b| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace()).unwrap_or(json.len()),
    };
    (end > 0).then(|| json.split_at(end))
}

/// The length of the string at the beginning, quotes included.
fn string(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match json.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_as_they_stand() {
        let text = br#" { "a" : {"x":"}\"]"} ,"b":[1, "2,", {"c":[]}],"n":null , "t":-1.5e3}"#;
        let found: Vec<_> =
            members(text).map(|(k, v)| (str::from_utf8(k).unwrap(), str::from_utf8(v).unwrap())).collect();
        assert_eq!(found, [("a", r#"{"x":"}\"]"}"#), ("b", r#"[1, "2,", {"c":[]}]"#), ("n", "null"), ("t", "-1.5e3")]);
        let cut: Vec<_> = elements(found[1].1.as_bytes()).collect();
        assert_eq!(cut, [&b"1"[..], br#""2,""#, br#"{"c":[]}"#]);
        for broken in [&b""[..], b"{", b"[", b"{\"a", b"{\"a\":", b"{\"a\":{", b"[\"\\", b"]", b"{}", b"[]", b"nul"] {
            assert_eq!((members(broken).count(), elements(broken).count()), (0, 0), "{broken:?}");
        }
    }
}
