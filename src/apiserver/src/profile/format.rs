//! The form of a profile: pprof's `profile.proto`, gzipped.
//!
//! A sample is a stack of locations, the innermost first, with a value for each type of the profile. A location is an address
//! in a mapping, which whoever reads the profile looks up in the binary, or has a name.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A part of a file that is mapped as code.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub path: String,
    /// In hexadecimal digits; empty: unknown.
    pub build_id: String,
    /// Whether its addresses come with names: then nobody need look them up.
    pub named: bool,
}

pub struct Profile {
    out: Vec<u8>,
    strings: HashMap<String, u64>,
    functions: HashMap<String, u64>,
    /// By mapping, address and function; 0: none.
    locations: HashMap<(u64, u64, u64), u64>,
    mappings: u64,
}

/// Fields of a `Profile`.
const SAMPLE_TYPE: u64 = 1;
const SAMPLE: u64 = 2;
const MAPPING: u64 = 3;
const LOCATION: u64 = 4;
const FUNCTION: u64 = 5;
const STRING: u64 = 6;
const TIME_NANOS: u64 = 9;
const DURATION_NANOS: u64 = 10;
const PERIOD_TYPE: u64 = 11;
const PERIOD: u64 = 12;

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn number(out: &mut Vec<u8>, field: u64, n: u64) {
    varint(out, field << 3);
    varint(out, n);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A message of numbers.
fn message(fields: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().filter(|(_, n)| *n != 0).for_each(|(field, n)| number(&mut out, *field, *n));
    out
}

fn packed(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    numbers.iter().for_each(|n| varint(&mut out, *n));
    out
}

impl Profile {
    /// `types`: what is counted and in what, as `("cpu", "nanoseconds")`; the last is what readers show first. `period`: how
    /// much of that is between two samples.
    pub fn new(types: &[(&str, &str)], period: u64) -> Profile {
        let mut this = Profile {
            out: Vec::new(),
            strings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            mappings: 0,
        };
        this.string("");
        for (kind, unit) in types {
            let kind = this.value_type(kind, unit);
            bytes(&mut this.out, SAMPLE_TYPE, &kind);
        }
        if let Some((kind, unit)) = types.last() {
            let kind = this.value_type(kind, unit);
            bytes(&mut this.out, PERIOD_TYPE, &kind);
            number(&mut this.out, PERIOD, period);
        }
        this
    }

    fn string(&mut self, text: &str) -> u64 {
        if let Some(place) = self.strings.get(text) {
            return *place;
        }
        let place = self.strings.len() as u64;
        bytes(&mut self.out, STRING, text.as_bytes());
        self.strings.insert(text.to_owned(), place);
        place
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Vec<u8> {
        message(&[(1, self.string(kind)), (2, self.string(unit))])
    }

    /// The first is the program itself.
    pub fn mapping(&mut self, mapping: &Mapping) -> u64 {
        self.mappings += 1;
        let (path, build_id) = (self.string(&mapping.path), self.string(&mapping.build_id));
        let Mapping { start, end, offset, named, .. } = *mapping;
        let (id, named) = (self.mappings, u64::from(named));
        let fields = [(1, id), (2, start), (3, end), (4, offset), (5, path), (6, build_id), (7, named)];
        let fields = message(&fields);
        bytes(&mut self.out, MAPPING, &fields);
        self.mappings
    }

    fn function(&mut self, name: &str) -> u64 {
        if let Some(id) = self.functions.get(name) {
            return *id;
        }
        let (id, text) = (self.functions.len() as u64 + 1, self.string(name));
        // mangled or not: readers see to it where both names are the same
        bytes(&mut self.out, FUNCTION, &message(&[(1, id), (2, text), (3, text)]));
        self.functions.insert(name.to_owned(), id);
        id
    }

    /// A location in a mapping, or with 0 in none, and in a function where that is known.
    pub fn address(&mut self, mapping: u64, address: u64, function: Option<&str>) -> u64 {
        let function = function.map_or(0, |name| self.function(name));
        let next = self.locations.len() as u64 + 1;
        let id = *self.locations.entry((mapping, address, function)).or_insert(next);
        if id == next {
            let mut location = message(&[(1, id), (2, mapping), (3, address)]);
            if function != 0 {
                bytes(&mut location, 4, &message(&[(1, function)]));
            }
            bytes(&mut self.out, LOCATION, &location);
        }
        id
    }

    /// A location that has a name and no address.
    pub fn name(&mut self, name: &str) -> u64 {
        self.address(0, 0, Some(name))
    }

    /// `locations`: the innermost first. `values`: one for each type. `labels`: keys and their values.
    pub fn sample(&mut self, locations: &[u64], values: &[u64], labels: &[(&str, &str)]) {
        let mut sample = Vec::new();
        bytes(&mut sample, 1, &packed(locations));
        bytes(&mut sample, 2, &packed(values));
        for (key, value) in labels {
            let label = message(&[(1, self.string(key)), (2, self.string(value))]);
            bytes(&mut sample, 3, &label);
        }
        bytes(&mut self.out, SAMPLE, &sample);
    }

    /// Of `duration` from `began` on.
    pub fn finish(mut self, began: SystemTime, duration: Duration) -> Vec<u8> {
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        number(&mut self.out, TIME_NANOS, began.as_nanos() as u64);
        number(&mut self.out, DURATION_NANOS, duration.as_nanos() as u64);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(1));
        gzip.write_all(&self.out).and_then(|()| gzip.finish()).expect("a Vec takes all that is written")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    #[derive(Debug)]
    enum Field {
        Number(u64),
        Bytes(Vec<u8>),
    }

    fn take(input: &mut &[u8]) -> u64 {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = input[0];
            *input = &input[1..];
            n |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return n;
            }
        }
    }

    fn fields(mut input: &[u8]) -> BTreeMap<u64, Vec<Field>> {
        let mut out: BTreeMap<u64, Vec<Field>> = BTreeMap::new();
        while !input.is_empty() {
            let key = take(&mut input);
            let field = match key & 7 {
                0 => Field::Number(take(&mut input)),
                2 => {
                    let len = take(&mut input) as usize;
                    let (value, rest) = input.split_at(len);
                    input = rest;
                    Field::Bytes(value.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            out.entry(key >> 3).or_default().push(field);
        }
        out
    }

    fn messages(all: &BTreeMap<u64, Vec<Field>>, field: u64) -> Vec<BTreeMap<u64, Vec<Field>>> {
        let of = |f: &Field| if let Field::Bytes(b) = f { fields(b) } else { panic!("{f:?}") };
        all.get(&field).into_iter().flatten().map(of).collect()
    }

    fn one(all: &BTreeMap<u64, Vec<Field>>, field: u64) -> u64 {
        all.get(&field).map_or(0, |f| if let Field::Number(n) = f[0] { n } else { panic!("{f:?}") })
    }

    fn unpacked(all: &BTreeMap<u64, Vec<Field>>, field: u64) -> Vec<u64> {
        let Some(Field::Bytes(b)) = all.get(&field).map(|f| &f[0]) else { return Vec::new() };
        let mut input = b.as_slice();
        let mut out = Vec::new();
        while !input.is_empty() {
            out.push(take(&mut input));
        }
        out
    }

    /// A stack's locations and its values.
    type Sample = (Vec<String>, Vec<u64>);

    /// Stacks as their locations' names, or addresses and files, with labels and values.
    pub fn read(profile: &[u8]) -> (Vec<(String, String)>, Vec<Sample>) {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(profile).read_to_end(&mut plain).unwrap();
        let all = fields(&plain);
        let text = |n: u64| match &all[&STRING][n as usize] {
            Field::Bytes(b) => String::from_utf8(b.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        let files: BTreeMap<u64, String> =
            messages(&all, MAPPING).iter().map(|m| (one(m, 1), text(one(m, 5)))).collect();
        let functions: BTreeMap<u64, String> =
            messages(&all, FUNCTION).iter().map(|f| (one(f, 1), text(one(f, 2)))).collect();
        let place = |l: &BTreeMap<u64, Vec<Field>>| match messages(l, 4).first() {
            Some(line) => functions[&one(line, 1)].clone(),
            None => format!("{} {:#x}", files.get(&one(l, 2)).map_or("?", |f| f), one(l, 3)),
        };
        let locations: BTreeMap<u64, String> = messages(&all, LOCATION).iter().map(|l| (one(l, 1), place(l))).collect();
        let types = messages(&all, SAMPLE_TYPE).iter().map(|t| (text(one(t, 1)), text(one(t, 2)))).collect();
        let sample = |s: &BTreeMap<u64, Vec<Field>>| {
            let mut stack: Vec<String> = unpacked(s, 1).iter().map(|l| locations[l].clone()).collect();
            let labels = messages(s, 3);
            stack.extend(labels.iter().map(|l| format!("{}={}", text(one(l, 1)), text(one(l, 2)))));
            (stack, unpacked(s, 2))
        };
        (types, messages(&all, SAMPLE).iter().map(sample).collect())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut profile = Profile::new(&[("samples", "count"), ("cpu", "nanoseconds")], 10_000_000);
        let mapping = Mapping {
            start: 0x1000,
            end: 0x9000,
            offset: 0,
            path: "/bin/x".into(),
            build_id: "ab".into(),
            named: false,
        };
        let x = profile.mapping(&mapping);
        let (a, b, named) = (profile.address(x, 0x1234, None), profile.address(0, 0x99, None), profile.name("main"));
        assert_eq!((profile.address(x, 0x1234, None), profile.name("main")), (a, named));
        profile.sample(&[a, named], &[2, 20_000_000], &[("thread", "worker")]);
        profile.sample(&[b], &[1, 0], &[]);
        let (types, samples) = read(&profile.finish(SystemTime::now(), Duration::from_secs(1)));
        assert_eq!(types, [("samples".into(), "count".into()), ("cpu".into(), "nanoseconds".into())]);
        let stack = |s: &[&str]| s.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            samples,
            [
                (stack(&["/bin/x 0x1234", "main", "thread=worker"]), vec![2, 20_000_000]),
                (stack(&["? 0x99"]), vec![1, 0]),
            ]
        );
    }
}
