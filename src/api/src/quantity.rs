//! Amounts of resources: upstream's `resource.Quantity`, exact to a billionth, without floats.
//!
//! Amounts beyond ±1.7e29 saturate; upstream caps binary ones at 2^63-1 as well.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Typed;
use serde_json::Value;

const NANO: i128 = 1_000_000_000;

/// How an amount is written: `resource.Format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// An amount with the format it was written in. Compared by amount alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// `ErrFormatWrong`, `ErrNumeric`, `ErrSuffix`, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    format: Format,
    exponent: i32,
}

fn digits(s: &str) -> (&str, &str) {
    s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()))
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let (whole, rest) = digits(rest);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
    let tail = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|c| c.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    let (format, exponent) = if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        (Format::DecimalSi, *e)
    } else if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        (Format::BinarySi, 10 * i as i32)
    } else {
        let exponent = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or(ParseError::Suffix)?;
        (Format::DecimalExponent, exponent)
    };
    Ok(Parts { negative, whole, fraction, format, exponent })
}

/// Integer division away from zero.
fn div_up(a: i128, b: i128) -> i128 {
    a / b + if a % b == 0 { 0 } else { a.signum() }
}

impl Parts<'_> {
    /// In nanos, rounded away from zero.
    fn nanos(&self) -> Result<i128, ParseError> {
        // no more digits than matter: 38 fit, what is cut off can only round up
        let text = format!("{}{}", self.whole, self.fraction);
        let text = text.trim_start_matches('0');
        let kept = text.len().min(36);
        let mut amount: i128 = if kept == 0 { 0 } else { text[..kept].parse().map_err(|_| ParseError::Numeric)? };
        if text[kept..].bytes().any(|c| c != b'0') {
            amount += 1;
        }
        let mut scale = 9 - self.fraction.len() as i64 + (text.len() - kept) as i64;
        match self.format {
            Format::BinarySi => {
                // shift out decimals first where the product would not fit
                while scale < 0 && amount > i128::MAX >> (self.exponent + 1) {
                    amount = div_up(amount, 10);
                    scale += 1;
                }
                amount = amount.saturating_mul(1 << self.exponent);
            }
            _ => scale += i64::from(self.exponent),
        }
        amount = match u32::try_from(scale.unsigned_abs()).ok().and_then(|s| 10i128.checked_pow(s)) {
            _ if amount == 0 => 0,
            Some(f) if scale >= 0 => amount.saturating_mul(f),
            Some(f) => div_up(amount, f),
            None if scale >= 0 => i128::MAX,
            None => 1,
        };
        if self.format == Format::BinarySi {
            amount = amount.min(i128::from(i64::MAX) * NANO);
        }
        Ok(if self.negative { -amount } else { amount })
    }

    /// Whether upstream's fast path keeps the text as it was written.
    fn kept_as_written(&self) -> bool {
        let whole = if self.whole.is_empty() { "0" } else { self.whole };
        let length = (whole.len() + self.fraction.len()) as i32;
        match self.format {
            Format::BinarySi => {
                let small = 15 - length - self.exponent * 3 / 10 > 0;
                self.fraction.is_empty() && small && whole.parse::<i64>().is_ok_and(|v| v & 7 != 0)
            }
            _ => {
                let scale = self.exponent.saturating_sub(self.fraction.len() as i32);
                let last =
                    if self.fraction.len() >= 3 { self.fraction.into() } else { format!("{whole}{}", self.fraction) };
                length <= 18 && scale >= -9 && scale % 3 == 0 && !last.ends_with("000") && !whole.starts_with('0')
            }
        }
    }
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn new(value: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(value) * NANO, format }
    }
    pub fn from_millis(millis: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(millis) * (NANO / 1000), format }
    }
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        let parts = split(text)?;
        let nanos = parts.nanos()?;
        let below_one = parts.format == Format::BinarySi && (1..NANO).contains(&nanos);
        Ok(Quantity { nanos, format: if below_one { Format::DecimalSi } else { parts.format } })
    }
    /// From a tree: a string or, as clients may write, a number.
    pub fn from_tree(v: &Value) -> Result<Quantity, ParseError> {
        match v {
            Value::String(s) => Quantity::parse(s.trim()),
            Value::Number(n) => Quantity::parse(number_text(&n.to_string())),
            Value::Null => Ok(Quantity::ZERO),
            _ => Err(ParseError::Format),
        }
    }

    pub fn format(self) -> Format {
        self.format
    }
    pub fn nanos(self) -> i128 {
        self.nanos
    }
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    /// -1, 0, 1
    pub fn sign(self) -> i32 {
        self.nanos.signum() as i32
    }
    /// `Value()`: whole units, rounded away from zero, saturating.
    pub fn value(self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }
    /// `MilliValue()`: thousandths, rounded away from zero, saturating.
    pub fn millis(self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }
    /// `RoundUp(Milli)`: what defaulting does to resource lists.
    pub fn round_up_millis(self) -> Quantity {
        Quantity { nanos: div_up(self.nanos, NANO / 1000).saturating_mul(NANO / 1000), ..self }
    }
    /// Saturating.
    pub fn times(self, factor: i64) -> Quantity {
        Quantity { nanos: self.nanos.saturating_mul(factor.into()), ..self }
    }

    fn combine(self, other: Quantity, nanos: i128) -> Quantity {
        Quantity { nanos, format: if self.is_zero() { other.format } else { self.format } }
    }
}

/// `0.5` as it is, `1000.0` (a whole float) as `1000`.
fn number_text(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

fn clamp(v: i128) -> i64 {
    v.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// What a client gets back for what it wrote: the canonical form, or the text itself where upstream keeps that.
pub fn canonical(text: &str) -> Result<String, ParseError> {
    if text == "0" || split(text)?.kept_as_written() {
        return Ok(text.to_owned());
    }
    Ok(Quantity::parse(text)?.to_string())
}

/// `SetDefaults_ResourceList`: rounds every amount of a resource list up to thousandths. What is no quantity stays.
pub fn round_resource_list(list: &mut Value) {
    for v in list.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
        if let Ok(q) = Quantity::from_tree(v)
            && q.nanos % (NANO / 1000) != 0
        {
            *v = Value::String(q.round_up_millis().to_string());
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}
impl TryFrom<&Typed> for Quantity {
    type Error = ParseError;
    fn try_from(q: &Typed) -> Result<Quantity, ParseError> {
        Quantity::parse(&q.0)
    }
}
impl From<Quantity> for Typed {
    fn from(q: Quantity) -> Typed {
        Typed(q.to_string())
    }
}

/// The canonical form: no fraction, the largest suffix that leaves none.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        if self.format == Format::BinarySi && self.nanos % NANO == 0 && whole.abs() >= 1024 {
            let (mut n, mut i) = (whole, 0);
            while n % 1024 == 0 && i + 1 < BINARY.len() {
                n /= 1024;
                i += 1;
            }
            return write!(f, "{n}{}", BINARY[i]);
        }
        let (mut n, mut i) = (self.nanos, 0);
        while n % 1000 == 0 && i + 1 < DECIMAL.len() {
            n /= 1000;
            i += 1;
        }
        match (self.format, DECIMAL[i]) {
            (Format::DecimalExponent, (_, 0)) => write!(f, "{n}"),
            (Format::DecimalExponent, (_, e)) => write!(f, "{n}e{e}"),
            (_, (suffix, _)) => write!(f, "{n}{suffix}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
/// Saturating. A zero takes the other's format.
impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        self.combine(other, self.nanos.saturating_add(other.nanos))
    }
}
impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        self.combine(other, self.nanos.saturating_sub(other.nanos))
    }
}
impl Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        Quantity { nanos: self.nanos.saturating_neg(), ..self }
    }
}
impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}
impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn clients_get_back_the_canonical_form() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("0.1", "100m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("1536Ki", "1536Ki"),
            ("0.1Gi", "107374182400m"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("5e1", "50"),
            ("1E", "1E"),
            ("1000P", "1E"),
            ("12345k", "12345k"),
            ("0.0000000001", "1n"),
            ("-0.1", "-100m"),
            ("-1.5Gi", "-1536Mi"),
            ("1.500", "1.500"),
            ("+5", "+5"),
            (".5", "500m"),
            ("5.", "5."),
            ("1.", "1."),
            ("16Ei", "9223372036854775807"),
            ("500u", "500u"),
            ("0.001m", "1u"),
            ("100000000000000000000", "100E"),
            ("8Ki", "8Ki"),
            ("999Ti", "999Ti"),
        ];
        for (text, want) in cases {
            assert_eq!(canonical(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn errors_are_upstreams() {
        use ParseError::*;
        for (text, want) in [
            ("", Format),
            ("a", Format),
            ("1 Gi", Format),
            ("1Gib", Format),
            ("1Kim", Suffix),
            ("1mm", Suffix),
            ("1K", Suffix),
            ("1e", Suffix),
            ("--1", Suffix),
            ("1e5x", Format),
        ] {
            assert_eq!(Quantity::parse(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn values_round_away_from_zero() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!((q("1.1").value(), q("-1.1").value(), q("100u").millis(), q("2").millis()), (2, -2, 1, 2000));
        assert_eq!((q("1Gi") + q("1Mi")).to_string(), "1025Mi");
        assert_eq!((Quantity::ZERO + q("1Gi") - q("1Mi")).to_string(), "1023Mi");
        assert!(q("1Gi") > q("1G") && q("1000m") == q("1"));
        assert_eq!(q("1e100").value(), i64::MAX);
        assert_eq!(Quantity::from_tree(&json!(0.5)).unwrap().to_string(), "500m");
        let mut list = json!({"cpu": "1u", "memory": "1Gi"});
        round_resource_list(&mut list);
        assert_eq!(list, json!({"cpu": "1m", "memory": "1Gi"}));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[-+]?[0-9.]{0,45}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
            if let Ok(q) = Quantity::parse(&text) {
                let shown = q.to_string();
                prop_assert_eq!(Quantity::parse(&shown).unwrap().to_string(), shown);
            }
        }
    }
}
